"""Looks at what is in a wheel: the oldest glibc that its library runs on, and whose unwinder it has.

inspect_wheel.py WHEEL
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

OLDEST = (2, 17)


def library(wheel: Path) -> ELFFile:
    """Open the one library of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".so"))
        return ELFFile(io.BytesIO(archive.read(name)))


def glibc_versions(elf: ELFFile) -> dict[tuple[int, ...], list[str]]:
    """List the versions of glibc that it asks for, and of which of its libraries."""
    found: dict[tuple[int, ...], list[str]] = {}
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for needed, versions in section.iter_versions():
                for version in versions:
                    if version.name.startswith("GLIBC_"):
                        number = tuple(int(part) for part in version.name.removeprefix("GLIBC_").split("."))
                        found.setdefault(number, []).append(needed.name)
    return found


def main(wheel: Path) -> int:
    """Print what is found; 1 if anything of it is wrong."""
    elf = library(wheel)
    versions = glibc_versions(elf)
    needed = [
        tag.needed
        for section in elf.iter_sections()
        if isinstance(section, DynamicSection)
        for tag in section.iter_tags("DT_NEEDED")
    ]
    newest = max(versions)
    print(f"glibc {'.'.join(map(str, newest))} or later; needs {' '.join(needed)}; {wheel.stat().st_size} bytes")
    wrong = []
    if newest > OLDEST:
        wrong.append(f"it needs glibc {newest}, of {versions[newest]}")
    # Without it the unwinder is LLVM's, in the library itself: see python/zig-cc.sh.
    if "libgcc_s.so.1" not in needed:
        wrong.append("it does not unwind by libgcc_s.so.1, as CPython does")
    if any(section.name.startswith(".debug_") for section in elf.iter_sections()):
        wrong.append("it has debug information in it")
    print("\n".join(wrong), end="\n" if wrong else "")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
