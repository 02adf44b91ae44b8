"""Files of lines into a buffer, each line exactly once, however often the process dies in between.

A note in the buffer's directory says: the first `lines` lines, up to `offset`, are in, and the next one gets `seq`.
Every line takes one seq and nobody else puts meanwhile; so after a death the seq that comes next tells how many more
are in. A power loss makes the buffer skip seqs; then the note alone counts, which is written after a sync, and lines
behind it may be put twice.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ._native import Inspection

NOTE = "intake.json"
_LINES_PER_NOTE = 50_000


@dataclass(frozen=True)
class _Note:
    source: str
    boot: str
    offset: int
    lines: int
    seq: int


def take_in(
    source: Path,
    directory: Path,
    put: Callable[[bytes, int], int],
    sync: Callable[[], None],
    *,
    accept: Callable[[bytes], bool] = lambda _: True,
) -> int:
    """Put the lines of a file that are not yet in, and return how many that were.

    Args:
        source: the file; it must not change meanwhile but by growing.
        directory: the buffer's directory; the caller owns the buffer and nobody else puts.
        put: puts a line, without its line feed, as one record; it also gets the line's number, from 1, and
            returns the seq.
        sync: makes what was put durable.
        accept: whether a line is a record; must say the same of the same line again.
    """
    with source.open("rb") as file:
        found = os.fstat(file.fileno())
        identity = f"{found.st_dev}:{found.st_ino}:{source.resolve()}"
        next_seq = Inspection(directory).stats()["next_seq"]
        note = _read(directory, identity) or _Note(identity, _boot(), 0, 0, next_seq)
        known = next_seq - note.seq if note.boot == _boot() else 0
        _write(directory, _Note(identity, _boot(), note.offset, note.lines, next_seq - known))
        offset, lines, taken = file.seek(note.offset), note.lines, 0
        for line in file:
            offset += len(line)
            record = line.removesuffix(b"\n")
            if not accept(record):
                continue
            lines += 1
            if known > 0:
                known -= 1
                continue
            seq = put(record, lines)
            taken += 1
            if taken % _LINES_PER_NOTE == 0:
                sync()
                _write(directory, _Note(identity, _boot(), offset, lines, seq + 1))
        sync()
    return taken


def forget(directory: Path) -> None:
    """Forget the file that was taken in: the next one of its name is another."""
    (directory / NOTE).unlink(missing_ok=True)


def _read(directory: Path, identity: str) -> _Note | None:
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        note = _Note(**json.loads((directory / NOTE).read_bytes()))
        if note.source == identity:
            return note
    return None


def _write(directory: Path, note: _Note) -> None:
    path = directory / NOTE
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(json.dumps(asdict(note)).encode())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Make what was created, renamed and removed in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
