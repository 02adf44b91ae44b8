"""Small files of state."""

import contextlib
import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replace a file: whatever ends the process or the machine, it has the old text or the new one, whole.

    After the death of the process it is the new one; after a power loss it may be the old one, until `settle`. A file
    that is there keeps its mode, and a link stays one.
    """
    path = path.resolve()
    # Several processes may write, each its own copy.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o666), "w", encoding="utf-8") as file:
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def settle(path: Path) -> None:
    """Make durable what was written to a file, or that there is none."""
    folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
