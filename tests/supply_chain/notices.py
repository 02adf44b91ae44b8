"""The third-party notices and the bills of materials of what we package.

They are made from what cargo says is linked into the C library, the command and the Python wheel, and from the
licences that these crates carry. They are committed, so that a package needs no tool to be made; `--check` says whether
they are what this would write. Nothing in them depends on when, where or by whom they were made.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PRODUCTS = {"unistream-ffi": ROOT / "ffi", "unistream-cli": ROOT / "cli", "unistream-python": ROOT / "python"}
PLATFORMS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]
TEXTS = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
RULE = "-" * 100


def cargo(*arguments: str) -> str:
    """Ask cargo."""
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, capture_output=True, check=True, text=True, cwd=ROOT).stdout


def linked(product: str) -> tuple[dict[str, dict[str, Any]], dict[str, set[str]]]:
    """Find the packages that are linked into a product, by their id, and on which of them each depends."""
    known = {
        (package["name"], package["version"]): package
        for package in json.loads(cargo("metadata", "--format-version=1"))["packages"]
    }
    packages: dict[str, dict[str, Any]] = {}
    needs: dict[str, set[str]] = {}
    # Macros and build scripts run while building; nothing of theirs is linked.
    tree = [
        "tree",
        "--package",
        product,
        "--edges=normal,no-proc-macro",
        "--prefix=depth",
        "--no-dedupe",
        "--format= {p}",
    ]
    for platform in PLATFORMS:
        above: list[str] = []
        for line in filter(None, cargo(*tree, f"--target={platform}").splitlines()):
            depth, name, version, *_ = line.split()
            package = known[name, version.removeprefix("v")]
            packages[package["id"]] = package
            needs.setdefault(package["id"], set())
            above = [*above[: int(depth)], package["id"]]
            if len(above) > 1:
                needs[above[-2]].add(above[-1])
    return packages, needs


def third_party(packages: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are not ours, in the order of their names."""
    others = (package for package in packages.values() if package["source"])
    return sorted(others, key=lambda package: (package["name"], package["version"]))


def notices(packages: dict[str, dict[str, Any]]) -> str:
    """Who must be named, and the licences' texts, each once."""
    texts: dict[str, list[str]] = {}
    lines = []
    for package in third_party(packages):
        name = f"{package['name']} {package['version']}"
        lines.append(f"{name}: {package['license']}; {package['repository'] or 'crates.io'}")
        place = Path(package["manifest_path"]).parent
        files = sorted(path for path in place.iterdir() if path.is_file() and TEXTS.match(path.name))
        if not files:
            own = [f"LICENSE-{kind}" for kind in ("APACHE", "MIT") if kind.lower() in package["license"].lower()]
            if not own:
                raise SystemExit(f"{name} carries no licence and has none of ours: {package['license']}")
            texts.setdefault(f"(its own form is not in its package)\n{', '.join(own)} of this package", []).append(name)
        for path in files:
            text = "\n".join(line.rstrip() for line in path.read_text(errors="replace").strip().splitlines())
            texts.setdefault(text, []).append(name)
    parts = ["This package contains the work of others, under these licences:\n\n" + "\n".join(lines)]
    for text, names in sorted(texts.items(), key=lambda item: item[1]):
        parts.append(f"{RULE}\n{', '.join(names)}\n{RULE}\n\n{text}")
    return "\n\n".join(parts) + "\n"


def bill(product: str, packages: dict[str, dict[str, Any]], needs: dict[str, set[str]]) -> str:
    """CycloneDX 1.5, as JSON."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    checksums = {(row["name"], row["version"]): row.get("checksum") for row in lock}

    def reference(id: str) -> str:
        return f"pkg:cargo/{packages[id]['name']}@{packages[id]['version']}"

    def component(id: str) -> dict[str, Any]:
        package = packages[id]
        found: dict[str, Any] = {
            "type": "library",
            "bom-ref": reference(id),
            "name": package["name"],
            "version": package["version"],
            "scope": "required",
            # Some crates still write a slash.
            "licenses": [{"expression": package["license"].replace("/", " OR ")}],
            "purl": reference(id),
        }
        if checksum := checksums[package["name"], package["version"]]:
            found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return found

    ids = sorted(packages, key=reference)
    (root,) = (id for id in ids if packages[id]["name"] == product)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root)},
        "components": [component(id) for id in ids if id != root],
        "dependencies": [{"ref": reference(id), "dependsOn": sorted(map(reference, needs[id]))} for id in ids],
    }
    return json.dumps(document, indent=1) + "\n"


def main() -> None:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale = []
    for product, place in PRODUCTS.items():
        packages, needs = linked(product)
        for path, text in [
            (place / "THIRD-PARTY-NOTICES.txt", notices(packages)),
            (place / "unistream.cdx.json", bill(product, packages, needs)),
        ]:
            if not check:
                path.write_text(text)
            elif not path.exists() or path.read_text() != text:
                stale.append(str(path.relative_to(ROOT)))
    if stale:
        sys.exit(f"not what is linked: {', '.join(stale)}; make notices")


if __name__ == "__main__":
    main()
