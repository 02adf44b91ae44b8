"""Lays the pages of the site into a folder: docs/ and what lies beside the code, with their links led to each other.

A link to a file of the tree that is no page becomes its name; a link to nothing is an error.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path

from plots import draw

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
BESIDE = {
    "core/docs/options.md": "options.md",
    "core/docs/format.md": "format.md",
    "python/README.md": "python.md",
    "SECURITY.md": "security.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "tests/fuzz/README.md": "fuzzing.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def pages() -> dict[Path, str]:
    """Return every file that is a page, and what it is called there."""
    found = {ROOT / path: name for path, name in BESIDE.items()}
    for path in sorted(DOCS.rglob("*.md")):
        if "site" not in path.relative_to(DOCS).parts:
            found[path] = str(path.relative_to(DOCS))
    # The start page says what the README says, and a page has the header.
    return found | {ROOT / "README.md": "index.md", ROOT / "include/unistream.h": "c.md"}


def led(text: str, source: Path, name: str, known: dict[Path, str], wrong: list[str]) -> str:
    """Return the page with its links led to pages."""

    def lead(match: re.Match[str]) -> str:
        mark, words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, _, anchor = target.partition("#")
        file = Path(os.path.normpath(source.parent / path))
        if not file.exists():
            wrong.append(f"{source.relative_to(ROOT)}: {target} is not there")
        if file in known:
            to = os.path.relpath(known[file], Path(name).parent)
            return f"{mark}[{words}]({to}{'#' + anchor if anchor else ''})"
        if file.is_file() and DOCS in file.parents:
            return match[0]
        place = str(file.relative_to(ROOT))
        return words if place in words else f"{words} (`{place}`)"

    # Not inside of code.
    parts = re.split(r"(^```.*?^```)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(lead, part) for part in parts)


def figures(folder: Path, results: Path) -> str:
    """Return what stands under "Figures": pictures of what was measured here, or how to measure."""
    if not results.exists():
        return (
            "Nothing was measured where this site was built. After `make bench`, `make site` shows pictures of it here."
        )
    return draw(json.loads(results.read_text()), folder)


def main(target: Path) -> int:
    """Lay the pages into a folder. Return 1 if a link leads nowhere."""
    shutil.rmtree(target, ignore_errors=True)
    known, wrong = pages(), list[str]()
    for source, name in known.items():
        if name in {"index.md", "c.md"} and source != DOCS / "index.md":
            continue
        page = target / name
        page.parent.mkdir(parents=True, exist_ok=True)
        # An empty default is an empty cell.
        page.write_text(led(source.read_text(), source, name, known, wrong).replace("| `` |", "| |"))
    header = (ROOT / "include" / "unistream.h").read_text()
    (target / "c.md").write_text(f"# The C header\n\nThe header is the manual.\n\n```c\n{header}```\n")
    # build.sh writes what `help()` says in its place, if there is a Python that has the wheel.
    (target / "python-reference.md").write_text(
        "# Python reference\n\n`help(unistream)` and `help(unistream.Producer)` are the reference. "
        "After `python/install.sh`, `make site` has it here.\n\n[The guide](python.md) explains it.\n"
    )
    for path in DOCS.rglob("*"):
        if path.is_file() and path.suffix != ".md" and "site" not in path.relative_to(DOCS).parts:
            copy = target / path.relative_to(DOCS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    shutil.copy(DOCS / "site" / "extra.css", target)
    page = target / "performance.md"
    results = target.parent.parent / "bench" / "results.json"
    page.write_text(page.read_text().replace("<!-- plots -->", figures(target, results)))
    sinks = sorted(name for name in known.values() if name.startswith("sinks/"))
    settings = (DOCS / "site" / "mkdocs.yml").read_text()
    listed = "\n".join(f"      - {name}" for name in sinks)
    (target.parent / "mkdocs.yml").write_text(
        settings.replace("  - Sinks: &sinks []", f"  - Sinks:\n{listed}").replace("../../target/site/", "")
    )
    print("\n".join(wrong), end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
