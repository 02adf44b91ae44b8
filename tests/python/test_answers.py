"""What a program and a sink may answer: once for each handing-out, about records there are; and what is told of it."""

import logging
import time
from pathlib import Path

import pytest
import unistream
from conftest import wait_until
from unistream import Batch, Buffer, Producer, Report, Schedule, SinkUnavailable

AT_ONCE = Schedule(max=0, max_attempts=10)


def test_a_handing_out_takes_one_answer(tmp_path: Path) -> None:
    with Producer(tmp_path / "outbox", mode="manual", max_records=1, schedule=AT_ONCE) as producer:
        producer.put("a")
        first = producer.next_batch()
        assert first is not None
        producer.failed(first, "down")
        second = producer.next_batch()
        assert second is not None
        assert (second.id, second.attempt) == (first.id, 2)
        for late in (producer.commit, lambda batch: producer.failed(batch, "late")):
            with pytest.raises(unistream.NotFound):
                late(first)
        assert producer.next_batch() is None
        producer.settle(second, Report().rejected(0, "bad"))
        producer.put("b")
        live = producer.next_batch()
        assert live is not None
        [letter] = producer.dead_letters.list()
        with pytest.raises(unistream.NotFound):
            producer.commit(letter.batch())
        producer.commit(live)
        assert producer.stats().delivered_records == 1


def test_an_index_past_the_end_is_a_failed_attempt(tmp_path: Path) -> None:
    def send(batch: Batch) -> Report | None:
        return Report().failed(len(batch), "off by one") if batch.attempt == 1 else None

    with Producer(tmp_path / "outbox", send, max_records=2, schedule=AT_ONCE) as producer:
        producer.put_many(["a", "b"])
        producer.flush(60)
        stats = producer.stats()
        assert (stats.failed_attempts, stats.delivered_records) == (1, 2)
        assert "record 2 of a batch of 2" in stats.last_error


def test_an_error_of_ten_megabytes_is_cut(tmp_path: Path) -> None:
    def send(batch: Batch) -> None:
        raise ValueError("ü" * 5_000_000)

    schedule = Schedule(max=0, max_attempts=2)
    with Producer(tmp_path / "outbox", send, linger=0, schedule=schedule) as producer:
        producer.put("x")
        producer.flush(60)
        assert 1000 < len(producer.stats().last_error.encode()) <= 4096
        [letter] = producer.dead_letters.list()
        assert all(len(error.encode()) <= 4096 for error in letter.errors)


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "milliseconds"), (1e6, "micro"), (1e9, "nanoseconds")])
def test_a_time_in_another_unit_is_refused(tmp_path: Path, factor: float, unit: str) -> None:
    with Producer(tmp_path / "outbox", mode="manual") as producer, Buffer(tmp_path / "buffer") as buffer:
        for put in (producer.put, buffer.put):
            with pytest.raises((unistream.InvalidArgument, OverflowError), match=unit):
                put("x", created_at=1.7e9 * factor)


def test_a_buffer_emits_what_is_old_enough(tmp_path: Path) -> None:
    with Buffer(tmp_path / "outbox", linger=0.001) as buffer:
        buffer.put("x")
        time.sleep(0.02)
        batch = buffer.emit()
        assert batch is not None
        buffer.commit(batch)
        with pytest.raises(unistream.NotFound):
            buffer.commit(batch)


def test_resume_of_a_running_producer_tries_now(tmp_path: Path) -> None:
    up = [False]
    sent: list[str] = []

    def send(batch: Batch) -> None:
        if not up[0]:
            raise SinkUnavailable("down", retry_after=3600)
        sent.extend(record.text for record in batch)

    with Producer(tmp_path / "outbox", send, linger=0) as producer:
        producer.put("x")
        wait_until(lambda: producer.stats().unavailable_attempts == 1)
        since = producer.stats().unavailable_since
        assert abs(since / 1e6 - time.time()) < 60
        up[0] = True
        producer.resume()
        producer.flush(60)
        assert (sent, producer.stats().unavailable_since) == (["x"], 0)


def test_a_put_that_waits_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def send(batch: Batch) -> None:
        raise SinkUnavailable("down")

    caplog.set_level(logging.WARNING, "unistream")
    producer = Producer(
        tmp_path / "outbox", send, max_buffer_bytes="256KiB", segment_bytes="64KiB", full_timeout=0.2, durability="os"
    )
    refused = 0
    while refused < 2:
        try:
            producer.put(b"x" * 10_000)
        except unistream.BufferFull:
            refused += 1
    assert producer.stats().refused_puts == refused
    wait_until(lambda: any("put waits for space" in message for message in caplog.messages))
    # All of the wait, not the slice of it that Python waits between two looks at signals.
    assert sum("put waits for space, at most 200.000ms" in message for message in caplog.messages) == 1
    producer.close(0)
