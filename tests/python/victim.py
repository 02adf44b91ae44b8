"""A producing program to be killed, see `test_kill.py`: victim.py FOLDER LIFE SINK."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import unistream

THREADS = 5
# Numbers of one life begin at its multiple of this.
LIFE = 10**7
ATTEMPTS = 3


def say(file: int, line: str) -> None:
    """Write a line; one that the kill tears is told by the line breaks around it."""
    os.write(file, f"\n{line}\n".encode())


def answer(number: int, life: int, attempt: int) -> str:
    """Return what becomes of a record: the lives differ in how they fail."""
    if life % 4 == 2:
        if number % 11 == 0:
            return "rejected"
        return "failed" if number % 5 == 0 and attempt < 2 else "delivered"
    if life % 4 == 3:
        # To the last attempt: a dead letter.
        return "failed" if number % 64 < 3 else "delivered"
    return "delivered"


def callback(folder: Path, life: int) -> Callable[[unistream.Batch], unistream.Report]:
    """Return a sink that notes what it is sent before it answers."""
    log = os.open(folder / "sent", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def send(batch: unistream.Batch) -> unistream.Report:
        if life % 4 == 0:
            raise unistream.SinkUnavailable("the network is down")
        report = unistream.Report()
        records = []
        for index, record in enumerate(batch):
            thread, number = map(int, record.text.split()[:2])
            outcome = answer(number, life, batch.attempt)
            if outcome == "rejected":
                report.rejected(index, "as it was told")
            elif outcome == "failed":
                report.failed(index, "as it was told")
            records.append([record.seq, thread, number, outcome])
        say(log, json.dumps([life, batch.id, batch.first_seq, batch.last_seq, batch.attempt, records]))
        return report

    return send


def open_producer(folder: Path, life: int, kind: str) -> unistream.Producer:
    """Open the buffer of all lives."""
    sink = unistream.FileSink(folder / "target") if kind == "file" else callback(folder, life)
    durabilities: tuple[Literal["interval"], Literal["always"], Literal["os"]] = ("interval", "always", "os")
    schedule = unistream.Schedule(multiplier=0.001, max=0.001, jitter="none", max_attempts=ATTEMPTS)
    return unistream.Producer(
        folder / "outbox", sink, max_records=50, linger=0.005, segment_bytes="64KiB",
        durability=durabilities[life % 3], schedule=schedule,
    )  # fmt: skip


def put(producer: unistream.Producer, acknowledged: int, thread: int, life: int) -> None:
    """Put numbered records and say which puts have returned, until the producer is closed."""
    number = life * LIFE
    many = 9 if thread == 1 else 1
    while True:
        lines = [f"{thread} {n} {'x' * (n % 150)}" for n in range(number, number + many)]
        try:
            if thread == 1:
                producer.put_many(lines)
            elif thread == 2:
                producer.put(lines[0], key=b"key")
            else:
                producer.put(lines[0])
        except unistream.Closed:
            return
        say(acknowledged, f"{thread} {number} {number + many}")
        number += many
        try:
            if thread == 3 and number % 16 == 0:
                producer.flush(0.005)
            if thread == 4 and number % 16 == 0:
                producer.sync()
        except (unistream.Closed, unistream.Timeout):
            pass


def main() -> None:
    """Put until killed."""
    folder, life, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    producer = open_producer(folder, life, kind)
    for thread in range(THREADS):
        threading.Thread(target=put, args=(producer, acknowledged, thread, life), daemon=True).start()
    if life % 5 == 0:
        # This one is killed in, or shortly after, a close under load.
        time.sleep(0.03)
        producer.close(0.005)
    time.sleep(1000)


if __name__ == "__main__":
    main()
