"""Small files of state."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import TextIO


def write(path: Path, text: str) -> None:
    """Replace a file: whatever ends the process or the machine, it has the old text or the new one, whole.

    After the death of the process it is the new one; after a power loss it may be the old one, until `settle`. A file
    that is there keeps its mode, and a link stays one. A device, and a file that cannot be replaced because its folder
    is read-only or it is a mount of its own, is written in place, which a crash may tear.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    try:
        _replace(path, text)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY) or not path.is_file():
            raise
        with path.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with _open_alone(temporary) as file:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _open_alone(path: Path) -> TextIO:
    """Open an empty file that nobody else writes until it is closed, moved or removed.

    One that a killed process has left is used again, so that there is never more than one.
    """
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        file = os.fdopen(descriptor, "w", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Who had it before may have moved it to its place since.
            if os.path.samestat(os.fstat(descriptor), path.lstat()):
                os.ftruncate(descriptor, 0)
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()


def settle(path: Path) -> None:
    """Make durable what was written to a file, or that there is none."""
    folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
