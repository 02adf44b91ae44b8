"""What a buffer of unistream 0.1.2 still holds: put into one of this engine, then removed.

The folder may be one that others write: only plain files of the own user that have no other name are touched, by the
folder's handle, and no line of them is logged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from .._logging import logger as _log
from .._native import Intake
from .._producer import Buffer

#: Where in the buffer's directory lines are kept that are no records.
_LEFT_OUT = "left-out.log"


#: With so many lines before the first record, the class is the wrong one. They lie far before an intake's first note.
_MOST_UNREADABLE = 100


@dataclasses.dataclass
class _Lines:
    """What is known of a file's lines."""

    count: int
    #: Whether the last one has no end.
    is_torn: bool
    has_record: bool = False
    #: How many are no records.
    unreadable: int = 0
    #: Those that are not yet known to be damage.
    pending: list[bytes] = dataclasses.field(default_factory=list)


def _count(file: BinaryIO) -> _Lines:
    count, last = 0, b"\n"
    for line in file:
        count, last = count + 1, line[-1:]
    return _Lines(count, is_torn=last != b"\n")


class Predecessor:
    """The files of 0.1.2 beside the directory of a buffer."""

    def __init__(self, path: Path, directory: Path, id_of: Callable[[str], str | None], kind: str) -> None:
        """Look at nothing yet.

        Args:
            path: the file's name in 0.1.2.
            directory: the new buffer's directory.
            id_of: returns the id of a record's text, if it has one; it raises if the text is no record.
            kind: what the records are, for messages.
        """
        self._path, self._directory, self._id_of, self._kind = path, directory, id_of, kind
        #: The file being taken over.
        self._file = _Lines(0, is_torn=False)
        #: Its lines that are no records, and why.
        self._left_out: dict[int, str] = {}

    def take_over(self, buffer: Buffer) -> None:
        """Put what files of 0.1.2 hold, and remove each once its records are durable."""
        with self._folder() as folder:
            wals = self._old_wals(folder)
            if not wals:
                return
            # An error's traceback holds what local names do, and one run at a time has the notes.
            self._intake = Intake(self._directory, self._id_of_line, _log.warning)
            try:
                left = [name for name in wals if not self._take_over_one(buffer, folder, name)]
                # What is left is gone on with the next time.
                if not left:
                    self._intake.forget()
            finally:
                del self._intake

    def _take_over_one(self, buffer: Buffer, folder: int, name: str) -> bool:
        """Put what a file of 0.1.2 holds and remove it, unless it has grown or another took its name."""
        self._left_out = {}
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(handle, "rb") as file:
            read = os.fstat(handle)
            if not is_ours(read):
                return False
            self._file = _count(file)
            length = self._intake.take(file.fileno(), name, lambda line, id: buffer.put(line, id=id), buffer.sync)
            if self._left_out:
                self._tell_left_out(name)
            try:
                now = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return False
            if (now.st_dev, now.st_ino, now.st_size) != (read.st_dev, read.st_ino, length):
                return False
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
            return True

    def remove(self) -> None:
        """Remove the files."""
        with self._folder() as folder:
            for name in self._old_wals(folder):
                os.unlink(name, dir_fd=folder)

    @contextlib.contextmanager
    def _folder(self) -> Iterator[int]:
        """Lend a handle of the folder that files of 0.1.2 are in: what is done there is done there alone."""
        handle = os.open(self._directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield handle
        finally:
            os.close(handle)

    def _old_wals(self, folder: int) -> list[str]:
        """Return the files of a 0.1.2 buffer of this very name, oldest first: the full ones, then the open one.

        When they were written says more than the time in their names, which is that of a record. The folder may be
        one that others write: what is no plain file of ours is left alone.
        """
        stem, suffix = re.escape(self._path.stem), re.escape(self._path.suffix)
        full = re.compile(rf"{stem}\.\d{{4}}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{{6}}{suffix}")
        wals = []
        for name in os.listdir(folder):
            if name == self._path.name or full.fullmatch(name):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if is_ours(found):
                    wals.append((name == self._path.name, found.st_mtime_ns, name))
                else:
                    where = self._directory.parent / name
                    _log.warning("%s was left alone: it is not a plain file of our own with one name only", where)
        return [name for _, _, name in sorted(wals)]

    def _id_of_line(self, line: bytes, number: int) -> str | None:
        """Return the id in a line of a 0.1.2 file; what is no record, as a line that a crash tore, is kept aside."""
        file = self._file
        try:
            id = self._id_of(line.decode())
        except Exception as error:
            is_torn = number == file.count and file.is_torn
            file.unreadable += number not in self._left_out
            # The class may be another one, or what it asks may be away: nothing is taken for damage then.
            if not is_torn and (
                not isinstance(error, ValueError)
                or (not file.has_record and (number == file.count or file.unreadable > _MOST_UNREADABLE))
            ):
                error.add_note(f"line {number} of a file of unistream 0.1.2 is no {self._kind}; the file is as it was")
                raise
            if number not in self._left_out:
                self._left_out[number] = type(error).__name__
                file.pending.append(line)
            if file.has_record or is_torn:
                self._keep_pending()
            return None
        file.has_record = True
        self._keep_pending()
        return id or ""

    def _keep_pending(self) -> None:
        if self._file.pending:
            with self._left_out_file() as kept:
                kept.writelines(line + b"\n" for line in self._file.pending)
            self._file.pending.clear()

    def _left_out_file(self) -> BinaryIO:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.fdopen(os.open(self._directory / _LEFT_OUT, flags, 0o600), "ab")

    def _tell_left_out(self, name: str) -> None:
        # It is durable before the file goes.
        for handle in (os.open(self._directory / _LEFT_OUT, os.O_RDONLY), os.open(self._directory, os.O_RDONLY)):
            os.fsync(handle)
            os.close(handle)
        number, error = next(iter(self._left_out.items()))
        _log.warning(
            "%s: %d lines are no records of %s, the first is line %d (%s); they are kept in %s",
            name,
            len(self._left_out),
            self._kind,
            number,
            error,
            self._directory / _LEFT_OUT,
        )


def is_ours(found: os.stat_result) -> bool:
    """Whether it is a regular file of our own that has no other name."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
