"""Prints the page of the Python reference: every public name with its signature and what it says of itself.

Run by a Python that has the wheel: the engine's classes are in no source that could be read instead.
"""

import importlib
import inspect
import types

MODULES = ("unistream", "unistream.logging", "unistream.prometheus", "unistream.opentelemetry")


def shown(name: str, value: object) -> str:
    """Return a name with its signature."""
    try:
        signature = str(inspect.signature(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return name
    return name + signature


def block(text: str) -> str:
    """Return text that is laid out already."""
    return f"```text\n{text.rstrip()}\n```\n" if text.strip() else ""


def members(of: type) -> list[str]:
    """Return what a class has to say of its methods and properties, inherited ones of the engine included."""
    found = []
    for name in dir(of):
        value, reached = inspect.getattr_static(of, name), getattr(of, name, None)
        is_property = isinstance(value, property | types.GetSetDescriptorType)
        if name.startswith("_") or not (is_property or inspect.isroutine(reached)) or not inspect.getdoc(reached):
            continue
        owner = next((base for base in of.__mro__ if name in vars(base)), of)
        if not owner.__module__.startswith("unistream"):
            continue
        heading = name if is_property else shown(name, reached)
        lines = (inspect.getdoc(reached) or "").splitlines()
        found.append(f"{heading}\n\n" + "\n".join(f"    {line}".rstrip() for line in lines))
    return found


def page() -> str:
    """Return the page."""
    parts = ["# Python reference\n", "What `help()` says, for every public name. [The guide](python.md) explains it.\n"]
    for module_name in MODULES:
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue  # An extra that is not installed.
        parts.append(f"## {module_name}\n\n{block(inspect.getdoc(module) or '')}")
        for name, value in sorted(vars(module).items()):
            home = getattr(value, "__module__", None) or ""
            if name.startswith("_") or inspect.ismodule(value) or not home.startswith("unistream"):
                continue
            if module_name != "unistream" and home != module_name:
                continue
            if not inspect.isclass(value) and not inspect.isfunction(value) and not inspect.isbuiltin(value):
                continue
            parts.append(f"### {name}\n\n{block(shown(name, value))}\n{block(inspect.getdoc(value) or '')}")
            if inspect.isclass(value) and not issubclass(value, BaseException):
                parts += [block(text) for text in members(value)]
    return "\n".join(parts)


if __name__ == "__main__":
    print(page())
