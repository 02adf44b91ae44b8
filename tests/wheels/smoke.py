"""Uses the wheel that is installed and ends, in one of several ways in which threads are at it just then.

    smoke.py NUMBER DIRECTORY

Ends with 0, and says "ok", or it is a failure: a crash at the interpreter's end shows as a signal.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path

import unistream

number, directory = int(sys.argv[1]), Path(sys.argv[2])
got: list[bytes] = []


def keep(batch: unistream.Batch) -> None:
    """Take what comes."""
    got.extend(record.data for record in batch)


def slow(batch: unistream.Batch) -> None:
    """Still run when the interpreter ends."""
    time.sleep(0.2)
    keep(batch)


def closed() -> None:
    """Close in order; what was put has arrived."""
    with unistream.Producer(directory / "closed", keep) as producer:
        producer.put_many([b"1", b"2", b"3"])
        producer.flush(60)
    assert got == [b"1", b"2", b"3"]


def left_open() -> None:
    """Leave it open, with a sink that has not returned."""
    producer = unistream.Producer(directory / "open", slow, linger=0, max_records=1, max_in_flight=2)
    producer.put_many([b"x"] * 20)
    globals()["kept"] = producer


def put_by_a_daemon() -> None:
    """Let another thread put while the interpreter ends."""
    producer = unistream.Producer(directory / "daemon", keep, linger=0, durability="always")

    def work() -> None:
        while True:
            producer.put(b"x" * 100_000)

    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.05)
    globals()["kept"] = producer


def wait_in_a_daemon() -> None:
    """Let other threads wait inside the library, who ask for the GIL when it is too late."""
    producer = unistream.Producer(directory / "waits", mode="manual")
    producer.put(b"nobody sends it")
    for _ in range(3):
        threading.Thread(target=lambda: producer.flush(0.3), daemon=True).start()
    time.sleep(0.05)
    globals()["kept"] = producer


def asynchronous() -> None:
    """Leave a loop with what it has not sent."""

    async def main() -> None:
        async def send(batch: unistream.Batch) -> None:
            await asyncio.sleep(0.01)
            keep(batch)

        producer = unistream.Producer(directory / "async", send, linger=0, max_records=1)
        producer.put_many([b"x"] * 20)
        await asyncio.sleep(0.02)
        globals()["kept"] = producer

    asyncio.run(main())


WAYS = [closed, left_open, put_by_a_daemon, wait_in_a_daemon, asynchronous]
WAYS[number % len(WAYS)]()
print("ok", flush=True)
