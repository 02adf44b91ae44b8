"""Sinks: how they are called, what they answer, what they raise."""

import functools
import logging
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
import unistream
from conftest import Collector, wait_until
from unistream import Batch, FileSink, NullSink, Producer, Report, Schedule

NOW = Schedule(multiplier=0, max=0, max_attempts=3, jitter="none")
"""Tries again at once."""


class Boom(Exception):
    """What a sink raises."""


def test_batches_come_in_order_and_within_the_limits(path: Path, collector: Collector) -> None:
    with Producer(path, collector, max_records=7) as producer:
        for number in range(100):
            producer.put(str(number))
        producer.flush(30)
    assert collector.data == [str(number).encode() for number in range(100)]
    assert all(len(batch) <= 7 for batch in collector.batches)
    assert len(set(collector.ids)) == len(collector.ids)


def test_any_callable_is_a_sink(path: Path) -> None:
    seen: list[tuple[str, bytes]] = []

    def send(name: str, batch: Batch) -> None:
        seen.extend((name, record.data) for record in batch)

    class Callable:
        def __call__(self, batch: Batch) -> None:
            send("object", batch)

    for sink in (functools.partial(send, "partial"), Callable(), lambda batch: send("lambda", batch)):
        with Producer(path, sink) as producer:
            producer.put(b"x")
    assert seen == [("partial", b"x"), ("object", b"x"), ("lambda", b"x")]
    for nonsense in (5, "text", object()):
        with pytest.raises(TypeError, match="a sink is a callable or has a send method"):
            Producer(path, nonsense)  # type: ignore[arg-type]


def test_a_failed_batch_comes_again_the_same(path: Path) -> None:
    seen: list[tuple[str, int, list[bytes]]] = []

    def send(batch: Batch) -> None:
        seen.append((batch.id, batch.attempt, [record.data for record in batch]))
        if batch.attempt < 3:
            raise Boom

    with Producer(path, send, schedule=NOW) as producer:
        producer.put_many([b"1", b"2"])
        producer.flush(30)
        stats = producer.stats()
    assert [attempt for _, attempt, _ in seen] == [1, 2, 3]
    assert len({(batch_id, tuple(data)) for batch_id, _, data in seen}) == 1
    assert (stats.attempts, stats.failed_attempts, stats.delivered_records) == (3, 2, 2)


def test_the_exception_arrives_whole(path: Path) -> None:
    def send(batch: Batch) -> None:
        secret = 42
        raise Boom("first", secret) from KeyError("the cause")

    with (
        pytest.raises(unistream.RetriesExhausted, match="Boom") as caught,
        Producer(path, send, schedule=NOW, on_exhausted="raise") as producer,
    ):
        producer.put(b"x")
        producer.flush(30)
    error = caught.value.__cause__
    assert isinstance(error, Boom)
    assert error.args == ("first", 42)
    assert isinstance(error.__cause__, KeyError)
    assert error.__traceback__ is not None
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    assert innermost.f_code.co_name == "send"
    assert innermost.f_locals["secret"] == 42
    assert not caught.value.retryable


def test_dead_letters_keep_the_exception_as_text(path: Path) -> None:
    def send(batch: Batch) -> None:
        raise Boom("no luck") from KeyError("the cause")

    with Producer(path, send, schedule=NOW) as producer:
        producer.put(b"x", id="lost")
        producer.flush(30)
        [letter] = producer.dead_letters.list()
        assert letter.attempts == 3
        assert letter.sink.endswith("test_dead_letters_keep_the_exception_as_text.<locals>.send")
        text = letter.errors[-1]
        assert text.startswith("Boom: no luck\n")
        for part in ("Traceback (most recent call last)", "KeyError: 'the cause'", "in send", "direct cause"):
            assert part in text
        assert [(record.seq, record.id, record.rejected) for record in letter.records] == [(1, "lost", False)]
        assert [record.data for record in letter.batch()] == [b"x"]


def test_deep_tracebacks_are_shortened_in_the_middle(path: Path) -> None:
    def deep(depth: int) -> None:
        if depth == 0:
            raise Boom("at the bottom")
        if depth % 2:
            deep(depth - 1)
        else:
            deep(depth - 1)

    with Producer(path, lambda _: deep(200), schedule=NOW) as producer:
        producer.put(b"x")
        producer.flush(30)
        text = producer.dead_letters.list()[0].errors[-1]
    assert text.rstrip().endswith("at the bottom")
    assert "[...]" in text


def test_an_unavailable_sink_uses_up_no_attempt(path: Path) -> None:
    outage = 20
    times: list[float] = []

    def send(batch: Batch) -> None:
        times.append(time.monotonic())
        if len(times) <= outage:
            raise unistream.SinkUnavailable("network down")

    with Producer(path, send, schedule=NOW) as producer:
        producer.put(b"x")
        producer.flush(30)
        stats = producer.stats()
        assert (stats.unavailable_attempts, stats.failed_attempts, stats.dead_letters) == (outage, 0, 0)
        assert stats.delivered_records == 1


@pytest.mark.parametrize("retry_after", [0.3, timedelta(milliseconds=300)])
def test_retry_after_is_a_floor(path: Path, retry_after: float | timedelta) -> None:
    times: list[float] = []

    def send(batch: Batch) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise unistream.SinkUnavailable(retry_after=retry_after)

    with Producer(path, send, schedule=NOW) as producer:
        producer.put(b"x")
        producer.flush(30)
    assert times[1] - times[0] >= 0.29


def test_a_report_answers_for_each_record(path: Path) -> None:
    seen: list[list[bytes]] = []

    def send(batch: Batch) -> Report | None:
        seen.append([record.data for record in batch])
        if len(seen) > 1:
            return None
        return Report().failed(0, Boom("try again")).rejected(1, "not welcome").unavailable(2, "busy", retry_after=0.01)

    with Producer(path, send, schedule=NOW) as producer:
        producer.put_many([b"0", b"1", b"2", b"3"])
        producer.put(b"later")
        producer.flush(30)
        [letter] = producer.dead_letters.list()
        assert [(record.seq, record.reason, record.rejected) for record in letter.records] == [(2, "not welcome", True)]
        stats = producer.stats()
        assert (stats.delivered_records, stats.rejected_records) == (4, 1)
    assert seen[:2] == [[b"0", b"1", b"2", b"3", b"later"], [b"0", b"2"]]


def test_reports() -> None:
    report = Report().rejected(3, "no").failed(1, "why").failed(1, ValueError("bad"))
    assert report.exceptions == [(1, "failed", "ValueError: bad"), (3, "rejected", "no")]
    assert not report.delivered
    assert Report().delivered
    assert repr(Report()) == "<Report delivered>"
    with pytest.raises(TypeError):
        report.failed(0, 5)  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="report index -1 out of range"):
        report.failed(-1, "x")


def test_a_batch_can_be_rejected_whole(path: Path) -> None:
    def send(batch: Batch) -> None:
        raise unistream.BatchRejected("wrong door")

    with Producer(path, send) as producer:
        producer.put(b"x")
        producer.flush(30)
        [letter] = producer.dead_letters.list()
        assert [record.reason for record in letter.records] == ["wrong door"]


def test_a_sink_that_exits_fails_the_batch(path: Path) -> None:
    def send(batch: Batch) -> None:
        raise SystemExit(3)

    with Producer(path, send, schedule=NOW) as producer:
        producer.put(b"x")
        producer.flush(30)
        assert "SystemExit: 3" in producer.dead_letters.list()[0].errors[-1]


@pytest.mark.parametrize("mode", ["background", "inline"])
def test_calls_from_inside_the_sink_that_would_wait_for_it_are_refused(path: Path, mode: str) -> None:
    refused: list[str] = []
    pending: list[int] = []

    def send(batch: Batch) -> None:
        pending.append(producer.stats().pending_records)
        calls: dict[str, Callable[[], object]] = {
            "flush": producer.flush,
            "close": producer.close,
            "resume": producer.resume,
            "sync": producer.sync,
            "replay": lambda: producer.dead_letters.replay("any"),
        }
        if mode == "inline":
            calls["put"] = lambda: producer.put(b"y")
        for name, call in calls.items():
            try:
                call()
            except unistream.Reentrant:
                refused.append(name)

    with Producer(path, send, mode=mode, max_records=1) as producer:  # type: ignore[arg-type]
        producer.put(b"x")
        producer.flush(30)
    assert refused[:5] == ["flush", "close", "resume", "sync", "replay"]
    assert refused[5:] == (["put"] if mode == "inline" else [])
    assert pending == [1]


def test_a_sink_may_put_and_never_waits_for_itself(path: Path) -> None:
    full: list[type[BaseException]] = []
    seen: list[bytes] = []

    def send(batch: Batch) -> None:
        seen.extend(record.data[:5] for record in batch)
        if len(seen) > 1:
            return
        producer.put(b"inner")
        try:
            while True:
                producer.put(b"x" * 60_000)
        except unistream.BufferFull as error:
            full.append(type(error))

    with Producer(path, send, max_buffer_bytes=1 << 20, segment_bytes="64KiB", full_timeout=300) as producer:
        producer.put(b"outer")
        producer.flush(30)
        producer.flush(30)
    assert seen[:2] == [b"outer", b"inner"]
    assert full == [unistream.BufferFull]


def test_a_hanging_sink_does_not_keep_close_waiting(path: Path, collector: Collector) -> None:
    entered, leave = threading.Event(), threading.Event()

    def send(batch: Batch) -> None:
        entered.set()
        leave.wait(60)

    producer = Producer(path, send)
    producer.put(b"x")
    with pytest.raises(unistream.Timeout):
        producer.flush(0.1)
    assert entered.wait(30)
    assert producer.close(0.1) == 1
    # The buffer is free although the sink still hangs.
    with Producer(path, collector) as again:
        again.flush(30)
    leave.set()
    assert collector.data == [b"x"]


def test_batches_in_flight(path: Path) -> None:
    together = threading.Barrier(3)

    def send(batch: Batch) -> None:
        together.wait(30)

    with Producer(path, send, max_records=1, max_in_flight=3) as producer:
        producer.put_many([b"1", b"2", b"3"])
        producer.flush(30)


def test_file_sink(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "events.log"
    with Producer(path, FileSink(target, sync=True)) as producer:
        producer.put_many([b"one", "two", {"n": 3}])
        with pytest.raises(unistream.InvalidArgument, match="newline"):
            producer.put(b"two\nlines")
        producer.flush(30)
    assert target.read_bytes() == b'one\ntwo\n{"n":3}\n'
    # A producer that is closed lets go of the file, although it is still referenced here.
    assert producer.closed
    FileSink(target)
    binary = tmp_path / "events.bin"
    with Producer(path, FileSink(binary, framing="length-prefixed")) as producer:
        producer.put(b"two\nlines")
        producer.flush(30)
    assert binary.read_bytes() == b"\x09\0\0\0two\nlines"
    with pytest.raises(ValueError, match="framing"):
        FileSink(target, framing="xml")  # type: ignore[arg-type]
    with pytest.raises(unistream.DiskError) as caught:
        FileSink(tmp_path / "missing" / "file")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert not isinstance(caught.value, PermissionError)


def test_a_file_sinks_options(path: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "events.log", tmp_path / "link.log"
    sink = FileSink(target, sync=True, mode=0o664)
    assert target.stat().st_mode & 0o777 == 0o664
    assert repr(sink) == f"FileSink({str(target)!r}, sync=True, mode=0o664)"
    assert repr(FileSink(str(tmp_path / "other"))) == f"FileSink({str(tmp_path / 'other')!r})"
    link.symlink_to(target)
    with pytest.raises(unistream.InvalidArgument, match="follow_links"):
        FileSink(link)
    with pytest.raises(unistream.InvalidArgument, match="mode"):
        FileSink(target, mode=0o400)
    with Producer(path, FileSink(link, follow_links=True)) as producer:
        producer.put(b"x")
        producer.flush(30)
    assert target.read_bytes() == b"x\n"


def test_a_file_that_logrotate_renames(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "app.log"
    with Producer(path, FileSink(target), linger=0.02) as producer:
        producer.put_many(f"a{number}" for number in range(100))
        producer.flush(30)
        target.rename(tmp_path / "app.log.1")
        target.touch()
        producer.put_many(f"b{number}" for number in range(100))
        producer.flush(30)
        assert producer.stats().delivered_records == 200
    assert [len((tmp_path / name).read_text().split()) for name in ("app.log.1", "app.log")] == [100, 100]


def test_a_native_sink_inside_a_python_sink(path: Path, tmp_path: Path) -> None:
    target = FileSink(tmp_path / "events.log")

    def send(batch: Batch) -> Report:
        return target.send(batch)

    with Producer(path, send) as producer:
        producer.put(b"x")
        producer.flush(30)
    assert (tmp_path / "events.log").read_bytes() == b"x\n"


def test_failures_are_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def send(batch: Batch) -> None:
        raise Boom("logged")

    with caplog.at_level(logging.DEBUG, "unistream"), Producer(path, send, schedule=NOW) as producer:
        producer.put(b"x")
        producer.flush(30)
        wait_until(lambda: any(record.levelno == logging.ERROR for record in caplog.records))
    levels = [record.levelno for record in caplog.records if "logged" in record.getMessage()]
    # One warning for the outage, whatever the number of attempts.
    assert sorted(levels) == [logging.DEBUG] * 3 + [logging.WARNING, logging.ERROR]
    [error] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error.exc_info is not None
    assert error.exc_info[0] is Boom
    assert any(record.levelno == logging.DEBUG for record in caplog.records)
    assert {record.name for record in caplog.records} == {"unistream"}


class Keeps:
    """A sink that keeps a memo with each batch, and fails at first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.prepared = 0
        self.seen: list[tuple[str, bytes | None]] = []

    def prepare(self, batch: Batch) -> bytes:
        assert batch.memo is None
        self.prepared += 1
        return f"memo {self.prepared}".encode()

    def send(self, batch: Batch) -> None:
        self.seen.append((batch.id, batch.memo))
        if len(self.seen) <= self.failures:
            raise ValueError("not yet")


@pytest.mark.parametrize("mode", ["background", "inline"])
def test_a_memo_comes_with_every_attempt(path: Path, mode: Literal["background", "inline"]) -> None:
    sink = Keeps(failures=2)
    with Producer(path, sink, mode=mode, max_records=1, schedule=NOW) as producer:
        producer.put("x")
        producer.flush(timeout=60)
    assert (sink.prepared, len(sink.seen)) == (1, 3)
    assert {memo for _, memo in sink.seen} == {b"memo 1"}

    broken = Keeps(failures=100)
    with Producer(path, broken, mode=mode, max_records=1, close_timeout=0) as producer:
        producer.put("y")
        with pytest.raises(unistream.Timeout):
            producer.flush(timeout=0.2)
    again = Keeps(failures=0)
    with Producer(path, again, mode=mode, max_records=1) as producer:
        producer.resume()
        producer.flush(timeout=60)
    assert again.seen == broken.seen[:1]
    assert again.prepared == 0


def test_a_memo_is_kept_by_hand_in_manual_mode(path: Path) -> None:
    with Producer(path, mode="manual", max_records=1, schedule=NOW) as producer:
        producer.put("x")
        batch = producer.next_batch()
        assert batch is not None
        assert batch.memo is None
        with pytest.raises(unistream.InvalidArgument, match="4097 bytes"):
            producer.keep_memo(batch, b"x" * 4097)
        with pytest.raises(TypeError):
            producer.keep_memo(batch, 5)  # type: ignore[arg-type]
        producer.keep_memo(batch, b"one\0")
        with pytest.raises(unistream.InvalidArgument, match="has a memo"):
            producer.keep_memo(batch, b"two")
        # Read anew: the type checker takes it for None since the look before.
        assert getattr(batch, "memo") == b"one\0"  # noqa: B009
        producer.failed(batch, "no")
        with pytest.raises(unistream.NotFound):
            producer.keep_memo(batch, b"late")
    with Producer(path, mode="manual", max_records=1) as producer:
        again = producer.next_batch()
        assert again is not None
        assert (again.id, again.memo) == (batch.id, b"one\0")
        producer.commit(again)
    with (
        Producer(path, NullSink(), max_records=1) as producer,
        pytest.raises(unistream.WrongMode),
    ):
        producer.keep_memo(again, b"x")


def test_a_memo_that_cannot_be_kept(path: Path) -> None:
    class Wrong(Keeps):
        def prepare(self, batch: Batch) -> bytes:
            return b"x" * 4097 if self.failures else 5  # type: ignore[return-value]

    for failures, reason in ((1, "4097 bytes"), (0, "int is not bytes")):
        sink = Wrong(failures)
        with Producer(path, sink, max_records=1, max_attempts=1) as producer:
            producer.put("x")
            producer.flush(timeout=60)
            (letter,) = producer.dead_letters.list()
            assert reason in letter.errors[0]
            producer.dead_letters.delete(letter.id)
        assert sink.seen == []
