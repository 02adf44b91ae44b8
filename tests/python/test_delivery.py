"""Delivery reports: what became of a single record, as a future or by a callback."""

import asyncio
import gc
import os
import threading
import weakref
from concurrent.futures import wait
from pathlib import Path

import pytest
import unistream
from conftest import wait_until


def by_text(batch: unistream.Batch) -> unistream.Report:
    report = unistream.Report()
    for index, record in enumerate(batch):
        if record.data.startswith(b"r"):
            report.rejected(index, "begins with r")
        elif batch.wants_receipts:
            report.receipt(index, f"offset {record.seq + 100}")
    return report


def test_a_future_says_what_became_of_a_record(path: Path) -> None:
    heard: list[unistream.DeliveryReport] = []
    with unistream.Producer(path, by_text, max_records=3) as producer:
        first = producer.put_reported(b"a", heard.append, key="k")
        second = producer.put_reported("r", heard.append)
        assert not first.cancel()
        third = producer.put_reported({"n": 1})
        done, _ = wait([first, second, third], timeout=30)
        assert len(done) == 3
        assert first.result() == unistream.DeliveryReport(seq=1, delivery="delivered", receipt="offset 101")
        assert second.result() == unistream.DeliveryReport(seq=2, delivery="dead_lettered", reason="begins with r")
        assert third.result().is_delivered
        wait_until(lambda: len(heard) == 2)
        left = producer.put_reported(b"r of its own batch")
        producer.close(timeout=0)
    assert left.result(30).delivery in {"closed", "dead_lettered"}


def test_a_put_that_fails_is_not_reported(path: Path) -> None:
    with unistream.Producer(path, by_text, max_record_bytes=10) as producer:
        calls: list[object] = []
        with pytest.raises(unistream.RecordTooLarge):
            producer.put_reported(b"too large a record", calls.append)
        with pytest.raises(TypeError):
            producer.put_reported(b"x", calls.append, colour="red")  # type: ignore[call-arg]
        producer.close()
        with pytest.raises(unistream.Closed):
            producer.put_reported(b"x")
        assert not calls


async def confirm(path: Path) -> None:
    async def send(batch: unistream.Batch) -> None:
        await asyncio.sleep(0)

    async with unistream.Producer(path, send, max_records=4) as producer:
        puts = [producer.put_confirmed(f"record {number}") for number in range(8)]
        reports = await asyncio.wait_for(asyncio.gather(*puts), 30)
        assert [report.delivery for report in reports] == ["delivered"] * 8
        assert sorted(report.seq for report in reports) == list(range(1, 9))
        # Who no longer waits changes nothing.
        abandoned = asyncio.ensure_future(producer.put_confirmed("abandoned"))
        await asyncio.sleep(0)
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        await producer.aflush(timeout=30)
        assert producer.stats().delivered_records == 9


def test_a_coroutine_waits_for_what_became_of_its_record(path: Path) -> None:
    asyncio.run(confirm(path))


def test_what_hears_may_fail_and_may_not_call(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    refused: list[BaseException] = []
    with unistream.Producer(path, by_text, max_records=1) as producer:

        def hears(report: unistream.DeliveryReport) -> None:
            try:
                producer.put(b"from inside")
            except unistream.Reentrant as error:
                refused.append(error)
            assert producer.stats().put_records >= 1
            raise RuntimeError(report.seq)

        assert producer.put_reported(b"a", hears).result(30).is_delivered
        wait_until(lambda: bool(refused) and "was to hear of record 1" in caplog.text)
        assert producer.put_reported(b"b").result(30).is_delivered


def test_nothing_is_kept_once_it_is_over(path: Path) -> None:
    class Heard:
        def __call__(self, report: unistream.DeliveryReport) -> None:
            pass

    with unistream.Producer(path, by_text, max_records=1) as producer:
        hears = Heard()
        gone = weakref.ref(hears)
        producer.put_reported(b"a", hears).result(30)
        del hears
        wait_until(lambda: gc.collect() >= 0 and gone() is None)


def test_many_threads_hear_each_of_its_own(path: Path) -> None:
    with unistream.Producer(path, by_text, max_records=50, max_in_flight=4, linger=0.01) as producer:
        wrong: list[object] = []

        def puts(number: int) -> None:
            futures = [producer.put_reported(f"{number} {index}", key=str(index % 7)) for index in range(200)]
            seqs = {future.result(60).seq for future in futures}
            if len(seqs) != 200 or not all(future.result().is_delivered for future in futures):
                wrong.append(seqs)

        threads = [threading.Thread(target=puts, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_a_child_is_told_of_its_own_alone(path: Path) -> None:
    with unistream.Producer(path, mode="manual", shared=True) as producer:
        told: list[str] = []
        parents = producer.put_reported(b"parent", lambda report: told.append(report.delivery))
        pid = os.fork()
        if pid == 0:
            own = producer.put_reported(b"child")
            producer.close(timeout=0)
            os._exit(0 if own.result(0).delivery == "closed" and not told and not parents.done() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        producer.close(timeout=0)
        assert parents.result(0).delivery == "closed"
        assert told == ["closed"]
