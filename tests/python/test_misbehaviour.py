"""What a sink may raise and return: each row of the guide's table, and what nobody should do."""

import asyncio
import ctypes
import functools
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import unistream
from conftest import wait_until
from unistream import Batch, Producer, Report, Schedule

NOW = Schedule(multiplier=0.005, max=0.01, max_attempts=3)
Sink = Callable[[Batch], Any]


def raises(error: BaseException) -> Sink:
    def send(batch: Batch) -> None:
        raise error

    return send


class BadText(Exception):
    """Its own text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class OddText(Exception):
    """Halves of surrogate pairs, which UTF-8 has no bytes for, a NUL and a line feed."""

    def __str__(self) -> str:
        return "a\ud800b\0c\nd"


@pytest.mark.parametrize(
    "error",
    [
        BadText(),
        OddText(),
        Exception("x" * 10_000_000),
        MemoryError(),
        RecursionError(),
        StopIteration(),
        SystemExit(3),
        AssertionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_is_a_failed_attempt(path: Path, error: BaseException) -> None:
    with Producer(path, raises(error), schedule=NOW) as producer:
        producer.put_many(["a", "b"])
        producer.flush(30)
        stats = producer.stats()
        [letter] = producer.dead_letters.list()
    assert (stats.failed_attempts, stats.unavailable_attempts, stats.skipped_records) == (3, 0, 2)
    # The error names its type, whatever its text is, and is bounded wherever it is kept.
    for text in (stats.last_error, letter.errors[-1], letter.records[0].reason, repr(letter.records[0])):
        assert type(error).__name__ in text
        assert len(text) <= 4096
    assert "Traceback (most recent call last)" in letter.errors[-1] or len(str(stats.last_error)) > 1000


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
def test_what_is_cut_short_counts_nothing(path: Path, error: BaseException) -> None:
    calls: list[int] = []

    def send(batch: Batch) -> None:
        calls.append(batch.attempt)
        if len(calls) <= 2:
            raise error

    with Producer(path, send, schedule=NOW) as producer:
        producer.put("a")
        producer.flush(30)
        stats = producer.stats()
    assert (stats.delivered_records, stats.failed_attempts, stats.dead_letters) == (1, 0, 0)
    assert calls == [1] * 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_in_inline_mode_the_call_that_sent_is_interrupted(path: Path, error: type[BaseException]) -> None:
    """Ctrl-C while the sink runs is the caller's: it was once swallowed as a failed attempt."""
    calls: list[int] = []

    def send(batch: Batch) -> None:
        calls.append(batch.attempt)
        if len(calls) <= 2:
            raise error

    with Producer(path, send, mode="inline", max_records=1, schedule=NOW) as producer:
        with pytest.raises(error):
            producer.put("a")
        with pytest.raises(error):
            producer.flush(30)
        producer.flush(30)
        stats = producer.stats()
    assert (stats.put_records, stats.delivered_records, stats.failed_attempts) == (1, 1, 0)


@pytest.mark.parametrize("retry_after", [float("nan"), -1, -(10**400), "soon", [], None, float("inf"), "2", 10**400])
def test_no_retry_after_makes_a_failure_of_an_outage(path: Path, retry_after: Any) -> None:
    def send(batch: Batch) -> None:
        raise unistream.SinkUnavailable("later", retry_after=retry_after)

    with Producer(path, send, schedule=NOW, close_timeout=0) as producer:
        producer.put("a")
        wait_until(lambda: producer.stats().unavailable_attempts > 0)
        wait_until(lambda: producer.stats().next_attempt_ms > 0 or producer.stats().unavailable_attempts > 3)
        stats = producer.stats()
    assert (stats.failed_attempts, stats.dead_letters) == (0, 0)
    assert stats.next_attempt_ms <= 86_400_000


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (lambda: Report().failed(2, "x"), "the report speaks of record 2 of a batch of 2"),
        (lambda: Report().failed(-1, "x"), "IndexError: report index -1 out of range"),
        (lambda: Report().failed(10**30, "x"), "out of range"),
        (lambda: Report().rejected(0, None), "TypeError"),  # type: ignore[arg-type]
        (lambda: Report().failed(0, 5), "TypeError"),  # type: ignore[arg-type]
        (lambda: Report().failed("0", "x"), "TypeError"),  # type: ignore[arg-type]
    ],
)
def test_a_report_that_cannot_be_is_a_failed_attempt(path: Path, report: Callable[[], Report], said: str) -> None:
    """An index past the end was once silence, and the record counted as delivered."""
    with Producer(path, lambda _: report(), schedule=NOW, linger=0.05) as producer:
        producer.put_many(["a", "b"])
        producer.flush(30)
        stats = producer.stats()
        [letter] = producer.dead_letters.list()
    assert (stats.delivered_records, stats.failed_attempts) == (0, 3)
    assert said in letter.errors[-1]


def test_a_report_that_cannot_be_is_the_callers_error_in_manual_mode(path: Path) -> None:
    with Producer(path, mode="manual", max_records=1) as producer:
        producer.put("a")
        batch = producer.next_batch()
        assert batch is not None
        with pytest.raises(IndexError, match="record 1 of a batch of 1"):
            producer.settle(batch, Report().failed(1, "x"))
        producer.commit(batch)


async def coroutine() -> None:
    """Nobody awaits this one."""


@pytest.mark.parametrize(
    "answer",
    [lambda: True, lambda: False, list, lambda: 3, lambda: {"FailedRecordCount": 3}, coroutine],
    ids=["True", "False", "list", "int", "dict", "coroutine"],
)
@pytest.mark.parametrize("mode", ["background", "inline"])
def test_an_answer_that_nobody_understands_is_asked_for_once(
    path: Path, answer: Callable[[], Any], mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It was once sent ten times and dead-lettered. Nobody knows whether it was delivered: it is kept, and not sent."""
    calls: list[bytes] = []
    good = False

    def send(batch: Batch) -> Any:
        calls.extend(record.data for record in batch)
        return None if good else answer()

    producer = Producer(path, send, mode=mode, schedule=NOW, max_records=1)  # type: ignore[arg-type]
    producer.put("a")
    with pytest.raises(unistream.SendFailed, match=r"not None or a unistream\.Report"):
        producer.flush(30)
    producer.put("b")
    time.sleep(0.1)
    stats = producer.stats()
    assert calls == [b"a"]
    assert (stats.failed_attempts, stats.dead_letters, stats.pending_records) == (0, 0, 2)
    assert "not None or a unistream.Report" in stats.last_error
    # The way on: somebody has looked.
    good = True
    producer.resume()
    producer.flush(30)
    assert calls == [b"a", b"a", b"b"]
    assert producer.close() == 0


def test_closing_says_that_too(path: Path) -> None:
    with (
        pytest.raises(unistream.SendFailed, match=r"returned <class 'bool'>"),
        Producer(path, lambda _: True, schedule=NOW) as producer,  # type: ignore[arg-type]
    ):
        producer.put("a")
    assert producer.closed
    assert producer.close() == 1


def test_a_sink_with_the_wrong_arguments_is_refused_when_it_is_given(path: Path) -> None:
    def none() -> None: ...

    def two(batch: Batch, other: object) -> None: ...

    def named(batch: Batch, *, needed: object) -> None: ...

    class Sender:
        def send(self) -> None: ...

    for sink in (none, two, named, Sender(), functools.partial(two, other=1, batch=None)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a sink is called with one argument, the batch"):
            Producer(path, sink)  # type: ignore[arg-type]

    def optional(batch: Batch, other: object = None, *more: object, **named: object) -> None: ...

    taken: list[Batch] = []
    for fine in (optional, lambda *batches: None, functools.partial(two, other=1), taken.append, print):
        with Producer(path, fine):
            pass


def interrupt(thread: threading.Thread, error: type[BaseException]) -> None:
    assert thread.ident is not None
    set_async = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert set_async(ctypes.c_ulong(thread.ident), ctypes.py_object(error)) == 1


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "sending"])
def test_an_exception_that_is_sent_to_the_thread_of_the_sink_stops_nothing(path: Path, idle: bool) -> None:
    """The thread once died of it, and nothing was ever delivered again."""
    entered = threading.Event()
    seen: list[bytes] = []

    def send(batch: Batch) -> None:
        entered.set()
        if not idle and not seen:
            seen.append(b"")
            for _ in range(3000):
                time.sleep(0.01)
        seen.extend(record.data for record in batch)

    before = set(threading.enumerate())
    with Producer(path, send, schedule=NOW, max_records=1) as producer:
        [worker] = [thread for thread in set(threading.enumerate()) - before if thread.name == "unistream-sink"]
        if not idle:
            producer.put("a")
            assert entered.wait(30)
        interrupt(worker, KeyboardInterrupt)
        for data in "bcd":
            producer.put(data)
        producer.flush(30)
        stats = producer.stats()
    assert seen[-3:] == [b"b", b"c", b"d"]
    assert (stats.failed_attempts, stats.dead_letters) == (0, 0)


def test_views_outlive_the_batch_and_the_producer(path: Path) -> None:
    kept: list[memoryview] = []

    def send(batch: Batch) -> None:
        kept.extend(record.view for record in batch)

    with Producer(path, send) as producer:
        producer.put_many([b"a" * 5000, b"b" * 5000])
        producer.flush(30)
    del producer
    gc.collect()
    with Producer(path, lambda _: None) as again:
        again.put_many([b"c" * 5000] * 100)
        again.flush(30)
    assert [bytes(view[:1]) * 5000 for view in kept] == [bytes(view) for view in kept] == [b"a" * 5000, b"b" * 5000]


class Handler(logging.Handler):
    """A handler that puts what is logged, as many programs have one; errors go to `handleError`."""

    def __init__(self, path: Path, sink: Sink) -> None:
        super().__init__()
        self.errors: list[BaseException | None] = []
        self.producer = Producer(path, sink, linger=0.01, schedule=NOW)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.producer.put(self.format(record))
        except Exception:  # noqa: BLE001 as the documentation of logging has it
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        self.errors.append(sys.exception())


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """Return the root logger; its handlers and level are as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("fails", [False, True])
def test_a_logging_handler_over_a_producer(path: Path, root: logging.Logger, fails: bool) -> None:
    """What its own sink logs, and what unistream logs of it, once came back as a flood of tracebacks."""

    def send(batch: Batch) -> None:
        logging.getLogger("client").warning("posting %d", len(batch))
        if fails:
            raise ConnectionError("down")

    handler = Handler(path, send)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for number in range(100):
        logging.info("event %d", number)
    wait_until(lambda: handler.producer.stats().attempts >= 5)
    root.removeHandler(handler)
    handler.producer.close(0.5 if fails else 30)
    assert handler.errors == []


def test_a_handler_that_holds_its_lock_while_it_waits_in_put(path: Path, root: logging.Logger) -> None:
    """The thread that sends once waited for that lock to tell of a failure, and the put for the sender: a deadlock."""
    calls = 0

    def send(batch: Batch) -> None:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise ValueError("not yet")

    handler = Handler(path, send)
    handler.producer.close(0)
    limits = {"max_buffer_bytes": "1MiB", "segment_bytes": "64KiB", "max_records": 5, "full_timeout": 60}
    handler.producer = Producer(path, send, schedule=NOW, **limits)  # type: ignore[arg-type]
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    began = time.monotonic()
    for _ in range(60):
        logging.info("x" * 50_000)
    root.removeHandler(handler)
    handler.producer.close(30)
    assert handler.errors == []
    assert time.monotonic() - began < 50
    assert calls > 3


def test_a_log_message_is_one_line(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Producer(path, raises(ValueError("one\nFAKE two\x1b[31m\u2028three")), schedule=NOW) as producer:
        producer.put("a")
        producer.flush(30)
    messages = [record.getMessage() for record in caplog.records]
    assert any("FAKE two" in message for message in messages)
    for message in messages:
        assert not set(message) & {"\n", "\x1b", "\u2028"}


def test_handlers_that_are_slow_do_not_slow_the_sink(path: Path, root: logging.Logger) -> None:
    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            time.sleep(0.2)

    handler = Slow()
    logger = logging.getLogger("unistream")
    logger.addHandler(handler)
    try:
        # Each attempt is an event at debug level.
        logger.setLevel(logging.DEBUG)
        with Producer(path, raises(ValueError("x")), schedule=Schedule(waits=[0], max_attempts=100)) as producer:
            producer.put("a")
            began = time.monotonic()
            producer.flush(30)
            assert time.monotonic() - began < 15
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)


def test_put_many_counts_the_record_that_was_put_when_its_sink_was_interrupted(path: Path) -> None:
    calls: list[int] = []

    def send(batch: Batch) -> None:
        calls.append(len(batch))
        if len(calls) == 1:
            raise KeyboardInterrupt

    with Producer(path, send, mode="inline", max_records=2, schedule=NOW) as producer:
        with pytest.raises(KeyboardInterrupt) as caught:
            producer.put_many(["a", "b", "c"])
        assert vars(caught.value) | {"__notes__": None} == {"record_accepted": True, "accepted": 2, "__notes__": None}
        assert producer.stats().put_records == 2
