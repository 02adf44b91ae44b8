"""Other threads run while the engine works or waits: nothing holds the interpreter's lock for long."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from unistream import Buffer, Producer


class Gap:
    """A thread that looks at the clock all the time: how long it was once kept from that."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.looks = 0


@contextmanager
def watched() -> Iterator[Gap]:
    """Measure how long another thread was shut out."""
    gap, stop, running = Gap(), threading.Event(), threading.Event()

    def look() -> None:
        last = time.perf_counter()
        running.set()
        while not stop.is_set():
            time.sleep(0.0005)
            now = time.perf_counter()
            gap.longest = max(gap.longest, now - last)
            gap.looks += 1
            last = now

    thread = threading.Thread(target=look)
    thread.start()
    running.wait()
    try:
        yield gap
    finally:
        stop.set()
        thread.join()


def alone(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def test_put_many_lets_others_run(path: Path) -> None:
    """A list of records once shut every other thread out until the last one was in."""
    items = [b"x" * 100] * 600_000
    with Producer(path, mode="manual", segment_bytes="64MiB", linger=None) as producer:
        with watched() as gap:
            took = alone(lambda: producer.put_many(items))
        assert producer.stats().put_records == len(items)
    # The other thread asks for its turn after the switch interval; a busy machine adds to that.
    assert gap.longest < took / 2
    assert gap.looks > took / (10 * sys.getswitchinterval()) / 4


def test_large_records_are_copied_without_the_lock(path: Path) -> None:
    data = b"x" * (64 << 20)
    options = {"max_record_bytes": "128MiB", "max_bytes": "128MiB", "segment_bytes": "256MiB"}
    with Producer(path, mode="manual", **options) as producer:  # type: ignore[arg-type]
        with watched() as gap:
            took = alone(lambda: [producer.put(data) for _ in range(4)])
        assert gap.looks > 4
        assert gap.longest < took


@pytest.mark.parametrize("durability", ["always", "os"])
def test_what_syncs_lets_others_run(path: Path, durability: str) -> None:
    """`next_wait` once synced with the lock held."""
    with Producer(path, mode="manual", durability=durability, linger=0) as producer:  # type: ignore[arg-type]
        with watched() as gap:
            began = time.perf_counter()
            for _ in range(100):
                producer.put(b"x")
                producer.next_wait()
                batch = producer.next_batch()
                assert batch is not None
                producer.commit(batch)
                producer.sync()
            took = time.perf_counter() - began
        assert gap.looks > 3
        assert gap.longest < took


def test_nothing_deadlocks_when_many_threads_wait_at_once(path: Path) -> None:
    """Every method, from threads that fight for the interpreter's lock and the log's at the same time."""
    stop = time.monotonic() + 2
    failures: list[BaseException] = []

    def repeat(call: Callable[[], object]) -> None:
        try:
            while time.monotonic() < stop:
                call()
        except BaseException as error:  # noqa: BLE001 shown at the end
            failures.append(error)

    def pump() -> None:
        batch = producer.next_batch()
        if batch is not None:
            producer.commit(batch)

    with Producer(path, mode="manual", durability="always", linger=0) as producer, Buffer(path / "other") as buffer:
        calls: list[Callable[[], object]] = [
            lambda: producer.put(b"x"),
            lambda: producer.put_many([b"y"] * 300),
            pump,
            producer.next_wait,
            producer.stats,
            producer.sync,
            lambda: producer.options,
            producer.dead_letters.list,
            lambda: (buffer.put(b"z"), buffer.should_emit(), len(buffer), buffer.filling, repr(buffer)),
        ]
        threads = [threading.Thread(target=repeat, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert failures == []
