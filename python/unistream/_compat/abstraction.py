"""What a record, a buffer, a producer, a checkpoint and a consumer must be able to do."""

import abc
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self, TypeVar

from .published import at


@at("unistream.abstraction")
class AbcRecord(abc.ABC):
    """A record: an `id`, the time `create_at` in ISO 8601 with a time zone, and a text form."""

    id: str
    create_at: str

    @property
    def create_at_datetime(self) -> datetime:
        """The time of creation."""
        return datetime.fromisoformat(self.create_at)

    @abc.abstractmethod
    def serialize(self) -> str:
        """Return the text form."""
        raise NotImplementedError

    @classmethod
    @abc.abstractmethod
    def deserialize(cls, data: str) -> Self:
        """Return the record of a text form."""
        raise NotImplementedError


T_RECORD = TypeVar("T_RECORD", bound=AbcRecord)


@at("unistream.abstraction")
class AbcBuffer(abc.ABC):
    """A first-in-first-out buffer of records, handed out in batches."""

    max_records: int
    max_bytes: int

    @classmethod
    @abc.abstractmethod
    def new(cls, *args: Any, **kwargs: Any) -> Self:
        """Open the buffer, with what an earlier run left in it."""
        raise NotImplementedError

    @abc.abstractmethod
    def put(self, record: Any) -> None:
        """Put a record."""
        raise NotImplementedError

    @abc.abstractmethod
    def should_i_emit(self) -> bool:
        """Whether a batch is full."""
        raise NotImplementedError

    @abc.abstractmethod
    def emit(self) -> list[Any]:
        """Return the oldest batch, oldest record first; the same one until it is committed."""
        raise NotImplementedError

    @abc.abstractmethod
    def commit(self) -> None:
        """Forget the oldest batch."""
        raise NotImplementedError


T_BUFFER = TypeVar("T_BUFFER", bound=AbcBuffer)


@at("unistream.abstraction")
class AbcProducer(abc.ABC):
    """Puts records into a buffer, and sends its batches."""

    buffer: AbcBuffer

    @classmethod
    @abc.abstractmethod
    def new(cls, *args: Any, **kwargs: Any) -> Self:
        """Make a producer."""
        raise NotImplementedError

    @abc.abstractmethod
    def send(self, records: list[Any]) -> Any:
        """Send a batch; raise if that failed."""
        raise NotImplementedError

    @abc.abstractmethod
    def put(self, record: Any, raise_send_error: bool = False, verbose: bool = False) -> None:
        """Put a record, then send a batch if it is time."""
        raise NotImplementedError


T_PRODUCER = TypeVar("T_PRODUCER", bound=AbcProducer)


@at("unistream.abstraction")
class AbcCheckPoint(abc.ABC):  # noqa: B024 a subclass implements what its consumer calls
    """Remembers how far a consumer is. A subclass says where: what it leaves out raises `NotImplementedError`."""

    def dump(self) -> None:
        """Store the checkpoint."""
        raise NotImplementedError

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Self:
        """Return what was stored, or a checkpoint that begins at the beginning."""
        raise NotImplementedError

    def dump_records(self, records: Iterable[AbcRecord]) -> None:
        """Store the records of a batch."""
        raise NotImplementedError

    def load_records(self, record_class: type[AbcRecord], **kwargs: Any) -> Iterable[AbcRecord]:
        """Return the records of the batch that was stored last."""
        raise NotImplementedError

    def mark_as_in_progress(self, record: AbcRecord, *args: Any, **kwargs: Any) -> None:
        """Note, in memory, that a record is being processed."""
        raise NotImplementedError

    def mark_as_failed_or_exhausted(self, record: AbcRecord, *args: Any, **kwargs: Any) -> None:
        """Note, in memory, that a record was not processed."""
        raise NotImplementedError

    def mark_as_succeeded(self, record: AbcRecord, *args: Any, **kwargs: Any) -> None:
        """Note, in memory, that a record was processed."""
        raise NotImplementedError

    def dump_as_in_progress(self, record: AbcRecord) -> None:
        """Store what `mark_as_in_progress` noted."""
        raise NotImplementedError

    def dump_as_failed_or_exhausted(self, record: AbcRecord) -> None:
        """Store what `mark_as_failed_or_exhausted` noted."""
        raise NotImplementedError

    def dump_as_succeeded(self, record: AbcRecord) -> None:
        """Store what `mark_as_succeeded` noted."""
        raise NotImplementedError


T_CHECK_POINT = TypeVar("T_CHECK_POINT", bound=AbcCheckPoint)


@at("unistream.abstraction")
class AbcConsumer(abc.ABC):
    """Reads records from a stream and processes each."""

    @classmethod
    @abc.abstractmethod
    def new(cls, *args: Any, **kwargs: Any) -> Self:
        """Make a consumer."""
        raise NotImplementedError

    @abc.abstractmethod
    def get_records(self) -> Any:
        """Return the next records of the stream."""
        raise NotImplementedError

    @abc.abstractmethod
    def process_record(self, record: Any) -> Any:
        """Process a record; raise if that failed."""
        raise NotImplementedError

    @abc.abstractmethod
    def process_failed_record(self, record: Any) -> Any:
        """Put a record aside that could not be processed."""
        raise NotImplementedError


T_CONSUMER = TypeVar("T_CONSUMER", bound=AbcConsumer)
