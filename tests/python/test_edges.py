"""Small edges of the Python side, each of which once surprised somebody."""

import dataclasses
import os
import signal
import struct
import subprocess
import tempfile
import threading
import time
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import unistream
from conftest import Collector, wait_until
from unistream import Batch, Buffer, DeadLetters, FileSink, NullSink, Producer, Report, Schedule, SinkUnavailable
from unistream._native import encode

Run = Callable[..., subprocess.CompletedProcess[str]]


def down(batch: Batch) -> None:
    raise SinkUnavailable("down", retry_after=3600)


# put_many


def test_put_many_says_how_many_went_in(path: Path) -> None:
    def items() -> Iterator[Any]:
        yield b"a"
        yield b"b"
        yield object()

    class Stop(BaseException):
        pass

    def stops() -> Iterator[bytes]:
        yield b"c"
        raise Stop

    with Producer(path, mode="manual") as producer:
        with pytest.raises(TypeError) as caught:
            producer.put_many(items())
        assert caught.value.accepted == 2  # type: ignore[attr-defined]
        assert caught.value.__notes__ == ["2 items were put before this one"]
        with pytest.raises(Stop) as stopped:
            producer.put_many(stops())
        assert stopped.value.accepted == 1  # type: ignore[attr-defined]
        with pytest.raises(unistream.RecordTooLarge) as large:
            producer.put_many([b"d", b"x" * (2 << 20)])
        assert large.value.accepted == 1
        assert producer.stats().put_records == 4


def test_an_accepted_record_counts_though_its_put_raised(path: Path) -> None:
    def send(batch: Batch) -> None:
        raise ValueError("never")

    schedule = Schedule(waits=[0], max_attempts=1)
    producer = Producer(path, send, mode="inline", max_records=2, schedule=schedule, on_exhausted="raise")
    with pytest.raises(unistream.RetriesExhausted) as caught:
        producer.put_many([b"a", b"b", b"c"])
    assert caught.value.record_accepted
    assert caught.value.accepted == 2
    with pytest.raises(unistream.RetriesExhausted):
        producer.close(0)


@pytest.mark.parametrize("one", ["abc", b"abc", bytearray(b"abc"), memoryview(b"abc"), {"a": 1}, UserDict(a=1)])
def test_put_many_refuses_one_payload(path: Path, one: Any) -> None:
    """The letters of a text once became records of one letter each, and of a mapping its keys."""
    with Producer(path, mode="manual") as producer:
        with pytest.raises(TypeError, match=f"a {type(one).__name__} is one payload: use put"):
            producer.put_many(one)
        assert producer.stats().put_records == 0


# What put takes


class Named(dict[str, Any]):
    """A dict that knows its own form."""

    id = "mine"

    def serialize(self) -> bytes:
        return b"own form"


class Tagged(bytes):
    """Bytes that know their own form."""

    def serialize(self) -> str:
        return "tagged"


class Text(str):
    """Text that knows its own form."""

    __slots__ = ()

    def serialize(self) -> str:
        return "text"


def test_subclasses_with_serialize_mean_it() -> None:
    assert encode(Named(a=1)) == (b"own form", "mine")
    assert encode(Tagged(b"x")) == (b"tagged", None)
    assert encode(Text("x")) == (b"text", None)
    assert encode(OrderedDict(a=1)) == (b'{"a":1}', None)


@dataclasses.dataclass
class User:
    """A dataclass inside."""

    tags: list[Any]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"user": {"tags": [1, 2, 3, 4j]}}, "$.user.tags[3]: a value of type complex has no form in JSON"),
        ({"user": User([b"x"])}, "$.user.tags[0]: a value of type bytes has no form in JSON"),
        ([1, [2, float("nan")]], "$[1][1]: NaN has no form in JSON"),
        ({"a b": {"": object()}}, '$["a b"][""]: a value of type object has no form in JSON'),
        ({"a": {(1, 2): 3}}, "$.a: a key of type tuple has no form in JSON"),
        ({1: {"x": float("inf")}}, "$.1.x: inf has no form in JSON"),
        ({"a\n\x1b": {2j}}, r'$["a\n\u{1b}"][0]: a value of type complex has no form in JSON'),
        (object, "cannot put an object of type type"),
    ],
)
def test_errors_in_json_say_where(value: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        encode(value)
    assert message in str(caught.value)


def test_errors_in_json_keep_their_kind() -> None:
    with pytest.raises(UnicodeEncodeError, match=r"surrogates not allowed, in \$\.user\.name"):
        encode({"user": {"name": "\ud800"}})

    class Broken(UserDict[str, int]):
        def items(self) -> Any:
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        encode({"list": [Broken()]})
    assert caught.value.__notes__ == ["in $.list[0]"]
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="nested deeper than 500") as deep:
        encode(circle)
    assert len(str(deep.value)) < 300


# What is shown


def test_reprs_are_bounded_and_on_one_line(path: Path, tmp_path: Path) -> None:
    def send(batch: Batch) -> Report:
        shown.append(repr(batch[0]))
        return Report().rejected(0, "why\x1b[31m\n" + "x" * 10_000)

    shown: list[str] = []
    with Producer(path, send) as producer:
        producer.put(b"x", id="id\n\x1b[31m" + "i" * 1000)
        producer.flush(30)
        [letter] = producer.dead_letters.list()
        shown += map(repr, (producer, producer.dead_letters, letter, letter.records[0], letter.batch()))
    shown += map(repr, (NullSink(), FileSink(tmp_path / "a\nb"), DeadLetters(path)))
    shown.append(repr(Report().failed(0, "a\nb").rejected(1, "x" * 10_000)))
    report = Report()
    for index in range(10_000):
        report.failed(index, "no")
    shown.append(repr(report))
    with Buffer(tmp_path / "buffer") as buffer:
        buffer.put(b"x")
        shown.append(repr(buffer))
        assert repr(buffer).endswith("buffer of 1 records>")
    for text in shown:
        assert text.startswith(("<", "FileSink("))
        assert text.isprintable(), text
        assert len(text) < 1000
    assert "NullSink" in repr(NullSink())


def test_errors_of_sinks_name_the_sink_and_the_exception(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(batch: Batch) -> None:
        raise KeyError("field")

    with Producer(path, broken, schedule=Schedule(waits=[0], max_attempts=1)) as producer:
        producer.put(b"x")
        producer.flush(30)
        [letter] = producer.dead_letters.list()
    assert letter.sink.endswith("test_errors_of_sinks_name_the_sink_and_the_exception.<locals>.broken")
    assert letter.records[0].reason == "KeyError: 'field'"
    # One line as long as the sink is down, and what became of the batch; single attempts are at debug level.
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    for message in caplog.messages:
        assert message.endswith(f": KeyError: 'field' [sink {letter.sink}]")


# Times


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (1_700_000_000_000_000_000, datetime.max.replace(tzinfo=UTC)),
        (-(1 << 62), datetime.min.replace(tzinfo=UTC)),
        (1_700_000_000_123_456, datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)),
    ],
)
def test_created_at_of_an_old_log_never_raises(path: Path, micros: int, shown: datetime) -> None:
    """A time in milliseconds was once accepted by put; the sink that looked at it failed for ever."""
    with Buffer(path) as buffer:
        buffer.put(b"hi", id="a")
    [segment] = path.glob("*.seg")
    data = bytearray(segment.read_bytes())
    [salt] = struct.unpack_from("<I", data, 40)
    header, body = data[1024:1056], data[1056:1064]
    assert bytes(body[:3]) == b"ahi"
    struct.pack_into("<q", header, 16, micros)
    struct.pack_into("<I", header, 0, salt)
    length = struct.unpack_from("<I", header, 4)[0] - 32
    struct.pack_into("<I", header, 0, crc32c(bytes(body[:length] + header)))
    data[1024:1056] = header
    segment.write_bytes(data)
    with Producer(path, mode="manual", linger=0) as producer:
        batch = producer.next_batch()
        assert batch is not None
        assert batch[0].data == b"hi"
        assert batch[0].created_at == shown
        producer.commit(batch)


# The end of a with block


def test_the_wait_at_the_end_of_a_block_can_be_set(path: Path) -> None:
    """In an outage a block once waited for half a minute, whatever anybody said."""
    began = time.monotonic()
    with Producer(path, down, close_timeout=0.2) as producer:
        producer.put(b"x")
    assert 0.2 <= time.monotonic() - began < 20
    assert producer.closed
    for nonsense in (-1, float("nan")):
        with pytest.raises(ValueError, match="close_timeout"):
            Producer(path, down, close_timeout=nonsense)


def test_a_block_that_an_exception_leaves_does_not_wait_long(path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(KeyError), Producer(path, down, close_timeout=None) as producer:
        producer.put(b"x")
        raise KeyError
    assert time.monotonic() - began < 20
    assert producer.closed


def test_close_without_an_argument_is_the_producers(path: Path, collector: Collector) -> None:
    producer = Producer(path, down, close_timeout=0.1)
    producer.put(b"x")
    began = time.monotonic()
    assert producer.close() == 1
    assert time.monotonic() - began < 20
    with Producer(path, collector, close_timeout=None) as again:
        again.resume()
    assert collector.data == [b"x"]


def test_ctrl_c_in_a_block_ends_at_once_and_resume_tries_now(path: Path, collector: Collector) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Producer(path, down, linger=0) as producer:
        producer.put(b"x")
        while producer.stats().unavailable_attempts == 0:
            time.sleep(0.01)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(30)
    assert time.monotonic() - began < 20
    with Producer(path, collector) as again:
        wait_until(lambda: again.stats().next_attempt_ms > 3_000_000)
        again.resume()
        again.flush(30)
    assert collector.data == [b"x"]


def test_ctrl_c_while_the_end_of_a_block_waits(path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117 the order matters
        with Producer(path, down, close_timeout=None) as producer:
            producer.put(b"x")
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert time.monotonic() - began < 20
    assert producer.closed


# The end of the interpreter


def test_a_sink_with_a_pool_of_threads_at_the_exit(path: Path, run_python: Run, tmp_path: Path) -> None:
    """The pool takes no more calls then: that once used up attempts, though the target was healthy."""
    program = """
import concurrent.futures, sys, unistream
pool = concurrent.futures.ThreadPoolExecutor()
def sink(batch):
    pool.submit(print, "delivered", len(batch)).result()
schedule = unistream.Schedule(multiplier=0.001, max=0.001, max_attempts=3)
producer = unistream.Producer(sys.argv[1], sink, linger=5, schedule=schedule)
producer.put("x")
"""
    result = run_python(program, path)
    assert (result.returncode, result.stdout) == (0, "delivered 1\n"), result.stderr


def test_what_fails_at_the_exit_counts_nothing(path: Path, run_python: Run, collector: Collector) -> None:
    """A thread that outlives the main one puts when the pools are shut, and a sink fails while `atexit` runs."""
    program = """
import atexit, concurrent.futures, sys, threading, time, unistream
pool = concurrent.futures.ThreadPoolExecutor()
gone = False
def sink(batch):
    if gone:
        raise ValueError("everything is gone")
    pool.submit(print, "delivered", batch[0].text, flush=True).result()
def leave():
    global gone
    gone = True
atexit.register(leave)
schedule = unistream.Schedule(multiplier=0.001, max=0.001, max_attempts=2)
producer = unistream.Producer(sys.argv[1], sink, linger=0, schedule=schedule)
def late():
    threading.main_thread().join()
    time.sleep(0.2)
    producer.put("late")
    time.sleep(0.5)
threading.Thread(target=late).start()
producer.put("early")
"""
    result = run_python(program, path)
    assert (result.returncode, result.stdout) == (0, "delivered early\n"), result.stderr
    with Producer(path, collector) as producer:
        assert producer.stats().head_attempts == 0
        producer.resume()
        producer.flush(30)
        assert producer.dead_letters.list() == []
    assert collector.data == [b"late"]


# Async sinks


def test_an_async_sink_outside_of_a_loop_is_a_sentence(path: Path) -> None:
    async def send(batch: Batch) -> None: ...

    with pytest.raises(RuntimeError, match="make the producer inside a coroutine, or give it a sink that is not async"):
        Producer(path, send)
    assert not path.exists()


def test_a_log_that_cannot_be_read_is_a_warning(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was sent any more, and `running` was all that anybody could see."""
    with Producer(path, mode="manual", max_records=10, segment_bytes="64KiB") as producer:
        producer.put_many([b"x" * 1000] * 200)
    moved: list[Path] = []
    sent: list[str] = []

    def send(batch: Batch) -> None:
        if not moved:
            down(batch)
        sent.extend(record.id for record in batch)

    with Producer(path, send, max_records=10) as producer:
        # Once the answer is known: a `resume` before it would not undo its wait.
        wait_until(lambda: producer.stats().unavailable_attempts > 0)
        # A directory in the place of each segment but the last.
        for segment in sorted(path.glob("*.seg"))[:-1]:
            moved.append(segment.rename(tmp_path / segment.name))
            segment.mkdir()
        assert len(moved) > 1
        producer.resume()
        wait_until(lambda: producer.stats().unreadable_since > 0)
        with pytest.raises(unistream.Timeout, match=r"; the last error: could not read .* is a directory"):
            producer.flush(0.1)
        wait_until(lambda: any("the log cannot be read" in message for message in caplog.messages))
        for file in moved:
            (path / file.name).rmdir()
            file.rename(path / file.name)
        producer.flush(60)
        assert producer.stats().unreadable_since == 0
        wait_until(lambda: any("the log can be read again, after" in message for message in caplog.messages))
    assert len(sent) == 200


# Errors of the system


def test_a_file_that_the_user_may_not_use_is_a_permission_error(run_python: Run) -> None:
    """It was a `DiskError` only, which nobody who catches `PermissionError` expects."""
    program = """
import errno, os, sys, unistream
root = sys.argv[1]
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
os.chdir("/")
opens = [
    lambda: unistream.Producer(root + "/locked/outbox", unistream.NullSink()),
    lambda: unistream.Buffer(root + "/locked/new"),
    lambda: unistream.FileSink(root + "/locked/events.log"),
    lambda: unistream.DeadLetters(root + "/locked/outbox").list(),
]
for open_it in opens:
    try:
        open_it()
    except PermissionError as error:
        assert isinstance(error, unistream.PermissionDenied), repr(error)
        assert isinstance(error, unistream.DiskError) and isinstance(error, unistream.UnistreamError)
        assert (error.kind, error.errno, error.retryable) == ("io", errno.EACCES, False), vars(error)
        assert isinstance(error.__cause__, PermissionError) and root in str(error), str(error)
        print("denied")
"""
    # Not below pytest's own folder, which another user cannot look into.
    with tempfile.TemporaryDirectory() as root:
        locked = Path(root, "locked")
        (locked / "outbox").mkdir(parents=True)
        Path(root).chmod(0o755)
        locked.chmod(0)
        try:
            result = run_python(program, root)
        finally:
            locked.chmod(0o700)
    assert (result.returncode, result.stdout) == (0, "denied\n" * 4), result.stderr
