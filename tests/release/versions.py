#!/usr/bin/env python3
"""Says whether all places that have the version have the same one.

versions.py [--tag v0.2.0] [--notes]

With --tag it is also the tag's, and the changelog's section has a date. --notes prints that section.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def text(path: str) -> str:
    """Read a file of the tree."""
    return (ROOT / path).read_text()


def first(pattern: str, path: str) -> str:
    """Return what the pattern's group finds first in a file."""
    found = re.search(pattern, text(path), re.MULTILINE)
    if found is None:
        sys.exit(f"{path} has no line like {pattern}")
    return found[1]


def locked(path: str, name: str) -> str:
    """Return the version of a package in a lock file."""
    packages = tomllib.loads(text(path))["package"]
    return next(package["version"] for package in packages if package["name"] == name)


def section(version: str) -> tuple[str, str]:
    """Find what stands behind the version in the changelog's heading, and the text below."""
    found = re.search(
        rf"^## {re.escape(version)} \(([^)]*)\)\n(.*?)(?=^## |\Z)", text("CHANGELOG.md"), re.MULTILINE | re.DOTALL
    )
    if found is None:
        sys.exit(f"CHANGELOG.md has no section of {version}")
    return found[1], found[2].strip() + "\n"


def main(arguments: list[str]) -> None:
    """Compare them."""
    cargo = tomllib.loads(text("Cargo.toml"))["workspace"]
    version = cargo["package"]["version"]
    if "--notes" in arguments:
        print(section(version)[1], end="")
        return
    places = {
        "Cargo.toml, workspace.dependencies": cargo["dependencies"]["unistream"]["version"],
        "Cargo.lock, unistream": locked("Cargo.lock", "unistream"),
        "Cargo.lock, unistream-cli": locked("Cargo.lock", "unistream-cli"),
        "tests/fuzz/Cargo.lock": locked("tests/fuzz/Cargo.lock", "unistream-torture"),
        "include/unistream.h": first(r'^#define UNISTREAM_VERSION "(.*)"$', "include/unistream.h"),
        "debian/changelog": first(r"^unistream \(([^)]*)\)", "debian/changelog"),
        "docs/start.md": first(r"^This is version ([0-9.]*[0-9])", "docs/start.md"),
    }
    date = section(version)[0]
    wrong = [f"{place} says {found}, Cargo.toml {version}" for place, found in places.items() if found != version]
    if "--tag" in arguments:
        tag = arguments[arguments.index("--tag") + 1]
        if tag != f"v{version}":
            wrong.append(f"the tag is {tag}, the version {version}")
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
            wrong.append(f"CHANGELOG.md: the section of {version} has no date but {date!r}")
        for manifest in ("core/Cargo.toml", "cli/Cargo.toml"):
            package = tomllib.loads(text(manifest))["package"]
            if not package.get("repository"):
                wrong.append(f"{manifest} does not say where the sources are (repository)")
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
        if changed.stdout:
            wrong.append(f"there are changes that are not committed:\n{changed.stdout}")
    print("\n".join(wrong) or f"{version}: {len(places) + 1} places agree; the changelog says {date}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
