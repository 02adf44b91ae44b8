"""The file at `path_wal`, which in 0.1.2 was there while records waited in it."""

import contextlib
import os
from pathlib import Path

from .predecessor import is_ours


class Marker:
    """An empty file that is there while records wait.

    Programs look whether it exists, also in the next run. What a buffer holds is in its directory; so a file that
    cannot be made or removed costs nothing, and one that is not empty, or not ours, is left alone.
    """

    def __init__(self, path: Path) -> None:
        """Look at nothing yet."""
        self._path = path
        self._is_there: bool | None = None

    def show(self, waiting: bool) -> None:
        """Make the file, or remove it."""
        if waiting is self._is_there:
            return
        self._is_there = waiting
        with contextlib.suppress(OSError):
            if waiting:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(self._path, flags, 0o600))
            else:
                found = self._path.lstat()
                if found.st_size == 0 and is_ours(found):
                    self._path.unlink()
