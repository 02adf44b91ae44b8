"""Consumers that succeed, fail, and are made anew."""

import dataclasses
from pathlib import Path
from typing import Any

from unistream.abstraction import AbcConsumer
from unistream.api import (
    BaseConsumer,
    DataClassRecord,
    ProcessError,
    SimpleCheckpoint,
    SimpleConsumer,
    StatusEnum,
    StreamIsClosedError,
)

SOURCE, DLQ = Path("source.log"), Path("dlq.log")
FILES = Path("checkpoint.json"), Path("records.json")


@dataclasses.dataclass
class Consumer(SimpleConsumer):
    """Fails on records as often as it is told."""

    failures: dict[str, int] = dataclasses.field(default_factory=dict)
    seen: list[str] = dataclasses.field(default_factory=list)

    def process_record(self, record: DataClassRecord) -> str:
        self.seen.append(record.id)
        if self.failures.get(record.id, 0) > 0:
            self.failures[record.id] -= 1
            raise ProcessError(record.id)
        return record.id

    def process_failed_record(self, record: DataClassRecord) -> str:
        with self.path_dlq.open("a") as file:
            file.write(record.id + "\n")
        return f"dlq {record.id}"


def write(*numbers: int) -> None:
    with SOURCE.open("a") as file:
        for number in numbers:
            file.write(DataClassRecord(id=str(number), create_at="2024-01-07T12:00:00+00:00").serialize() + "\n")


def make(**more: Any) -> Consumer:
    given = dict(limit=3, exp_backoff_min=0, exp_backoff_max=0)
    return Consumer.new(
        record_class=DataClassRecord,
        path_source=SOURCE,
        path_dlq=DLQ,
        checkpoint=SimpleCheckpoint.load(str(FILES[0]), str(FILES[1]), max_attempts=3),
        **{**given, **more},
    )


def state(consumer: Consumer) -> tuple[Any, ...]:
    checkpoint = consumer.checkpoint
    trackers = [
        (
            tracker.record_id,
            StatusEnum(tracker.status).name,
            tracker.attempts,
            tracker.lock,
            tracker.errors.get("error"),
        )
        for tracker in checkpoint.batch.values()
    ]
    pointers = checkpoint.start_pointer, checkpoint.next_pointer, checkpoint.batch_sequence
    return pointers, trackers, consumer.seen, DLQ.read_text().split() if DLQ.exists() else []


consumer = make()
print(consumer.get_records(), consumer.limit, consumer.delay, consumer.skip_error)
consumer.process_batch()
print(state(consumer))
write(*range(1, 9))
print(
    [
        [record.id for record in records] + [pointer]
        for records, pointer in (consumer.get_records(), consumer.get_records(limit=5), consumer.get_records(0))
    ]
)
consumer.failures = {"2": 1, "4": 2, "5": 99}
consumer.process_batch()
print(state(consumer))
consumer = make(skip_error=False)
consumer.failures = {"4": 2, "5": 99}
try:
    consumer.process_batch()
except ProcessError as error:
    print("raised", error)
print(state(consumer))
# What is left of the batch comes next.
consumer = make()
consumer.process_batch()
print(state(consumer))
consumer.process_batch()
print(state(consumer))
consumer.process_batch()
print(state(consumer))
print(consumer._process_record_with_checkpoint.__name__, consumer.process_failed_record(DataClassRecord(id="x")))

write(9)
records, pointer = consumer.get_records()
consumer.checkpoint.update_for_new_batch(records, pointer)
print(consumer._process_record(records[0]), consumer._process_record(records[0]))
consumer.checkpoint.next_pointer = None
try:
    consumer.commit()
except StreamIsClosedError as error:
    print(type(error), type(error).__mro__[1])
consumer.checkpoint.next_pointer = 9
consumer.commit()
print(state(consumer))


class Ends(Consumer):
    """Is asked to stop by an exception that is not an error."""

    def process_batch(self, verbose: bool = False) -> None:
        super().process_batch(verbose=verbose)
        if len(self.seen) >= 3:
            raise KeyboardInterrupt


write(10, 11, 12)
ends = Ends.new(DataClassRecord, SOURCE, DLQ, consumer.checkpoint, 1, 1, 2, 0, 0, True, 0.001)
try:
    ends.run()
except KeyboardInterrupt:
    print(state(ends))


class Own(BaseConsumer):
    """A stream of another kind, that ends."""

    @classmethod
    def new(cls, **more: Any) -> "Own":
        return cls(**more)

    def get_records(self, limit: int | None = None) -> tuple[list[DataClassRecord], str | None]:
        start = int(self.checkpoint.start_pointer)
        return [DataClassRecord(id=f"own-{start}")], None if start > 101 else str(start + 1)

    def process_record(self, record: DataClassRecord) -> None:
        print("processed", record.id)


for file in FILES:
    file.unlink()
own = Own.new(
    record_class=DataClassRecord,
    limit=1,
    checkpoint=SimpleCheckpoint.load(*map(str, FILES), start_pointer="100"),
    exp_backoff_multiplier=1,
    exp_backoff_base=2,
    exp_backoff_min=0,
    exp_backoff_max=0,
    skip_error=True,
    delay=0,
)
print(isinstance(own, AbcConsumer), own.process_failed_record(None))
try:
    own.run()
except StreamIsClosedError:
    print(own.checkpoint.start_pointer, own.checkpoint.next_pointer, own.checkpoint.batch_sequence)
for wrong in (
    lambda: BaseConsumer(),
    lambda: Own(),
    lambda: BaseConsumer.get_records(own),
    lambda: BaseConsumer.process_record(own, None),
    lambda: Consumer.new(),
):
    try:
        print(wrong())
    except Exception as error:
        print(type(error), str(error).replace("<class '__main__.", "").replace("Can't instantiate", ""))
