"""Producers that are derived from, fail, and are made anew."""

import dataclasses
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from func_args.api import REQ
from unistream.abstraction import AbcProducer
from unistream.api import BaseBuffer, BaseProducer, DataClassRecord, FileBuffer, RetryConfig, SendError, SimpleProducer
from unistream.utils import EPOCH, EPOCH_STR, get_utc_now


class Memory(BaseBuffer):
    """A buffer of another kind."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    @classmethod
    def new(cls) -> "Memory":
        return cls()

    def put(self, record: Any) -> None:
        self.records.append(record)

    def should_i_emit(self) -> bool:
        return len(self.records) >= 2

    def emit(self) -> list[Any]:
        return self.records[:2]

    def commit(self) -> None:
        del self.records[:2]


@dataclasses.dataclass
class Own(BaseProducer):
    """All that a program may override."""

    name: str = dataclasses.field(default=REQ)
    sent: list[str] = dataclasses.field(default_factory=list)
    failures: Iterator[Exception | None] = dataclasses.field(default_factory=lambda: iter([]))

    @classmethod
    def new(cls, name: str, **more: Any) -> "Own":
        return cls(Memory.new(), RetryConfig(exp_backoff=[0]), name=name, **more)

    def put(self, record: Any, *args: Any, **kwargs: Any) -> None:
        print("put", self.name, record.id, args, kwargs)
        super().put(record, *args, **kwargs)

    def send(self, records: list[Any]) -> int:
        if error := next(self.failures, None):
            raise error
        self.sent += [record.id for record in records]
        return len(records)


class Flaky(SimpleProducer):
    """Fails as it is told."""

    failing: Exception | None = None

    def send(self, records: list[Any]) -> None:
        if self.failing:
            raise self.failing
        super().send(records)


def record(number: int) -> DataClassRecord:
    return DataClassRecord(id=str(number), create_at=f"2024-01-07T12:00:{number:02}+00:00")


def state(config: RetryConfig) -> tuple[Any, ...]:
    return config.attempts, config.first_attempt_time is None, config.last_attempt_time is None, repr(config.last_error)


own = Own.new("own", failures=iter([None, SendError("once"), KeyError("twice"), None]))
for number in range(1, 9):
    own.put(record(number))
    print(state(own.retry_config), own.sent, [record.id for record in own.buffer.records])
own.failures = iter([SendError("raised")])
for number in (9, 10):
    try:
        own.put(record(number), skip_error=False)
    except SendError as error:
        print("raised", error is own.retry_config.last_error, state(own.retry_config))
for wrong in (
    lambda: Own(),
    lambda: BaseProducer(),
    lambda: Own.new(),
    lambda: Own(Memory(), RetryConfig(), "x", [], 1, 2),
):
    try:
        print(wrong())
    except Exception as error:
        print(type(error), str(error).replace("<class '__main__.Own'>", "Own"))
print(Own.__mro__[1:3], isinstance(own, AbcProducer), get_utc_now() - EPOCH > timedelta(days=19_000), EPOCH_STR)
print([(field.name, field.type) for field in dataclasses.fields(SimpleProducer) if field.name == "path_sink"])

WAL, SINK = Path("buffer.log"), Path("sink.log")


def make() -> Flaky:
    return Flaky.new(
        buffer=FileBuffer.new(record_class=DataClassRecord, path_wal=WAL, max_records=2),
        retry_config=RetryConfig(exp_backoff=[0]),
        path_sink=SINK,
    )


producer = make()
for number in range(1, 12):
    if number % 4 == 0:
        producer = make()
    producer.failing = SendError("told to") if number in (2, 3, 7) else None
    producer.put(record(number))
sink = SINK.read_text().splitlines()
print([DataClassRecord.deserialize(line).id for line in sink], state(producer.retry_config))
producer.retry_config.exp_backoff = [1000]
producer.failing = SendError("last")
for number in range(12, 18):
    producer.put(record(number))
print(state(producer.retry_config), len(producer.buffer.storage_queue), SINK.read_text().splitlines() == sink)
later = producer.retry_config.last_attempt_time + timedelta(seconds=999)
print(producer.retry_config.shall_we_retry(later), producer.retry_config.shall_we_retry(later + timedelta(seconds=2)))
print(re.sub(r"buffer=<.*?>", "buffer", repr(producer))[:40])
