"""Random programs of both halves, by their seeds: `random_program.py FIRST END`. Prints what became of the records.

It does nothing of which 0.1.2 is known to lose records: times rise, `max_records` stays, and a buffer that is filled by
bytes is not made anew.
"""

import contextlib
import dataclasses
import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from unistream.api import (
    DataClassRecord,
    FileBuffer,
    ProcessError,
    RetryConfig,
    SendError,
    SimpleCheckpoint,
    SimpleConsumer,
    SimpleProducer,
    StreamIsClosedError,
)


@dataclasses.dataclass(frozen=True)
class Note(DataClassRecord):
    text: str = ""


class Program:
    """What one seed does."""

    def __init__(self, seed: int) -> None:
        self.random, self.failures = random.Random(seed), random.Random(-seed)
        self.folder = Path(f"program-{seed}")
        self.folder.mkdir()
        self.by_bytes = seed % 4 == 0
        self.limits = {"max_records": self.random.randint(1, 6)}
        if self.by_bytes:
            self.limits = {"max_records": 1000, "max_bytes": self.random.randint(300, 3000)}
        self.failing = self.random.choice([0, 0.2, 0.6])
        self.max_attempts = self.random.randint(1, 3)
        self.put, self.sent, self.processed, self.errors = 0, [], [], []
        self.came: dict[str, int] = {}
        self.producer, self.consumer = self.make_producer(), self.make_consumer()

    def make_producer(self) -> SimpleProducer:
        program = self

        class Producer(SimpleProducer):
            def send(self, records: list[Note]) -> None:
                if program.failures.random() < program.failing:
                    raise SendError("randomly")
                super().send(records)
                program.sent.append([record.id for record in records])

        return Producer.new(
            buffer=FileBuffer.new(record_class=Note, path_wal=self.folder / "buffer.log", **self.limits),
            retry_config=RetryConfig(exp_backoff=[0]),
            path_sink=self.folder / "sink.log",
        )

    def make_consumer(self) -> SimpleConsumer:
        program = self

        class Consumer(SimpleConsumer):
            def process_record(self, record: Note) -> None:
                # By the record and how often it came, so that the order of everything else does not matter.
                came = program.came[record.id] = program.came.get(record.id, 0) + 1
                if random.Random(f"{program.folder} {record.id} {came}").random() < 0.4:
                    raise ProcessError(record.id)
                program.processed.append(record.id)

            def process_failed_record(self, record: Note) -> None:
                program.processed.append(f"failed {record.id}")

        return Consumer.new(
            record_class=Note,
            path_source=self.folder / "sink.log",
            path_dlq=self.folder / "dlq.log",
            checkpoint=SimpleCheckpoint.load(
                str(self.folder / "checkpoint.json"), str(self.folder / "records.json"), max_attempts=self.max_attempts
            ),
            limit=self.random.randint(1, 4),
            exp_backoff_min=0,
            exp_backoff_max=0,
            skip_error=self.random.random() < 0.7,
        )

    def step(self) -> None:
        chance = self.random.random()
        if chance < 0.75:
            self.put += 1
            text = "".join(self.random.choices('ab ü\u2028\n\x00🙂\\"', k=self.random.randint(0, 40)))
            time = f"2024-01-07T12:{self.put // 60:02}:{self.put % 60:02}+00:00"
            skip_error = self.random.random() < 0.8
            with contextlib.suppress(SendError):
                self.producer.put(Note(id=str(self.put), create_at=time, text=text), skip_error=skip_error)
        elif chance < 0.85:
            if not self.by_bytes:
                self.producer = self.make_producer()
        elif chance < 0.95:
            self.consume()
        else:
            self.consumer = self.make_consumer()

    def consume(self) -> None:
        try:
            self.consumer.process_batch()
        except (ProcessError, StreamIsClosedError) as error:
            self.errors.append(repr(error))
            # 0.1.2 processes a batch again whose last record ended the run, this version goes on.
            if isinstance(error, ProcessError) and self.consumer.checkpoint.is_ready_for_next_batch():
                self.consumer.commit()

    def end(self) -> dict[str, Any]:
        buffer = self.producer.buffer
        left = [[record.id for record in buffer._read_log_file(path)] for path in reversed(buffer.storage_queue)]
        left.append([record.id for record in reversed(buffer.memory_queue)])
        in_sink = sum(map(len, self.sent))
        while self.consumer.checkpoint.start_pointer < in_sink:
            self.consume()
        shutil.rmtree(self.folder)
        batches = None if self.by_bytes else [self.sent, left]
        in_order = [id for batch in self.sent + left for id in batch]
        assert in_order == [str(number + 1) for number in range(self.put)], (in_order, self.put)
        # What arrives when by bytes is another matter; what arrives in the end is not.
        consumed = None if self.by_bytes else [self.processed, self.errors]
        return {"in_order": in_order, "batches": batches, "consumed": consumed}


for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    program = Program(seed)
    for _ in range(program.random.randint(1, 120)):
        program.step()
    print(seed, json.dumps(program.end()))
