"""Prints, as JSON, what can be seen of the unistream of the interpreter that runs this, 0.1.2 or this version."""

import dataclasses
import enum
import importlib
import inspect
import json
import pkgutil
import sys
import types
from typing import Any

import unistream

EXTRAS = {"unistream.opentelemetry", "unistream.prometheus"}
"""What needs a package of its own, and 0.1.2 had nothing of."""


def modules() -> list[str]:
    """Return the names of the public modules."""
    found = (module.name for module in pkgutil.walk_packages(unistream.__path__, "unistream."))
    return ["unistream", *(name for name in found if "._" not in name and name not in EXTRAS)]


def signature(value: Any) -> list[list[str]] | None:
    """Return the parameters: their names, kinds and defaults, without annotations."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return None
    return [[p.name, p.kind.name, "" if p.default is p.empty else default(p.default)] for p in parameters]


def default(value: Any) -> str:
    """Return the text of a default: the same in every process."""
    if value is dataclasses.MISSING:
        return "missing"
    if isinstance(value, enum.Enum):
        return repr(value.value)
    return getattr(value, "__name__", None) or repr(value)


def members(cls: type) -> dict[str, Any]:
    """Return the public attributes of a class."""
    seen: dict[str, Any] = {}
    for name in dir(cls):
        if name.startswith("_") and name != "__init__":
            continue
        value = inspect.getattr_static(cls, name)
        kind = "property" if isinstance(value, property) else type(value).__name__
        seen[name] = {
            "kind": kind,
            "signature": signature(getattr(cls, name)) if callable(getattr(cls, name)) else None,
        }
    return seen


def describe(value: Any) -> dict[str, Any]:
    """Return what can be seen of a value."""
    if isinstance(value, types.ModuleType):
        return {"is": "module"}
    if isinstance(value, type):
        return {
            "is": "class",
            "module": value.__module__,
            "bases": [f"{base.__module__}.{base.__qualname__}" for base in value.__mro__[1:]],
            "abstract": sorted(getattr(value, "__abstractmethods__", ())),
            "members": members(value),
            "fields": [
                [field.name, default(field.default), default(field.default_factory), field.init]
                for field in (dataclasses.fields(value) if dataclasses.is_dataclass(value) else ())
            ],
            "values": [[member.name, member.value] for member in value] if issubclass(value, enum.Enum) else [],
        }
    if isinstance(value, types.FunctionType):
        return {"is": "function", "signature": signature(value)}
    if hasattr(value, "__bound__"):
        return {"is": "type variable", "bound": f"{value.__bound__.__module__}.{value.__bound__.__qualname__}"}
    public = {name: signature(getattr(value, name)) for name in dir(value) if not name.startswith("_")}
    return {"is": "value", "type": type(value).__name__, "public": public}


def main() -> None:
    """Describe."""
    # All are loaded first: a package then has its modules among its names.
    loaded = [importlib.import_module(name) for name in modules()]
    found = {
        module.__name__: {
            name: describe(getattr(module, name))
            for name in dir(module)
            if not (name.startswith("__") and name.endswith("__"))
        }
        for module in loaded
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
