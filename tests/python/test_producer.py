"""Producers: options, modes, opening, closing, stopping."""

import dataclasses
import gc
import importlib.metadata
import logging
import threading
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import get_type_hints

import pytest
import unistream
from conftest import Collector
from unistream import Batch, BufferOptions, NullSink, Options, Producer, Report, Schedule, Stats

NOW = Schedule(multiplier=0, max=0, max_attempts=2, jitter="none")


def fail(batch: Batch) -> None:
    """Take nothing."""
    raise RuntimeError("refused")


def holding(gate: threading.Event) -> Callable[[Batch], None]:
    """Return a sink that takes nothing until the gate is open."""

    def send(batch: Batch) -> None:
        gate.wait(30)

    return send


def test_the_typed_keywords_are_the_engines_table(path: Path) -> None:
    table = {row["key"] for row in unistream.options()}
    assert get_type_hints(Options).keys() == table - {"mode"}
    assert get_type_hints(BufferOptions).keys() < table
    assert Schedule().options().keys() == {"max_attempts", "jitter"} | {key for key in table if "schedule_" in key}
    with Producer(path, mode="manual", schedule=Schedule()) as producer:
        defaults = {row["key"]: row["default"] for row in unistream.options()}
        with Producer(path.with_name("plain"), mode="manual") as plain:
            assert producer.options == plain.options
        assert producer.options.keys() == defaults.keys()


def test_stats_are_the_engines_counters(path: Path) -> None:
    with Producer(path, mode="manual") as producer:
        assert producer._stats().keys() == {field.name for field in dataclasses.fields(Stats)}
        stats = producer.stats()
        assert (stats.state, stats.next_seq, stats.last_error) == ("running", 1, "")
        with pytest.raises(dataclasses.FrozenInstanceError):
            stats.attempts = 5  # type: ignore[misc]


def test_options_take_python_values_and_text(path: Path) -> None:
    with Producer(
        path,
        NullSink(),
        max_records=10,
        max_bytes="2MiB",
        linger=timedelta(milliseconds=250),
        full_timeout=None,
        count_unavailable=True,
        schedule=Schedule(base=1.5, multiplier=1e-7, waits=[1, 0.5, timedelta(minutes=1)]),
        durability="os",
    ) as producer:
        options = producer.options
        assert options["max_records"] == "10"
        assert options["max_bytes"] == str(2 << 20)
        assert options["linger"] == "0.25"
        assert options["full_timeout"] == "none"
        assert options["count_unavailable"] == "true"
        assert options["schedule_waits"] == "1,0.5,60"
        assert float(options["schedule_base"]) == 1.5
        assert options["schedule_multiplier"] == "0.0000001"
        assert (options["durability"], options["mode"]) == ("os", "background")
        assert producer.path == path


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_record": 5}, TypeError, "there is no option"),
        ({"max_records": 0}, ValueError, "max_records"),
        ({"max_records": "many"}, ValueError, "max_records"),
        ({"max_records": True}, TypeError, "max_records is a count, not bool"),
        ({"max_records": 1.5}, TypeError, "max_records"),
        ({"linger": -1}, ValueError, "-1"),
        ({"linger": float("nan")}, ValueError, "NaN"),
        ({"durability": "maybe"}, ValueError, "always, interval, os"),
        ({"durability": 5}, TypeError, "durability is a choice"),
        ({"count_unavailable": 1}, TypeError, "boolean"),
        (
            {"max_attempts": 3, "schedule": Schedule()},
            TypeError,
            "max_attempts: given as an option and in the schedule",
        ),
        ({"schedule": Schedule(min=5, max=4)}, ValueError, "schedule_min"),
        ({"mode": "sideways"}, ValueError, "background, inline, manual"),
    ],
)
def test_options_that_are_wrong_say_so(
    path: Path, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Producer(path, NullSink(), **options)  # type: ignore[arg-type]
    assert not path.exists()


def test_a_mode_and_its_sink_belong_together(path: Path) -> None:
    with pytest.raises(TypeError, match="manual mode takes no sink"):
        Producer(path)
    with pytest.raises(TypeError, match="manual mode takes no sink"):
        Producer(path, NullSink(), mode="manual")


def test_a_buffer_has_one_owner(path: Path) -> None:
    with Producer(path, NullSink()) as producer:
        with pytest.raises(unistream.InUse, match="in use by another producer of this process") as caught:
            Producer(path, NullSink())
        assert caught.value.retryable
        producer.put(b"x")


def test_closing(path: Path, collector: Collector) -> None:
    producer = Producer(path, collector, linger=None)
    producer.put(b"x")
    assert not producer.closed
    assert producer.close() == 0
    assert "closed" in repr(producer)
    assert collector.data == [b"x"]
    assert producer.close() == 0
    for call in (lambda: producer.put(b"y"), producer.flush, producer.resume):
        with pytest.raises(unistream.Closed):
            call()
    assert producer.stats().state == "closed"


def test_what_is_left_waits_for_the_next_producer(
    path: Path, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    producer = Producer(path, fail, schedule=Schedule(multiplier=0.05, max=0.05, jitter="none"))
    producer.put_many([b"1", b"2"])
    assert producer.close(0.01) == 2
    with caplog.at_level(logging.INFO, "unistream"), Producer(path, collector) as again:
        again.flush(30)
    assert collector.data == [b"1", b"2"]
    assert any("recovered 2 records" in record.getMessage() for record in caplog.records)


def test_the_with_block_keeps_its_own_exception(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError), Producer(path, fail, schedule=NOW, on_exhausted="raise") as producer:
        producer.put(b"x")
        with pytest.raises(unistream.RetriesExhausted):
            producer.flush(30)
        raise ZeroDivisionError
    assert producer.closed
    assert any("closing failed under another exception" in record.getMessage() for record in caplog.records)


def test_ctrl_c_in_the_with_block_leaves_at_once(path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Producer(path, fail) as producer:
        producer.put(b"x")
        raise KeyboardInterrupt
    assert time.monotonic() - began < 25
    assert producer.closed


def test_raise_stops_until_resume(path: Path) -> None:
    works = threading.Event()

    def send(batch: Batch) -> None:
        if not works.is_set():
            raise RuntimeError("refused")

    with Producer(path, send, schedule=NOW, on_exhausted="raise") as producer:
        producer.put(b"x")
        with pytest.raises(unistream.RetriesExhausted) as caught:
            producer.flush(30)
        assert isinstance(caught.value.__cause__, RuntimeError)
        with pytest.raises(unistream.RetriesExhausted) as refused:
            producer.put(b"y")
        assert not refused.value.record_accepted
        assert producer.stats().state == "stopped"
        works.set()
        producer.resume()
        producer.put(b"y")
        producer.flush(30)
        assert producer.stats().delivered_records == 2


def test_inline_mode_sends_in_put(path: Path) -> None:
    threads: list[int] = []

    def send(batch: Batch) -> None:
        threads.append(threading.get_ident())
        if len(threads) == 2:
            raise RuntimeError("refused")

    with Producer(
        path, send, mode="inline", max_records=2, schedule=Schedule(max_attempts=1), on_exhausted="raise"
    ) as producer:
        producer.put(b"1")
        assert threads == []
        producer.put(b"2")
        assert threads == [threading.get_ident()]
        producer.put(b"3")
        with pytest.raises(unistream.RetriesExhausted) as caught:
            producer.put(b"4")
        assert caught.value.record_accepted
        producer.resume()
        producer.flush(30)
        assert producer.stats().delivered_records == 4


def test_manual_mode(path: Path) -> None:
    schedule = Schedule(waits=[0.05], max_attempts=3, jitter="none")
    with Producer(path, mode="manual", max_records=2, linger=None, schedule=schedule) as producer:
        assert producer.next_batch() is None
        assert producer.next_wait() is None
        producer.put_many([b"1", b"2", b"3"])
        assert producer.next_wait() == 0
        batch = producer.next_batch()
        assert batch is not None
        producer.failed(batch, RuntimeError("refused"))
        assert producer.next_batch() is None
        assert producer.stats().state == "on_hold"
        wait = producer.next_wait()
        assert wait is not None
        assert 0 < wait <= 0.05
        time.sleep(wait + 0.01)
        again = producer.next_batch()
        assert again is not None
        assert (again.id, again.attempt) == (batch.id, 2)
        producer.settle(again, Report().failed(1, "only this one"))
        time.sleep(0.06)
        last = producer.next_batch()
        assert last is not None
        assert [record.data for record in last] == [b"2"]
        producer.failed(last, "as text")
        assert len(producer.dead_letters.list()) == 1
        with pytest.raises(unistream.NotFound):
            producer.commit(last)
        assert producer.next_batch() is None
        with pytest.raises(unistream.Timeout):
            producer.flush(0.05)
        rest = producer.next_batch()
        assert rest is not None
        producer.commit(rest)
        producer.flush(1)
    with Producer(path, NullSink()) as background, pytest.raises(unistream.WrongMode):
        background.next_batch()


def test_unavailable_in_manual_mode(path: Path) -> None:
    with Producer(path, mode="manual", max_records=1) as producer:
        producer.put(b"x")
        batch = producer.next_batch()
        assert batch is not None
        producer.failed(batch, unistream.SinkUnavailable("later", retry_after=60))
        stats = producer.stats()
        assert (stats.unavailable_attempts, stats.state) == (1, "unavailable")
        wait = producer.next_wait()
        assert wait is not None
        assert 59 < wait <= 60


def test_dead_letters_are_replayed_and_deleted(path: Path, collector: Collector) -> None:
    works = threading.Event()

    def send(batch: Batch) -> None:
        if not works.is_set():
            raise RuntimeError("refused")
        collector.send(batch)

    with Producer(path, send, schedule=NOW, max_records=2, linger=None) as producer:
        producer.put_many([b"1", b"2", b"3", b"4"])
        producer.flush(30)
        letters = producer.dead_letters
        first, second = letters.list()
        assert [record.data for record in first.batch()] == [b"1", b"2"]
        assert letters.read(first.id).id == first.id
        assert first.first_attempt <= first.last_attempt <= first.created_at
        assert first.bytes > 0
        works.set()
        assert letters.replay(first.id) == 2
        letters.delete(second.id)
        assert letters.list() == []
        producer.flush(30)
        for call in (letters.read, letters.replay, letters.delete):
            with pytest.raises(unistream.NotFound):
                call(first.id)
        offline = unistream.DeadLetters(path)
        with pytest.raises(unistream.WrongMode, match="it needs the producer"):
            offline.replay("any")
        assert offline.list() == []
    assert collector.data == [b"1", b"2"]


def test_a_full_buffer(path: Path) -> None:
    gate = threading.Event()
    with Producer(path, holding(gate), when_full="error", max_buffer_bytes=1 << 20, linger=None) as producer:
        with pytest.raises(unistream.BufferFull) as caught:
            for _ in range(100):
                producer.put(b"x" * 60_000)
        assert caught.value.retryable
        accepted = producer.stats().put_records
        gate.set()
        producer.flush(30)
        assert producer.stats().delivered_records == accepted


def test_a_blocked_put_goes_on_when_there_is_space(path: Path) -> None:
    gate = threading.Event()
    options = Options(max_buffer_bytes=1 << 20, linger=None, full_timeout=60)
    with Producer(path, holding(gate), **options) as producer:
        # The GIL is not held while it waits, else this thread could not set the gate.
        threading.Timer(0.3, gate.set).start()
        for _ in range(100):
            producer.put(b"x" * 60_000)
        assert gate.is_set()
        producer.flush(30)


def test_a_blocked_put_gives_up_after_full_timeout(path: Path) -> None:
    gate = threading.Event()
    options = Options(max_buffer_bytes=1 << 20, linger=None, full_timeout=0.2)
    with Producer(path, holding(gate), **options) as producer:
        with pytest.raises(unistream.BufferFull):
            for _ in range(100):
                producer.put(b"x" * 60_000)
        gate.set()


def test_many_threads_put(path: Path, collector: Collector) -> None:
    with Producer(path, collector) as producer:

        def put(name: int) -> None:
            for number in range(2000):
                producer.put(f"{name} {number}")

        threads = [threading.Thread(target=put, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        producer.flush(30)
    assert len(collector.data) == 8000
    for name in range(4):
        own = [data for data in collector.data if data.startswith(b"%d " % name)]
        assert own == [b"%d %d" % (name, number) for number in range(2000)]


def test_a_producer_that_nobody_closes_warns_and_is_closed(path: Path, collector: Collector) -> None:
    producer = Producer(path, collector, linger=None)
    producer.put(b"x")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del producer
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    with Producer(path, collector) as again:
        again.flush(30)
    assert b"x" in collector.data


def test_durability_always(path: Path, collector: Collector) -> None:
    with Producer(path, collector, durability="always") as producer:
        for number in range(5):
            producer.put(str(number))
        assert producer.stats().syncs >= 5
    assert len(collector.data) == 5


def test_a_buffer_alone(path: Path) -> None:
    with unistream.Buffer(path, max_records=2, linger=None) as buffer:
        assert not buffer.should_emit()
        assert buffer.emit() is None
        assert not buffer.seal()
        buffer.put(b"1")
        assert (len(buffer), buffer.filling) == (1, (1, 1))
        assert buffer
        buffer.put(b"2")
        buffer.put(b"3")
        assert buffer.should_emit()
        batch = buffer.emit()
        same = buffer.emit()
        assert batch is not None
        assert same is not None
        assert batch.id == same.id
        buffer.sync()
        buffer.commit(batch)
        with pytest.raises(unistream.NotFound):
            buffer.commit(batch)
        assert not buffer.should_emit()
        assert buffer.seal()
        assert len(buffer) == 1
    with pytest.raises(unistream.Closed):
        buffer.put(b"4")
    buffer.close()
    with unistream.Buffer(path) as again:
        assert len(again) == 1
        rest = again.emit()
        assert rest is not None
        assert [record.data for record in rest] == [b"3"]


def test_every_error_of_the_engine_has_its_exception() -> None:
    from unistream import _errors

    for kind, error in _errors.BY_KIND.items():
        assert issubclass(error, unistream.UnistreamError)
        assert getattr(unistream, error.__name__) is error
        made = _errors.from_native(kind, "message", True, True)
        assert (type(made), made.kind, made.retryable, made.record_accepted) == (error, kind, True, True)


def test_the_version_is_the_packages() -> None:
    assert unistream.__version__ == importlib.metadata.version("unistream")
