"""Files of lines into a buffer, each line once, however often the process dies and whatever else puts in between.

In the buffer's directory, the file `intake` has notes, one a line, of which the last one about a file counts (and
`intake.lock` is empty, for one run at a time):

    SOURCE TAG LINES OFFSET SEQ DIGEST BOOT SYNCED

The first LINES lines of SOURCE (buffer, device, inode, how often the run names it) are in: OFFSET bytes with this
DIGEST. The next line, if it is in, has the seq SEQ, the one behind it the seq after that, and so on, because only the
owner of a buffer puts. So a run that goes on reads the buffer from SEQ on: a record is a line of the file if it has
the seq, the id and the bytes of that line. The id is TAG-NUMBER unless the line brings its own; TAG is random, so that
nothing that others put in between is taken for a line.

Lines that were put behind the last note and are delivered already cannot be seen: they are put again, with the same
ids. When the machine has started anew since BOOT, power may have taken records: then only notes count that were written
after a sync (SYNCED is 1), and all lines behind them are put again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from ._errors import InUse
from ._native import Inspection

Fields = dict[str, str]
"""What a line's record has beside its data: `id`, `key`."""

NOTES = "intake"
MOST = (256 << 20) + 2
"""Longer than a record may be, with its line feed."""
_NOTE = re.compile(
    rb"([0-9a-f]{16}:\d{1,20}:\d{1,20}:\d{1,9}) ([0-9a-f]{16}) (\d{1,19}) (\d{1,19}) (\d{1,19}) ([0-9a-f]{32})"
    rb" ([0-9a-f-]{36}) ([01])\n"
)
_MOST_NOTE = 512
_BLOCK_LINES, _BLOCK_BYTES = 4096, 8 << 20
_BLOCKS_PER_SYNC = 16


@dataclass(frozen=True)
class _Note:
    tag: str
    lines: int
    offset: int
    seq: int
    digest: str
    boot: str
    synced: bool


@dataclass
class _Place:
    """A place between two lines of a file, and the seq that the next line will have."""

    tag: str
    lines: int = 0
    offset: int = 0
    seq: int = 0
    hash: blake2b = field(default_factory=lambda: blake2b(digest_size=16))

    def go(self, line: bytes) -> None:
        """Go behind the next line."""
        self.lines += 1
        self.offset += len(line)
        self.hash.update(line)

    def copy(self) -> _Place:
        """Return another of this place."""
        return replace(self, hash=self.hash.copy())


class Intake:
    """Takes files into the buffer of a directory and keeps the notes.

    Whoever makes one has the buffer and keeps it, or gives it up for no longer than opening it again takes.
    """

    def __init__(
        self,
        directory: Path,
        fields: Callable[[bytes, int], Fields | None],
        tell: Callable[[str], None],
    ) -> None:
        """Read the notes.

        Args:
            directory: the buffer's directory.
            fields: gets a line without its line feed, and its number from 1; returns what its record has beside the
                data, or `None` if the line is no record. It raises `ValueError` for a line to stop at, and says the
                same of the same line again.
            tell: gets sentences for the user.

        Raises:
            InUse: another process has the notes.
            OSError: the notes cannot be read, or are not ours.
        """
        self._directory, self._fields, self._tell = directory, fields, tell
        self._folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._file = self._lock = -1
        try:
            # A run with a sink opens the buffer twice: nobody else may take the same file in between.
            self._lock = self._open(f"{NOTES}.lock", os.O_CREAT)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            stats = Inspection(directory).stats()
            self._buffer, self._next_seq = stats["buffer_id"], stats["next_seq"]
            self._notes = self._read()
        except BlockingIOError as error:
            self.close()
            raise InUse(f"another process takes files into {directory}") from error
        except BaseException:
            self.close()
            raise
        self._places: dict[str, _Place] = {}
        self._seen: dict[str, int] = {}

    def close(self) -> None:
        """Let go of the directory."""
        for handle in (self._file, self._lock, self._folder):
            if handle >= 0:
                os.close(handle)
        self._file = self._lock = self._folder = -1

    def source(self, found: os.stat_result) -> str:
        """Return the name of a file in the notes. One that a run names twice is taken in twice."""
        known = f"{self._buffer}:{found.st_dev}:{found.st_ino}"
        self._seen[known] = self._seen.get(known, 0) + 1
        return f"{known}:{self._seen[known]}"

    def settle(self, file: BinaryIO, source: str, name: str) -> int:
        """Find out how much of a file an earlier run took in, and return how many lines. Nobody delivers meanwhile."""
        note = self._notes.get(source)
        if note is None:
            return 0
        place = _reached(file, note)
        if place is None:
            self._tell(f"{name} has changed since a run that did not end took {note.lines} lines of it: all are put")
            return 0
        file.seek(place.offset)
        first_seq, found, ahead, seen = place.seq, place.copy(), self._lines(file, place), False

        def each(seq: int, id: str, key: bytes | None, _: datetime, data: bytes) -> bool:
            nonlocal found, seen
            # What lies before the first one is delivered; but no run gets so far without a note.
            if seq - first_seq > 2 * _BLOCK_LINES or (seen and seq != place.seq):
                return False
            line, fields = b"", Fields()
            try:
                while place.seq <= seq:
                    line, fields = next(ahead)
                    place.seq += 1
                expected = (line, fields["id"], fields["key"].encode() if "key" in fields else None)
            except (StopIteration, ValueError):
                return False
            if (data, id, key) != expected:
                return False
            found, seen = place.copy(), True
            return True

        if note.boot == self._boot:
            Inspection(self._directory).for_each(each, first_seq)
        found.seq = self._next_seq
        self._places[source] = found
        self._note(source, found, synced=False)
        return found.lines

    def take(
        self, file: BinaryIO, source: str, put: Callable[[bytes, int, Fields], int], sync: Callable[[], None]
    ) -> None:
        """Put the lines of a file that are not yet in.

        Args:
            file: the file; `settle` has seen it. It must not change meanwhile but by growing.
            source: its name in the notes.
            put: puts a line, without its line feed, as one record, and returns the seq.
            sync: makes what was put durable.
        """
        place = self._places.pop(source, None)
        if place is None:
            place = _Place(secrets.token_hex(8), seq=self._next_seq)
            self._note(source, place, synced=True)
        file.seek(place.offset)
        lines = bytes_ = blocks = 0
        for line, fields in self._lines(file, place):
            seq = put(line, place.lines, fields)
            lines += 1
            bytes_ += len(line)
            known, place.seq = place.seq, seq + 1
            self._next_seq = seq + 1
            # Seqs jump where others put, and after damage.
            if seq != known or lines >= _BLOCK_LINES or bytes_ >= _BLOCK_BYTES:
                lines, bytes_, blocks = 0, 0, blocks + 1
                synced = blocks % _BLOCKS_PER_SYNC == 0
                if synced:
                    sync()
                self._note(source, place, synced=synced)
        sync()
        self._note(source, place, synced=True)

    def forget(self) -> None:
        """Forget the files of this run: all that they held is where it should be."""
        mine = {f"{known}:{nth}" for known, times in self._seen.items() for nth in range(1, times + 1)}
        others = {source: note for source, note in self._notes.items() if source not in mine}
        if others:
            self._replace(b"".join(_line(source, note) for source, note in others.items()))
        elif self._file >= 0:
            os.unlink(NOTES, dir_fd=self._folder)
            os.close(self._file)
            self._file = -1
        os.fsync(self._folder)
        self._notes = others

    def _lines(self, file: BinaryIO, place: _Place) -> Iterator[tuple[bytes, Fields]]:
        """Return the records of a file from a place on, which goes along."""
        while line := file.readline(MOST):
            if len(line) == MOST:
                raise ValueError(f"line {place.lines + 1}: it is longer than a record may be")
            place.go(line)
            line = line.removesuffix(b"\n")
            try:
                fields = self._fields(line, place.lines)
            except ValueError as error:
                raise ValueError(f"line {place.lines}: {error}") from error
            if fields is not None:
                fields.setdefault("id", f"{place.tag}-{place.lines}")
                yield line, fields

    # ------------------------------------------------------------------------------------------------------- notes

    def _open(self, name: str, how: int) -> int:
        """Open a file beside the buffer that nobody else can have written."""
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | how
        foreign = PermissionError(f"{self._directory / name} is not a file that only we can write; remove it")
        try:
            file = os.open(name, flags, 0o600, dir_fd=self._folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise foreign from error
            raise OSError(error.errno, error.strerror, str(self._directory / name)) from error
        if not is_ours(os.fstat(file)) or os.fstat(file).st_mode & 0o022:
            os.close(file)
            raise foreign
        return file

    def _read(self) -> dict[str, _Note]:
        notes: dict[str, _Note] = {}
        try:
            self._file = self._open(NOTES, 0)
        except FileNotFoundError:
            return notes
        end = 0
        with open(self._file, "rb", closefd=False) as file:
            while found := _NOTE.fullmatch(line := file.readline(_MOST_NOTE)):
                source, tag, lines, offset, seq, digest, boot, synced = (part.decode() for part in found.groups())
                end += len(line)
                if synced == "1" or boot == self._boot:
                    notes[source] = _Note(tag, int(lines), int(offset), int(seq), digest, boot, synced == "1")
        if line.endswith(b"\n") or len(line) == _MOST_NOTE:
            self._tell(f"{self._directory / NOTES} is damaged: lines that are in already may be put once more")
        # The notes before hold, whatever follows; what a death tore goes.
        os.ftruncate(self._file, end)
        return notes

    def _note(self, source: str, place: _Place, *, synced: bool) -> None:
        digest = place.hash.hexdigest()
        note = _Note(place.tag, place.lines, place.offset, place.seq, digest, self._boot, synced)
        line = _line(source, note)
        try:
            if self._file < 0:
                self._replace(b"")
            while line:
                line = line[os.write(self._file, line) :]
            if synced:
                os.fdatasync(self._file)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._directory / NOTES)) from error
        self._notes[source] = note

    def _replace(self, content: bytes) -> None:
        """Put a new file of notes in the place of the one that is there."""
        fresh = f"{NOTES}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=self._folder)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(fresh, flags, 0o600, dir_fd=self._folder)
        try:
            with open(file, "ab", closefd=False) as out:
                out.write(content)
            os.fsync(file)
            os.rename(fresh, NOTES, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
        except BaseException:
            os.close(file)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file = file


def is_ours(found: os.stat_result) -> bool:
    """Whether it is a regular file of our own that has no other name."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1


def _line(source: str, note: _Note) -> bytes:
    words = (source, note.tag, note.lines, note.offset, note.seq, note.digest, note.boot, int(note.synced))
    return (" ".join(map(str, words)) + "\n").encode()


def _reached(file: BinaryIO, note: _Note) -> _Place | None:
    """Return the place that a note tells of, if the file is the same up to there.

    A last line that had no line feed then and is longer now lies behind the place: it is another line.
    """
    place, end = _Place(note.tag, seq=note.seq), b""
    file.seek(0)
    before = place
    while place.lines < note.lines and (end := file.readline(MOST)):
        if place.lines == note.lines - 1:
            before = place.copy()
            before.seq -= 1
        place.go(end[: note.offset - place.offset])
    if (place.lines, place.offset, place.hash.hexdigest()) != (note.lines, note.offset, note.digest):
        return None
    return place if place.offset - before.offset == len(end) else before
