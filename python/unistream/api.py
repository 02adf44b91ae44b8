"""The producer half of unistream 0.1.2's API, on this engine: `import unistream.api as unistream`.

Scripts written for 0.1.2's producers run unchanged, and what a 0.1.2 buffer still holds is taken over, in order, when
it is first opened: from plain files of the own user that have no other name. Lines of them that are no records are kept
in `<path_wal>.buffer/left-out.log`. New programs use `unistream.Producer`. The consumer half stays in 0.1.2.

What is different, all of it on purpose: records are put into a durable log in the directory `<path_wal>.buffer`; a
batch is what was sealed, so that a record put between `emit` and `commit` is not lost; records come back in put order;
`max_records` and `max_bytes` may change between runs; a second buffer on the same path in the same process takes over,
while another process gets `unistream.InUse`; waits are measured from the end of an attempt; with `skip_error=True` a
`put` that accepted its record does not raise.
"""

from __future__ import annotations

import abc
import base64
import dataclasses
import json
import os
import shutil
import sys
import threading
import typing as t
import uuid
import weakref
from datetime import UTC, datetime
from pathlib import Path

from ._console import console as logger
from ._console import printable
from ._native import Batch, CloudWatchLogsSink, KinesisSink, NativeSink
from ._predecessor import Predecessor
from ._producer import Buffer
from ._verbose import tell

__all__ = [
    "T_BUFFER",
    "T_DATA_CLASS_RECORD",
    "T_KINESIS_RECORD",
    "T_PRODUCER",
    "T_RECORD",
    "AwsCloudWatchLogsProducer",
    "AwsKinesisStreamProducer",
    "BaseBuffer",
    "BaseProducer",
    "BaseRecord",
    "BufferIsEmptyError",
    "DataClassRecord",
    "FileBuffer",
    "KinesisRecord",
    "RetryConfig",
    "SendError",
    "SimpleProducer",
    "logger",
]

_CONSUMER_HALF = {
    "ProcessError",
    "StreamIsClosedError",
    "T_CHECK_POINT",
    "T_CONSUMER",
    "T_POINTER",
    "StatusEnum",
    "Tracker",
    "T_TRACKER",
    "BaseCheckPoint",
    "BaseConsumer",
    "SimpleCheckpoint",
    "SimpleConsumer",
}


def __getattr__(name: str) -> t.NoReturn:
    if name in _CONSUMER_HALF:
        raise AttributeError(f"{name} is of the consumer half, which unistream 0.2 does not have; use unistream 0.1.2")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class BufferIsEmptyError(IndexError):
    """There is nothing to emit or to commit."""


class SendError(Exception):
    """A producer's `send` raises it, or any other exception, when the records were not sent."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class BaseRecord(abc.ABC):
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

    @classmethod
    @abc.abstractmethod
    def deserialize(cls, data: str) -> t.Self:
        """Return the record of a text form."""


def _text_id(record: object) -> str | None:
    record_id = getattr(record, "id", None)
    return record_id if isinstance(record_id, str) else None


T_RECORD = t.TypeVar("T_RECORD", bound=BaseRecord)


class _Model:
    """What 0.1.2's dataclasses can besides."""

    def __post_init__(self) -> None:
        # Scripts mark required fields with func_args' REQ; one that is not given is an error of that library.
        if (func_args := sys.modules.get("func_args.api")) is not None:
            for name, value in vars(self).items():
                if value is func_args.REQ:
                    raise func_args.ParamError(f"{name!r} of {type(self).__name__} is required")

    def to_dict(self) -> dict[str, t.Any]:
        """Return the fields as a dict."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return]


class _JsonRecord(_Model, BaseRecord):
    """A dataclass as JSON."""

    def serialize(self) -> str:
        """Return the fields as JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def deserialize(cls, data: str) -> t.Self:
        """Return the record of a JSON object."""
        return cls(**json.loads(data))


@dataclasses.dataclass(frozen=True)
class DataClassRecord(_JsonRecord):
    """A record made of a dataclass, stored as JSON. Subclass it to add fields."""

    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    create_at: str = dataclasses.field(default_factory=lambda: _utc_now().isoformat())


T_DATA_CLASS_RECORD = t.TypeVar("T_DATA_CLASS_RECORD", bound=DataClassRecord)


@dataclasses.dataclass
class KinesisRecord(_JsonRecord):
    """As `DataClassRecord`, but not frozen, for streams of Kinesis. Its data goes there as it is.

    0.1.1 encoded it in Base64 though the API does so too; `from_get_record_data` reads both.
    """

    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    create_at: str = dataclasses.field(default_factory=lambda: _utc_now().isoformat())

    def to_put_record_data(self) -> bytes:
        """Return the data for `put_records`."""
        return self.serialize().encode()

    @classmethod
    def from_get_record_data(cls, data: bytes) -> t.Self:
        """Return the record of data from `get_records`."""
        return cls.deserialize((data if data.startswith(b"{") else base64.b64decode(data)).decode())


T_KINESIS_RECORD = t.TypeVar("T_KINESIS_RECORD", bound=KinesisRecord)


class BaseBuffer(abc.ABC):
    """A first-in-first-out buffer of records, handed out in batches."""

    max_records: int
    max_bytes: int

    @classmethod
    @abc.abstractmethod
    def new(cls, *args: t.Any, **kwargs: t.Any) -> t.Self:
        """Open the buffer, with what an earlier run left in it."""

    @abc.abstractmethod
    def put(self, record: BaseRecord) -> None:
        """Put a record."""

    @abc.abstractmethod
    def should_i_emit(self) -> bool:
        """Whether a batch is full."""

    @abc.abstractmethod
    def emit(self) -> list[t.Any]:
        """Return the oldest batch, oldest record first; the same one until it is committed."""

    @abc.abstractmethod
    def commit(self) -> None:
        """Forget the oldest batch."""


T_BUFFER = t.TypeVar("T_BUFFER", bound=BaseBuffer)


class FileBuffer(BaseBuffer):
    """A buffer in local files. Use `new`.

    A buffer that another process has raises `unistream.InUse`. A second one in this process takes over: calls on the
    first then raise `unistream.Closed`.
    """

    _owners: t.ClassVar[weakref.WeakValueDictionary[Path, FileBuffer]] = weakref.WeakValueDictionary()
    _owners_lock: t.ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self, record_class: type[BaseRecord], path_wal: Path, max_records: int = 1000, max_bytes: int = 1_000_000
    ) -> None:
        """See `new`."""
        self.record_class = record_class
        self.path_wal = Path(path_wal)
        self.max_records = max_records
        self.max_bytes = max_bytes
        self._directory = self.path_wal.parent.resolve() / f"{self.path_wal.name}.buffer"
        self._predecessor = Predecessor(self.path_wal, self._directory, self._id_of_text, record_class.__name__)
        self._emitted: tuple[Batch, list[t.Any]] | None = None
        with self._owners_lock:
            before = self._owners.pop(self._directory, None)
            if before is not None:
                before._buffer.close()
            self._open()
            self._owners[self._directory] = self

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

    @classmethod
    def new(
        cls, record_class: type[BaseRecord], path_wal: Path, max_records: int = 1000, max_bytes: int = 1_000_000
    ) -> t.Self:
        """Open the buffer, with what an earlier run, of 0.1.2 too, left in it.

        Args:
            record_class: the class whose `deserialize` reads the records back.
            path_wal: names the buffer; its files are in the directory `<path_wal>.buffer`.
            max_records: the records at which a batch is full.
            max_bytes: the bytes at which a batch is full; those of its last record may go beyond.
        """
        return cls(record_class, path_wal, max_records, max_bytes)

    def _id_of_text(self, text: str) -> str | None:
        return _text_id(self.record_class.deserialize(text))

    def put(self, record: BaseRecord) -> None:
        """Put a record; when this returns, it survives the death of the process."""
        self._buffer.put(record)
        _, filled = self._buffer.filling
        if filled >= self.max_bytes:
            self._buffer.seal()

    def should_i_emit(self) -> bool:
        """Whether a batch is full."""
        return self._buffer.should_emit()

    def emit(self) -> list[t.Any]:
        """Return the oldest batch, oldest record first; the same one until it is committed.

        If none is full, it is what there is.
        """
        return self._head()[1]

    def commit(self) -> None:
        """Forget the oldest batch."""
        self._buffer.commit(self._head()[0])
        self._emitted = None

    def _head(self) -> tuple[Batch, list[t.Any]]:
        if self._emitted is None:
            if not self._buffer.should_emit():
                self._buffer.seal()
            batch = self._buffer.emit()
            if batch is None:
                raise BufferIsEmptyError("the buffer is empty")
            self._emitted = batch, [self.record_class.deserialize(record.text) for record in batch]
        return self._emitted

    def clear_wal(self) -> None:
        """Remove every record and every file of this buffer."""
        self._buffer.close()
        self._emitted = None
        shutil.rmtree(self._directory)
        self._predecessor.remove()
        self._open()


os.register_at_fork(after_in_child=FileBuffer._forked)


@dataclasses.dataclass
class RetryConfig(_Model):
    """When to try again: the n-th wait of `exp_backoff`, in seconds, after the n-th failed attempt; the last repeats.

    The other fields keep count.
    """

    exp_backoff: t.Sequence[float] = dataclasses.field(default_factory=lambda: [1, 2, 4, 8, 15, 30, 60])
    attempts: int = 0
    first_attempt_time: datetime | None = None
    last_attempt_time: datetime | None = None
    last_error: Exception | None = None

    def shall_we_retry(self, now: datetime) -> bool:
        """Whether an attempt may be made now."""
        if self.last_attempt_time is None:
            return True
        wait = self.exp_backoff[min(self.attempts, len(self.exp_backoff)) - 1]
        return (now - self.last_attempt_time).total_seconds() >= wait

    def mark_start_retry(self, now: datetime) -> None:
        """Count an attempt that begins now."""
        self.attempts += 1
        self.first_attempt_time = self.first_attempt_time or now
        self.last_attempt_time = now

    def mark_retry_failed(self, error: Exception) -> None:
        """Remember why the attempt failed."""
        self.last_error = error

    def reset_tracker(self) -> None:
        """Begin to count anew."""
        self.attempts = 0
        self.first_attempt_time = self.last_attempt_time = self.last_error = None

    def show(self) -> None:
        """Print the state."""
        logger.info("current retry config:")
        with logger.indent():
            for name in ("exp_backoff", "attempts", "first_attempt_time", "last_attempt_time", "last_error"):
                logger.info(f"{name} = {getattr(self, name)}")


@dataclasses.dataclass
class BaseProducer(_Model, abc.ABC):
    """Puts records into a buffer and, when a batch is full and its time has come, sends it. Subclasses say how."""

    buffer: BaseBuffer
    retry_config: RetryConfig

    @classmethod
    @abc.abstractmethod
    def new(cls, *args: t.Any, **kwargs: t.Any) -> t.Self:
        """Make a producer."""

    @abc.abstractmethod
    def send(self, records: list[t.Any]) -> None:
        """Send a batch; raise if that failed."""

    def put(self, record: BaseRecord, skip_error: bool = True, verbose: bool = False) -> None:
        """Put a record, then send a batch if one is full and may be tried.

        Args:
            record: the record.
            skip_error: whether an error of sending is kept in `retry_config.last_error` only; else it is raised. The
                record is in the buffer either way.
            verbose: print what happens.
        """
        with logger.disabled(not verbose):
            self._put(record, skip_error)

    @logger.emoji_block(msg="put record", emoji="📤")
    def _put(self, record: BaseRecord, skip_error: bool) -> None:
        if logger.enabled:
            logger.info(f"record = {printable(record.serialize())}")
        self.buffer.put(record)
        now = _utc_now()
        if not self.retry_config.shall_we_retry(now=now):
            tell("on_hold")
            return
        if not self.buffer.should_i_emit():
            tell("should_not_emit")
            return
        self.retry_config.mark_start_retry(now=now)
        try:
            records = self.buffer.emit()
            tell("send_started", [record.id for record in records])
            self.send(records)
            tell("send_succeeded")
            self.buffer.commit()
        except Exception as error:
            tell("send_failed", error)
            self.retry_config.mark_retry_failed(error=error)
            # The wait is measured from the end of the attempt.
            self.retry_config.last_attempt_time = _utc_now()
            if not skip_error:
                raise
        else:
            self.retry_config.reset_tracker()


T_PRODUCER = t.TypeVar("T_PRODUCER", bound=BaseProducer)


@dataclasses.dataclass
class SimpleProducer(BaseProducer):
    """Appends records to a local file, one a line. Use `new`."""

    path_sink: Path

    @classmethod
    def new(cls, buffer: BaseBuffer, retry_config: RetryConfig, path_sink: Path) -> t.Self:
        """Make a producer.

        Args:
            buffer: where records wait.
            retry_config: when to try again.
            path_sink: the file to append to.
        """
        return cls(buffer=buffer, retry_config=retry_config, path_sink=path_sink)

    def send(self, records: list[t.Any]) -> None:
        """Append the records to the file."""
        with Path(self.path_sink).open("a") as file:
            file.writelines(f"{record.serialize()}\n" for record in records)


@dataclasses.dataclass
class _AwsProducer(BaseProducer):
    """Sends through a sink of the engine. What was taken of a batch is not sent again with the rest of it."""

    bsm: t.Any = None
    """A boto3 session, or a boto session manager, whose region and credentials are used; else those are looked for
    where the AWS tools do."""
    options: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    """More options of the sink, such as `endpoint_url`."""
    _sink: NativeSink | None = dataclasses.field(default=None, init=False, repr=False)
    _batch: list[str] = dataclasses.field(default_factory=list, init=False, repr=False)
    _left: list[int] = dataclasses.field(default_factory=list, init=False, repr=False)

    @abc.abstractmethod
    def _make_sink(self, **options: t.Any) -> NativeSink:
        """Make the sink."""

    def send(self, records: list[t.Any]) -> None:
        """Send the records; raise `SendError` if some were not taken."""
        if self._sink is None:
            self._sink = self._make_sink(**self._of_session(), **self.options)
        ids = [record.id for record in records]
        if ids != self._batch:
            self._batch, self._left = ids, list(range(len(records)))
        report = self._sink._send_records(
            [
                (record.serialize().encode(), record.id, _micros(record.create_at_datetime))
                for record in (records[place] for place in self._left)
            ]
        )
        self._left = [self._left[index] for index, _, _ in report.exceptions]
        if self._left:
            _, _, reason = report.exceptions[0]
            raise SendError(f"{len(self._left)} of {len(records)} records were not taken: {reason}")
        self._batch = []

    def _of_session(self) -> dict[str, t.Any]:
        if self.bsm is None:
            return {}
        session = getattr(self.bsm, "boto_ses", self.bsm)

        def credentials() -> t.Any:
            found = session.get_credentials()
            if found is None:
                raise SendError("the boto session has no credentials")
            return found.get_frozen_credentials()

        region = {"region": session.region_name} if session.region_name else {}
        return {"credentials": credentials, **region}


def _micros(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000)


@dataclasses.dataclass
class AwsKinesisStreamProducer(_AwsProducer):
    """Sends records to a stream of Amazon Kinesis Data Streams; the partition key is the record's id. Use `new`."""

    stream_name: str = ""

    @classmethod
    def new(
        cls, buffer: BaseBuffer, retry_config: RetryConfig, bsm: t.Any = None, stream_name: str = "", **options: t.Any
    ) -> t.Self:
        """Make a producer.

        Args:
            buffer: where records wait.
            retry_config: when to try again.
            bsm: a boto3 session, or a boto session manager, whose region and credentials are used.
            stream_name: the stream, by name or ARN.
            options: see `unistream.KinesisOptions`.
        """
        return cls(buffer=buffer, retry_config=retry_config, bsm=bsm, stream_name=stream_name, options=options)

    def _make_sink(self, **options: t.Any) -> NativeSink:
        return KinesisSink(self.stream_name, **options)


@dataclasses.dataclass
class AwsCloudWatchLogsProducer(_AwsProducer):
    """Sends records to a stream of Amazon CloudWatch Logs; the time is the record's `create_at`. Use `new`."""

    log_group_name: str = ""
    log_stream_name: str = ""

    @classmethod
    def new(
        cls,
        buffer: BaseBuffer,
        retry_config: RetryConfig,
        bsm: t.Any = None,
        log_group_name: str = "",
        log_stream_name: str = "",
        **options: t.Any,
    ) -> t.Self:
        """Make a producer.

        Args:
            buffer: where records wait.
            retry_config: when to try again.
            bsm: a boto3 session, or a boto session manager, whose region and credentials are used.
            log_group_name: the log group.
            log_stream_name: the log stream in it.
            options: see `unistream.CloudWatchLogsOptions`.
        """
        return cls(
            buffer=buffer,
            retry_config=retry_config,
            bsm=bsm,
            log_group_name=log_group_name,
            log_stream_name=log_stream_name,
            options=options,
        )

    def _make_sink(self, **options: t.Any) -> NativeSink:
        return CloudWatchLogsSink(self.log_group_name, self.log_stream_name, **options)
