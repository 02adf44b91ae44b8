"""Producers of 0.1.1 for Amazon's services, on the sinks of this engine."""

import abc
import dataclasses
from datetime import datetime
from typing import Any, Self

from .._native import CloudWatchLogsSink, KinesisSink, NativeSink
from .abstraction import AbcBuffer
from .exc import SendError
from .producer import BaseProducer, RetryConfig
from .published import at


@dataclasses.dataclass
class _AwsProducer(BaseProducer):
    """Sends through a sink of the engine. What was taken of a batch is not sent again with the rest of it."""

    bsm: Any = None
    """A boto3 session, or a boto session manager, whose region and credentials are used; else those are looked for
    where the AWS tools do."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """More options of the sink, such as `endpoint_url`."""
    _sink: NativeSink | None = dataclasses.field(default=None, init=False, repr=False)
    _batch: list[str] = dataclasses.field(default_factory=list, init=False, repr=False)
    _left: list[int] = dataclasses.field(default_factory=list, init=False, repr=False)

    @abc.abstractmethod
    def _make_sink(self, **options: Any) -> NativeSink:
        """Make the sink."""

    def send(self, records: list[Any]) -> None:
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

    def _of_session(self) -> dict[str, Any]:
        if self.bsm is None:
            return {}
        session = getattr(self.bsm, "boto_ses", self.bsm)

        def credentials() -> Any:
            found = session.get_credentials()
            if found is None:
                raise SendError("the boto session has no credentials")
            return found.get_frozen_credentials()

        region = {"region": session.region_name} if session.region_name else {}
        return {"credentials": credentials, **region}


def _micros(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000)


@at("unistream.api")
@dataclasses.dataclass
class AwsKinesisStreamProducer(_AwsProducer):
    """Sends records to a stream of Amazon Kinesis Data Streams; the partition key is the record's id. Use `new`."""

    stream_name: str = ""

    @classmethod
    def new(
        cls, buffer: AbcBuffer, retry_config: RetryConfig, bsm: Any = None, stream_name: str = "", **options: Any
    ) -> Self:
        """Make a producer.

        Args:
            buffer: where records wait.
            retry_config: when to try again.
            bsm: a boto3 session, or a boto session manager, whose region and credentials are used.
            stream_name: the stream, by name or ARN.
            options: see `unistream.KinesisOptions`.
        """
        return cls(buffer=buffer, retry_config=retry_config, bsm=bsm, stream_name=stream_name, options=options)

    def _make_sink(self, **options: Any) -> NativeSink:
        return KinesisSink(self.stream_name, **options)


@at("unistream.api")
@dataclasses.dataclass
class AwsCloudWatchLogsProducer(_AwsProducer):
    """Sends records to a stream of Amazon CloudWatch Logs; the time is the record's `create_at`. Use `new`."""

    log_group_name: str = ""
    log_stream_name: str = ""

    @classmethod
    def new(
        cls,
        buffer: AbcBuffer,
        retry_config: RetryConfig,
        bsm: Any = None,
        log_group_name: str = "",
        log_stream_name: str = "",
        **options: Any,
    ) -> Self:
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

    def _make_sink(self, **options: Any) -> NativeSink:
        return CloudWatchLogsSink(self.log_group_name, self.log_stream_name, **options)
