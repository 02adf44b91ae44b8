"""Event loops: async sinks, and waiting without blocking."""

import asyncio
import os
import select
import threading
import time
from pathlib import Path

import pytest
import unistream
from unistream import Batch, Producer, Report, Schedule

NOW = Schedule(multiplier=0, max=0, max_attempts=2, jitter="none")


def test_an_async_sink_runs_on_the_callers_loop(path: Path) -> None:
    seen: list[tuple[bool, bytes]] = []

    async def main() -> None:
        loop, thread = asyncio.get_running_loop(), threading.get_ident()

        async def send(batch: Batch) -> None:
            await asyncio.sleep(0)
            here = asyncio.get_running_loop() is loop and threading.get_ident() == thread
            seen.extend((here, record.data) for record in batch)

        async with Producer(path, send) as producer:
            producer.put_many([b"1", b"2"])
            await producer.aflush(30)
            producer.put(b"3")

    asyncio.run(main())
    assert seen == [(True, b"1"), (True, b"2"), (True, b"3")]


def test_async_objects_and_reports(path: Path) -> None:
    class Sender:
        def __init__(self) -> None:
            self.calls = 0

        async def send(self, batch: Batch) -> Report | None:
            self.calls += 1
            match self.calls:
                case 1:
                    raise RuntimeError("refused")
                case 2:
                    return Report().rejected(1, "no")
                case _:
                    return None

    async def main() -> None:
        async with Producer(path, Sender(), schedule=NOW, linger=None) as producer:
            producer.put_many([b"1", b"2"])
            await producer.aflush(30)
            stats = producer.stats()
            assert (stats.failed_attempts, stats.rejected_records, stats.delivered_records) == (1, 1, 1)

    asyncio.run(main())


def test_an_async_sink_keeps_a_memo_that_it_waited_for(path: Path) -> None:
    class Keeper:
        def __init__(self) -> None:
            self.prepared = 0
            self.memos: list[bytes | None] = []

        async def prepare(self, batch: Batch) -> bytes:
            await asyncio.sleep(0)
            assert batch.memo is None
            self.prepared += 1
            if self.prepared == 1:
                raise ValueError("not yet")
            return f"memo {self.prepared}".encode()

        async def send(self, batch: Batch) -> None:
            await asyncio.sleep(0)
            self.memos.append(batch.memo)
            if len(self.memos) < 3:
                raise ValueError("no")

    class Plain(Keeper):
        def send(self, batch: Batch) -> None:  # type: ignore[override]
            raise AssertionError

    keeper = Keeper()

    async def main() -> None:
        schedule = Schedule(multiplier=0, max=0, max_attempts=10, jitter="none")
        async with Producer(path, keeper, schedule=schedule, max_records=1) as producer:
            producer.put(b"1")
            await producer.aflush(30)
        with pytest.raises(TypeError, match="its send must be too"):
            Producer(path, Plain())

    asyncio.run(main())
    assert (keeper.prepared, keeper.memos) == (2, [b"memo 2"] * 3)


def test_the_loop_goes_on_while_it_is_flushed(path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        ticks = 0

        async def send(batch: Batch) -> None:
            await gate.wait()

        async def tick() -> None:
            nonlocal ticks
            while not gate.is_set():
                ticks += 1
                if ticks == 20:
                    gate.set()
                await asyncio.sleep(0.01)

        async with Producer(path, send) as producer:
            producer.put(b"x")
            await asyncio.gather(producer.aflush(30), tick())
        assert ticks == 20

    asyncio.run(main())


def test_waiting_on_the_loop_itself_is_refused(path: Path) -> None:
    async def main() -> None:
        async def send(batch: Batch) -> None:
            await asyncio.sleep(0)

        async with Producer(path, send) as producer:
            producer.put(b"x")
            with pytest.raises(unistream.Reentrant, match="await aflush"):
                producer.flush()
            with pytest.raises(unistream.Reentrant, match="await aclose"):
                producer.close()
            assert not producer.closed
            # Another thread may wait.
            await asyncio.to_thread(producer.flush, 30)
        assert producer.closed

    asyncio.run(main())


def test_a_full_buffer_does_not_block_the_loop(path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def send(batch: Batch) -> None:
            await gate.wait()

        async with Producer(path, send, max_buffer_bytes=1 << 20) as producer:
            with pytest.raises(unistream.BufferFull):
                for _ in range(100):
                    producer.put(b"x" * 60_000)
            gate.set()
            await producer.aflush(30)

    asyncio.run(main())


def test_a_flush_times_out_and_can_be_cancelled(path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def send(batch: Batch) -> None:
            await gate.wait()

        async with Producer(path, send) as producer:
            producer.put(b"x")
            with pytest.raises(unistream.Timeout):
                await producer.aflush(0.05)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await producer.aflush()
            gate.set()
            await producer.aflush(30)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 25


def test_the_exception_arrives_whole(path: Path) -> None:
    async def send(batch: Batch) -> None:
        raise RuntimeError("refused") from KeyError("cause")

    async def main() -> None:
        async with Producer(path, send, schedule=NOW, on_exhausted="raise") as producer:
            producer.put(b"x")
            await producer.aflush(30)

    with pytest.raises(unistream.RetriesExhausted) as caught:
        asyncio.run(main())
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert isinstance(caught.value.__cause__.__cause__, KeyError)


def test_a_loop_that_is_gone_costs_no_attempts(path: Path) -> None:
    async def send(batch: Batch) -> None:
        pass

    async def main() -> Producer:
        return Producer(path, send, schedule=NOW)

    producer = asyncio.run(main())
    producer.put(b"x")
    with pytest.raises(unistream.Timeout):
        producer.flush(0.3)
    stats = producer.stats()
    assert stats.failed_attempts == stats.dead_letters == 0
    assert stats.unavailable_attempts > 0
    assert producer.close(0) == 1


def test_what_an_async_sink_needs(path: Path) -> None:
    async def send(batch: Batch) -> None:
        pass

    with pytest.raises(RuntimeError, match="no running event loop"):
        Producer(path, send)

    async def main() -> None:
        with pytest.raises(TypeError, match="an async sink needs background mode"):
            Producer(path, send, mode="inline")

    asyncio.run(main())


def test_manual_mode_in_a_loop(path: Path) -> None:
    sent: list[bytes] = []

    async def pump(producer: Producer) -> None:
        while len(sent) < 3:
            while (batch := producer.next_batch()) is not None:
                sent.extend(record.data for record in batch)
                producer.commit(batch)
            await asyncio.sleep(producer.next_wait() or 0.005)

    async def main() -> None:
        async with Producer(path, mode="manual", linger=0.01) as producer:
            task = asyncio.create_task(pump(producer))
            producer.put_many([b"1", b"2", b"3"])
            await producer.aflush(30)
            await task

    asyncio.run(main())
    assert sent == [b"1", b"2", b"3"]


def test_the_loop_polls_the_producer(path: Path) -> None:
    """Without a timer and without a task that asks: the descriptor tells of full batches, linger and the schedule."""

    async def main() -> None:
        sent: list[bytes] = []
        done = asyncio.Event()
        schedule = Schedule(waits=[0.02], jitter="none")
        async with Producer(path, mode="manual", max_records=2, linger=0.02, schedule=schedule) as producer:

            def on_readable() -> None:
                while (batch := producer.next_batch()) is not None:
                    if batch.attempt == 1:
                        producer.failed(batch, "once more")
                        continue
                    sent.extend(record.data for record in batch)
                    producer.commit(batch)
                if len(sent) == 3:
                    done.set()

            loop = asyncio.get_running_loop()
            loop.add_reader(producer, on_readable)
            producer.put_many([b"1", b"2", b"3"])
            await asyncio.wait_for(done.wait(), 60)
            assert sent == [b"1", b"2", b"3"]
            assert select.select([producer], [], [], 0)[0] == []
            loop.remove_reader(producer)

    asyncio.run(main())


def test_the_descriptor(path: Path) -> None:
    with Producer(path, mode="manual", max_records=1) as producer:
        number = producer.fileno()
        assert not os.get_inheritable(number)
        producer.put("a")
        assert select.select([producer], [], [], 60)[0] == [producer]
        assert producer.next_batch() is not None
        assert producer.next_batch() is None
        assert select.select([producer], [], [], 0)[0] == []
        if (child := os.fork()) == 0:
            try:
                producer.fileno()
            except unistream.Forked:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        producer.close(0)
        assert producer.fileno() == number
        assert select.select([producer], [], [], 60)[0] == [producer]
        with pytest.raises(unistream.Closed):
            producer.next_batch()
    with Producer(path, lambda batch: None) as background, pytest.raises(unistream.WrongMode):
        background.fileno()


def test_leaving_manual_mode_waits_for_nothing(path: Path) -> None:
    """It is the program itself that would send; `async with` waited the whole `close_timeout` for that."""

    async def main() -> int:
        async with Producer(path, mode="manual", close_timeout=600) as producer:
            producer.put("a")
        producer = Producer(path, mode="manual", close_timeout=600)
        return await producer.aclose()

    began = time.monotonic()
    assert asyncio.run(main()) == 1
    assert time.monotonic() - began < 60
