"""Buffers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import weakref
from collections import deque
from pathlib import Path
from typing import Any, ClassVar, Self

from .._errors import DiskError
from .._native import Batch
from .._producer import Buffer
from .abstraction import AbcBuffer, AbcRecord
from .exc import BufferIsEmptyError
from .marker import Marker
from .predecessor import Predecessor
from .published import at

_NO_END = 2**64 - 1


@at("unistream.buffer")
class BaseBuffer(AbcBuffer):
    """The base of buffers: `new`, `put`, `should_i_emit`, `emit`, `commit`."""


@at("unistream.buffers.file_buffer")
class FileBuffer(BaseBuffer):
    """A buffer in local files. Use `new`.

    A buffer that another process has raises `unistream.InUse`. A second one in this process takes over: calls on the
    first then raise `unistream.Closed`.
    """

    _owners: ClassVar[weakref.WeakValueDictionary[Path, FileBuffer]] = weakref.WeakValueDictionary()
    _owners_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self, record_class: type[Any], path_wal: Path, max_records: int = 1000, max_bytes: int = 1_000_000
    ) -> None:
        """See `new`."""
        self.record_class = record_class
        self.path_wal = Path(path_wal)
        self.max_records = max_records
        self.max_bytes = max_bytes
        folder = self.path_wal.parent.resolve()
        self._directory = folder / f"{self.path_wal.name}.buffer"
        self._marker = Marker(folder / self.path_wal.name)
        self._predecessor = Predecessor(self.path_wal, self._directory, self._id_of_text, record_class.__name__)
        self._emitted: tuple[Batch, list[Any]] | None = None
        with self._owners_lock:
            before = self._owners.pop(self._directory, None)
            if before is not None:
                before._close()
            self._open()
            self._owners[self._directory] = self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself, as nothing can be two owners of the files: so `dataclasses.asdict` of a producer works."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return what it is opened with, and what a subclass keeps: the records are in the files."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the buffer again, also one that 0.1.2 has pickled, with what that kept in memory left out."""
        FileBuffer.__init__(self, *(state[name] for name in ("record_class", "path_wal", "max_records", "max_bytes")))
        vars(self).update({name: value for name, value in state.items() if not hasattr(FileBuffer, name)})

    @classmethod
    def _forked(cls) -> None:
        # The parent's buffers are none of its business, and the lock may be held by a thread that it does not have.
        cls._owners = weakref.WeakValueDictionary()
        cls._owners_lock = threading.Lock()

    def _open(self) -> None:
        # As in 0.1.2, nothing is sealed by age, and neither a backlog nor a record is too large.
        self._buffer = Buffer(
            self._directory,
            max_records=min(self.max_records, 1_000_000),
            max_bytes="1GiB",
            max_record_bytes="256MiB",
            linger=None,
            segment_bytes="1MiB",
            max_buffer_bytes="1024TiB",
        )
        try:
            self._predecessor.take_over(self._buffer)
        except BaseException:
            self._buffer.close()
            raise
        self._mark()

    def _close(self) -> None:
        try:
            self._buffer.close()
        except DiskError:
            # Programs begin anew by removing the folder; then nothing is left that closing could make safe.
            if self._directory.exists():
                raise

    def _mark(self) -> None:
        self._marker.show(self.n_records > 0)

    @classmethod
    def new(cls, record_class: type[Any], path_wal: Path, max_records: int = 1000, max_bytes: int = 1_000_000) -> Self:
        """Open the buffer, with what an earlier run, of 0.1.2 too, left in it.

        Args:
            record_class: the class whose `deserialize` reads the records back.
            path_wal: names the buffer; its files are in the directory `<path_wal>.buffer`. An empty file of this name
                is there while records wait that do not fill a batch.
            max_records: the records at which a batch is full.
            max_bytes: the bytes at which a batch is full; those of its last record may go beyond.
        """
        return cls(record_class=record_class, path_wal=path_wal, max_records=max_records, max_bytes=max_bytes)

    def _id_of_text(self, text: str) -> str | None:
        record_id = getattr(self.record_class.deserialize(text), "id", None)
        return record_id if isinstance(record_id, str) else None

    def put(self, record: AbcRecord) -> None:
        """Put a record; when this returns, it survives the death of the process."""
        self._buffer.put(record)
        waiting, filled = self._buffer.filling
        if filled >= self.max_bytes or waiting >= self.max_records:
            self._buffer.seal()
            waiting = 0
        self._marker.show(waiting > 0)

    def should_i_emit(self) -> bool:
        """Whether a batch is full."""
        return self._buffer.should_emit()

    def emit(self) -> list[Any]:
        """Return the oldest batch, oldest record first; the same one until it is committed.

        If none is full, it is what there is.
        """
        return self._head()[1]

    def commit(self) -> None:
        """Forget the oldest batch."""
        batch, _ = self._head()
        # First: whatever breaks this off, the buffer says the next time which batch is the oldest.
        self._emitted = None
        self._buffer.commit(batch)
        self._mark()

    def _head(self) -> tuple[Batch, list[Any]]:
        if self._emitted is None:
            if not self._buffer.should_emit():
                self._buffer.seal()
            batch = self._buffer.emit()
            if batch is None:
                raise BufferIsEmptyError("the buffer is empty")
            self._emitted = batch, [self.record_class.deserialize(record.text) for record in batch]
        return self._emitted

    @property
    def emitted_records(self) -> list[Any] | None:
        """The batch that `emit` returned and that is not committed."""
        return None if self._emitted is None else self._emitted[1]

    @property
    def n_records(self) -> int:
        """How many records wait that do not fill a batch."""
        return self._buffer.filling[0]

    @property
    def n_bytes(self) -> int:
        """Their bytes."""
        return self._buffer.filling[1]

    @property
    def memory_queue(self) -> deque[Any]:
        """The records that wait and do not fill a batch, the newest at the left. A copy, read from the log."""
        return deque(map(self.record_class.deserialize, self.memory_serialization_queue))

    @property
    def memory_serialization_queue(self) -> deque[str]:
        """Their text forms, likewise."""
        batches = self._buffer._batches()
        first = batches[-1][1] + 1 if batches else 0
        return deque(payload.decode() for payload in reversed(self._buffer._payloads(first, _NO_END)))

    @property
    def storage_queue(self) -> deque[Path]:
        """The full batches that are not committed, the newest at the left. A copy, read from the log.

        The paths are names for `_read_log_file`: a batch is no file.
        """
        return deque(self._directory / f"{first}-{last}" for first, last in reversed(self._buffer._batches()))

    def _get_old_log_files(self) -> list[Path]:
        """Return the names of the full batches, the oldest first."""
        return list(reversed(self.storage_queue))

    def _read_log_file(self, path_wal: Path) -> list[Any]:
        """Return the records of a batch, by its name; those of `path_wal`; or those of any file that has one a line."""
        if path_wal == self.path_wal:
            return list(reversed(self.memory_queue))
        name = re.fullmatch(r"(\d+)-(\d+)", path_wal.name)
        if name and path_wal.parent == self._directory:
            texts = [payload.decode() for payload in self._buffer._payloads(int(name[1]), int(name[2]))]
        else:
            texts = path_wal.read_text().split("\n")
            if not texts[-1]:
                texts.pop()
        return [self.record_class.deserialize(text) for text in texts]

    def clear_memory_queue(self) -> None:
        """Do nothing: no record is in memory alone, and 0.1.2 kept the files too."""

    def clear_wal(self) -> None:
        """Remove every record and every file of this buffer."""
        self._close()
        self._emitted = None
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._directory)
        self._predecessor.remove()
        self._open()


os.register_at_fork(after_in_child=FileBuffer._forked)
