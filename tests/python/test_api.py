"""The predecessor's API on this engine, and what its buffers still hold."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import unistream
import unistream.api as old

FIXTURES = Path(__file__).parents[1] / "fixtures" / "unistream-0.1.2"
Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclasses.dataclass(frozen=True)
class Reading(old.DataClassRecord):
    """The record of the fixtures."""

    text: str = ""


def taken(buffer: old.FileBuffer) -> list[str]:
    """Take everything out of a buffer and return the ids."""
    ids: list[str] = []
    while True:
        try:
            ids.extend(record.id for record in buffer.emit())
        except old.BufferIsEmptyError:
            return ids
        buffer.commit()


@pytest.fixture
def wal(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies the logs of a fixture and returns the path that names them."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(FIXTURES / name, folder)
        # A checkout does not keep the times of files: those of 0.1.2 rise as it rotated.
        for nth, path in enumerate(sorted(folder.iterdir(), key=lambda path: (path.name == "app.log", path.name))):
            os.utime(path, ns=(nth * 10**9, nth * 10**9))
        return folder / "app.log"

    return copy


def files(path: Path) -> list[str]:
    """List the files of 0.1.2 that are left: ours is empty."""
    return sorted(entry.name for entry in path.parent.iterdir() if entry.is_file() and entry.stat().st_size)


@pytest.mark.parametrize(
    ("name", "ids"), [("rotated", 8), ("by_bytes", 5), ("separators", 4), ("unrotated", 3), ("torn", 2)]
)
def test_what_a_0_1_2_buffer_holds_is_taken_over(wal: Callable[[str], Path], name: str, ids: int) -> None:
    path = wal(name)
    # Changing max_records made 0.1.2 refuse.
    buffer = old.FileBuffer.new(record_class=Reading, path_wal=path, max_records=2)
    assert files(path) == []
    assert buffer.should_i_emit()
    assert [record.id for record in buffer.emit()] == ["1", "2"]
    # Taken over once, not again.
    buffer = old.FileBuffer.new(record_class=Reading, path_wal=path, max_records=2)
    assert taken(buffer) == [str(number) for number in range(1, ids + 1)]


def test_separators_stay_inside_their_records(wal: Callable[[str], Path]) -> None:
    buffer = old.FileBuffer.new(record_class=Reading, path_wal=wal("separators"), max_records=4)
    assert [record.text for record in buffer.emit()] == ["one\u2028two\x85three"] * 4


def test_a_neighbour_keeps_its_files(wal: Callable[[str], Path]) -> None:
    path = wal("neighbours")
    buffer = old.FileBuffer.new(record_class=Reading, path_wal=path, max_records=2)
    neighbours = ["app.db.2024-01-07_07-31-12_000000.log", "app.db.log"]
    assert files(path) == neighbours
    assert taken(buffer) == ["1", "2", "3"]
    buffer.clear_wal()
    assert files(path) == neighbours
    other = old.FileBuffer.new(record_class=Reading, path_wal=path.with_name("app.db.log"), max_records=2)
    assert taken(other) == ["11", "12", "13"]


def test_the_order_is_that_of_writing_not_of_user_timestamps(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    for nth, (day, ids) in enumerate([(9, "12"), (1, "34")]):
        lines = [Reading(id=number, create_at=f"2024-01-0{day}T00:00:00+00:00").serialize() for number in ids]
        rotated = path.with_name(f"app.2024-01-0{day}_00-00-00_000000.log")
        rotated.write_text("".join(f"{line}\n" for line in lines))
        os.utime(rotated, ns=(nth, nth))
    assert taken(old.FileBuffer.new(record_class=Reading, path_wal=path, max_records=2)) == ["1", "2", "3", "4"]


def test_a_takeover_that_is_killed_goes_on_where_it_was(tmp_path: Path, run_python: Run) -> None:
    path = tmp_path / "app.log"
    path.write_text("".join(f'{{"id": "{number}", "create_at": ""}}\n' for number in range(1, 3001)))
    program = """
import os, signal, sys, unistream.api as old
from pathlib import Path
class Record(old.DataClassRecord):
    puts = 0
    @classmethod
    def deserialize(cls, data):
        cls.puts += 1
        if cls.puts == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().deserialize(data)
old.FileBuffer.new(record_class=Record, path_wal=Path(sys.argv[1]), max_records=10)
"""
    deaths = 0
    for step in range(100, 20_000, 600):
        result = run_python(program, path, step)
        if result.returncode == 0:
            break
        assert result.returncode == -signal.SIGKILL, result.stderr
        assert path.exists()
        deaths += 1
    assert deaths >= 3
    assert not path.exists()
    ids = taken(old.FileBuffer.new(record_class=Reading, path_wal=path, max_records=10))
    assert ids == [str(number) for number in range(1, 3001)]


def ours(path: Path, *ids: str) -> str:
    """Write a file as 0.1.2 does, and return what is in it."""
    path.write_text("".join(f"{Reading(id=number).serialize()}\n" for number in ids))
    return path.read_text()


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "directory", "of another user", "dangling"])
def test_what_others_may_have_planted_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    # Links were read into the log and removed.
    path, victim = tmp_path / "app" / "app.log", tmp_path / "victim"
    path.parent.mkdir()
    rotated = path.with_name("app.2024-01-07_07-31-12_000000.log")
    secret = ours(victim, "stolen")
    ours(rotated, "1", "2")
    match kind:
        case "symlink":
            path.symlink_to(victim)
        case "hard link":
            path.hardlink_to(victim)
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "of another user":
            ours(path, "planted")
            os.chown(path, 12345, -1)
        case _:
            path.symlink_to(tmp_path / "nowhere")
    before = path.lstat()
    buffer = old.FileBuffer.new(record_class=Reading, path_wal=path, max_records=10)
    assert taken(buffer) == ["1", "2"]
    assert not rotated.exists()
    assert path.lstat().st_ino == before.st_ino
    assert victim.read_text() == secret
    assert any(f"{path} was left alone" in record.getMessage() for record in caplog.records)
    assert not any("stolen" in record.getMessage() for record in caplog.records)
    buffer.clear_wal()
    assert path.lstat().st_ino == before.st_ino
    assert victim.read_text() == secret


def test_lines_that_are_no_records_are_kept_and_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # They were written into the log message and gone: with a wrong record class, all that the buffer held.
    path = tmp_path / "app.log"
    whole = ours(path, "1", "2")
    path.write_text(whole + '{"secret": "hush\x1b[2J"}\n{"id": "hu')
    buffer = old.FileBuffer.new(record_class=Reading, path_wal=path, max_records=10)
    assert taken(buffer) == ["1", "2"]
    kept = tmp_path / "app.log.buffer" / "left-out.log"
    assert kept.read_text() == '{"secret": "hush\x1b[2J"}\n{"id": "hu\n'
    assert kept.stat().st_mode & 0o777 == 0o600
    [message] = [record.getMessage() for record in caplog.records]
    assert (
        message
        == f"app.log: 2 lines are no records of Reading, the first is line 3 (JSONDecodeError); they are kept in {kept}"
    )

    class Other(old.BaseRecord):
        def serialize(self) -> str:
            return ""

        @classmethod
        def deserialize(cls, data: str) -> "Other":
            raise KeyError(data)

    # A class that reads none of it is the wrong one.
    path.write_text(whole)
    with pytest.raises(KeyError):
        old.FileBuffer.new(record_class=Other, path_wal=path)
    assert path.read_text() == whole
    # Under their old name the lines that were kept are tried again.
    path.write_text(whole + kept.read_text())
    kept.unlink()
    buffer = old.FileBuffer.new(record_class=Reading, path_wal=path, max_records=10)
    assert taken(buffer) == ["1", "2"]


def test_a_file_that_0_1_2_still_writes_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    ours(path, "1", "2")

    @dataclasses.dataclass(frozen=True)
    class Rotated(Reading):
        """While the last line is read, the file is rotated and another of its name is there."""

        @classmethod
        def deserialize(cls, data: str) -> "Rotated":
            record = super().deserialize(data)
            if record.id == "2" and not path.with_name("moved").exists():
                path.rename(path.with_name("moved"))
                ours(path, "3")
            return record

    buffer = old.FileBuffer.new(record_class=Rotated, path_wal=path, max_records=10)
    assert files(path) == ["app.log", "moved"]
    buffer = old.FileBuffer.new(record_class=Rotated, path_wal=path, max_records=10)
    assert taken(buffer) == ["1", "2", "3"]
    assert files(path) == ["moved"]


def test_batches_with_equal_times_stay_apart(tmp_path: Path) -> None:
    buffer = old.FileBuffer.new(record_class=Reading, path_wal=tmp_path / "app.log", max_records=2)
    for number in range(6):
        buffer.put(Reading(id=str(number), create_at="2024-01-07T00:00:00+00:00"))
    assert taken(buffer) == ["0", "1", "2", "3", "4", "5"]


def test_a_file_buffer(tmp_path: Path) -> None:
    buffer = old.FileBuffer.new(record_class=Reading, path_wal=tmp_path / "app.log", max_records=2)
    with pytest.raises(old.BufferIsEmptyError):
        buffer.emit()
    with pytest.raises(old.BufferIsEmptyError):
        buffer.commit()
    first = Reading(id="1", text="ü\u2028\n")
    buffer.put(first)
    assert not buffer.should_i_emit()
    # What is not full can be emitted, oldest first, and is fixed then.
    assert buffer.emit() == [first]
    buffer.put(Reading(id="2"))
    assert buffer.emit() == [first]
    buffer.commit()
    assert not buffer.should_i_emit()
    buffer.put(Reading(id="3"))
    assert buffer.should_i_emit()
    assert [record.id for record in buffer.emit()] == ["2", "3"]
    buffer.clear_wal()
    assert not buffer.should_i_emit()
    with pytest.raises(old.BufferIsEmptyError):
        buffer.emit()
    buffer.put(Reading(id="4"))
    assert taken(buffer) == ["4"]


def test_a_buffer_is_full_by_bytes_too(tmp_path: Path) -> None:
    record = Reading(id="1", text="x" * 100)
    size = len(record.serialize())

    def make() -> old.FileBuffer:
        return old.FileBuffer.new(Reading, tmp_path / "app.log", max_records=100, max_bytes=3 * size - 10)

    buffer = make()
    buffer.put(record)
    buffer.put(record)
    assert not buffer.should_i_emit()
    # 0.1.2 could not open such a buffer again.
    buffer = make()
    buffer.put(record)
    assert buffer.should_i_emit()
    assert len(buffer.emit()) == 3
    buffer.commit()
    # A record that is larger than a batch is a batch.
    buffer.put(Reading(text="y" * 10 * size))
    assert buffer.should_i_emit()


def test_a_second_object_takes_over(tmp_path: Path) -> None:
    def make() -> old.FileBuffer:
        return old.FileBuffer.new(record_class=Reading, path_wal=tmp_path / "app.log", max_records=3)

    first = make()
    for number in "12":
        first.put(Reading(id=number))
    second = make()
    second.put(Reading(id="3"))
    assert [record.id for record in second.emit()] == ["1", "2", "3"]
    with pytest.raises(unistream.Closed):
        first.put(Reading())
    # Another name for the same file is the same buffer.
    (tmp_path / "link").symlink_to(tmp_path)
    third = old.FileBuffer.new(record_class=Reading, path_wal=tmp_path / "link" / "app.log", max_records=3)
    assert [record.id for record in third.emit()] == ["1", "2", "3"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_takes_over_what_its_parent_has_let_go(tmp_path: Path) -> None:
    """What the parent had open is none of its business, and not to be closed by it."""

    def make() -> old.FileBuffer:
        return old.FileBuffer.new(record_class=Reading, path_wal=tmp_path / "app.log", max_records=1)

    first = make()
    first._buffer.close()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            own = make()
            own.put(Reading(id="child"))
            code = 0 if [record.id for record in own.emit()] == ["child"] else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


class Flaky(old.SimpleProducer):
    """Fails while it is told to."""

    failing = False

    def send(self, records: list[Reading]) -> None:
        """Send, or not."""
        if self.failing:
            raise old.SendError("told to")
        super().send(records)


def make_producer(tmp_path: Path, waits: list[float]) -> Flaky:
    """Make a producer with batches of 2."""
    return Flaky.new(
        buffer=old.FileBuffer.new(record_class=Reading, path_wal=tmp_path / "app.log", max_records=2),
        retry_config=old.RetryConfig(exp_backoff=waits),
        path_sink=tmp_path / "sink.log",
    )


def test_a_simple_producer(tmp_path: Path) -> None:
    producer = make_producer(tmp_path, [0.05])
    sink = tmp_path / "sink.log"
    producer.put(Reading(id="1"))
    assert not sink.exists()
    producer.failing = True
    producer.put(Reading(id="2"))
    assert producer.retry_config.attempts == 1
    assert isinstance(producer.retry_config.last_error, old.SendError)
    producer.failing = False
    producer.put(Reading(id="3"))
    assert not sink.exists()
    time.sleep(0.06)
    producer.put(Reading(id="4"))
    assert producer.retry_config == old.RetryConfig(exp_backoff=[0.05])
    assert [Reading.deserialize(line).id for line in sink.read_text().splitlines()] == ["1", "2"]
    producer.put(Reading(id="5"))
    assert [Reading.deserialize(line).id for line in sink.read_text().splitlines()] == ["1", "2", "3", "4"]


def test_errors_are_raised_on_request_and_only_then(tmp_path: Path) -> None:
    producer = make_producer(tmp_path, [0])
    producer.failing = True
    producer.put(Reading(id="1"))
    with pytest.raises(old.SendError, match="told to"):
        producer.put(Reading(id="2"), skip_error=False)
    # The record is in all the same, and an error of emit or commit is skipped like one of send.
    producer.failing = False
    producer.buffer.commit = None  # type: ignore[assignment,method-assign]
    producer.put(Reading(id="3"))
    assert isinstance(producer.retry_config.last_error, TypeError)


def test_the_wait_is_measured_from_the_end_of_the_attempt(tmp_path: Path) -> None:
    producer = make_producer(tmp_path, [0.2])

    class Slow(Exception):
        pass

    def slow(records: list[Reading]) -> None:
        time.sleep(0.3)
        raise Slow

    producer.send = slow  # type: ignore[method-assign]
    producer.put(Reading())
    producer.put(Reading())
    producer.put(Reading())
    assert producer.retry_config.attempts == 1


def test_a_retry_config() -> None:
    config, now = old.RetryConfig(exp_backoff=[1, 2, 4]), datetime(2024, 1, 7, tzinfo=UTC)
    assert config.shall_we_retry(now)
    for wait in (1, 2, 4, 4, 4):
        config.mark_start_retry(now)
        config.mark_retry_failed(ValueError("why"))
        assert not config.shall_we_retry(now + timedelta(seconds=wait - 0.1))
        assert config.shall_we_retry(now + timedelta(seconds=wait))
    assert config.attempts == 5
    assert config.first_attempt_time == now
    config.reset_tracker()
    assert config == old.RetryConfig(exp_backoff=[1, 2, 4])
    assert old.RetryConfig().exp_backoff == [1, 2, 4, 8, 15, 30, 60]


def test_show_and_the_logger(capsys: pytest.CaptureFixture[str]) -> None:
    old.RetryConfig(exp_backoff=[1]).show()
    assert capsys.readouterr().out.splitlines() == [
        "| current retry config:",
        "|   exp_backoff = [1]",
        "|   attempts = 0",
        "|   first_attempt_time = None",
        "|   last_attempt_time = None",
        "|   last_error = None",
    ]

    @old.logger.start_and_end(msg="outer {name}", pipe="📦")
    def outer(name: str) -> None:
        old.logger.info("in outer")
        with old.logger.nested():
            old.logger.ruler("inner")
            old.logger.error("in inner\ntwice")
        with old.logger.disabled():
            old.logger.info("not seen")

    outer(name="x")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:6] == ["📦", "📦 in outer", f"📦 +----- inner {'-' * 59}-----+", "📦 | in inner", "📦 | twice"]
    assert all(len(line) == 80 for line in lines if "---" in line)

    @old.logger.pretty_log(end_msg="End {func_name}({depth})", nest=1, length=40)
    def nested(depth: int) -> None:
        old.logger.info(f"depth {depth}")
        if depth < 2:
            nested(depth=depth + 1)

    nested(depth=1)
    assert capsys.readouterr().out.splitlines() == [
        "| +----- Start nested() ---------------+",
        "| |",
        "| | depth 1",
        "| | +----- Start nested() -------------+",
        "| | |",
        "| | | depth 2",
        "| | |",
        "| | +----- End nested(2) --------------+",
        "| |",
        "| +----- End nested(1) ----------------+",
    ]
    old.logger.off()
    nested(depth=2)
    old.logger.on()
    said: list[str] = []
    assert old.logger.ruler("on", func=said.append) == said[0]
    assert capsys.readouterr().out == ""


def test_records() -> None:
    record = old.DataClassRecord()
    assert record.create_at_datetime.tzinfo is not None
    assert old.DataClassRecord.deserialize(record.serialize()) == record
    assert json.loads(record.serialize()) == {"id": record.id, "create_at": record.create_at} == record.to_dict()
    assert old.DataClassRecord().id != record.id
    with pytest.raises(TypeError, match="abstract"):
        old.BaseRecord()  # type: ignore[abstract]


def test_other_buffers_and_records_can_be_plugged_in(tmp_path: Path) -> None:
    class Line(old.BaseRecord):
        def __init__(self, text: str) -> None:
            self.id, self.create_at, self.text = text, "2024-01-07T00:00:00+00:00", text

        def serialize(self) -> str:
            return self.text

        @classmethod
        def deserialize(cls, data: str) -> "Line":
            return cls(data)

    class Memory(old.BaseBuffer):
        def __init__(self) -> None:
            self.records: list[old.BaseRecord] = []

        @classmethod
        def new(cls) -> "Memory":
            return cls()

        def put(self, record: old.BaseRecord) -> None:
            self.records.append(record)

        def should_i_emit(self) -> bool:
            return len(self.records) >= 2

        def emit(self) -> list[old.BaseRecord]:
            return self.records[:2]

        def commit(self) -> None:
            del self.records[:2]

    @dataclasses.dataclass
    class Printer(old.BaseProducer):
        sent: list[str] = dataclasses.field(default_factory=list)

        @classmethod
        def new(cls) -> "Printer":
            return cls(Memory.new(), old.RetryConfig())

        def send(self, records: list[Line]) -> None:
            self.sent.extend(record.text for record in records)

    producer = Printer.new()
    for text in "abc":
        producer.put(Line(text))
    assert producer.sent == ["a", "b"]
    buffer = old.FileBuffer.new(Line, tmp_path / "lines.log", max_records=1)
    buffer.put(Line("plain text"))
    assert buffer.emit()[0].text == "plain text"


def test_a_program_may_begin_anew_by_removing_the_folder(tmp_path: Path) -> None:
    """0.1.2 had no open file; ours was closed with an error that came out of the next buffer's making."""
    folder = tmp_path / "demo"
    buffers = []
    for _ in range(2):
        folder.mkdir()
        buffers.append(old.FileBuffer.new(record_class=Reading, path_wal=folder / "app.log", max_records=2))
        buffers[-1].put(Reading(id="1"))
        shutil.rmtree(folder)
    folder.mkdir()
    buffers[-1].clear_wal()
    buffers[-1].put(Reading(id="2"))
    assert taken(buffers[-1]) == ["2"]


def test_what_programs_look_at(tmp_path: Path) -> None:
    path = tmp_path / "app.log"

    def make() -> old.FileBuffer:
        return old.FileBuffer.new(record_class=Reading, path_wal=path, max_records=2)

    def ids(records: Iterable[Reading]) -> str:
        return "".join(record.id for record in records)

    buffer = make()
    assert (buffer.n_records, len(buffer.memory_queue), len(buffer.storage_queue)) == (0, 0, 0)
    assert not path.exists()
    records = [Reading(id=number) for number in "1234567"]
    for record in records:
        buffer.put(record)
        # The file is there while a batch is being filled, also in the next run.
        assert path.exists() == (buffer.n_records > 0)
        buffer = make()
        assert path.exists() == (buffer.n_records > 0)
    assert (buffer.n_records, buffer.n_bytes) == (1, len(records[6].serialize()))
    assert list(buffer.memory_queue) == [records[6]]
    assert list(buffer.memory_serialization_queue) == [records[6].serialize()]
    assert [ids(buffer._read_log_file(batch)) for batch in buffer.storage_queue] == ["56", "34", "12"]
    assert buffer._get_old_log_files() == list(reversed(buffer.storage_queue))
    assert ids(buffer._read_log_file(path)) == "7"
    assert not buffer.emitted_records
    emitted = buffer.emit()
    assert emitted is buffer.emitted_records
    buffer.commit()
    assert len(buffer.storage_queue) == 2
    (tmp_path / "sink.log").write_text(f"{records[0].serialize()}\n")
    assert buffer._read_log_file(tmp_path / "sink.log") == records[:1]
    assert taken(buffer) == ["3", "4", "5", "6", "7"]
    assert not path.exists()
    buffer.clear_memory_queue()


def test_the_file_that_shows_that_records_wait_is_never_anothers(tmp_path: Path) -> None:
    path, victim = tmp_path / "app.log", tmp_path / "victim"
    buffer = old.FileBuffer.new(record_class=Reading, path_wal=path, max_records=2)
    path.symlink_to(victim)
    buffer.put(Reading())
    assert not victim.exists()
    buffer.put(Reading())
    assert path.is_symlink()
    # What 0.1.2 has written meanwhile is not removed with it.
    path.unlink()
    buffer.put(Reading())
    assert path.read_text() == ""
    ours(path, "late")
    buffer.put(Reading())
    assert Reading.deserialize(path.read_text()).id == "late"
    # A folder in which it cannot be made takes records all the same.
    path.unlink()
    path.mkdir()
    buffer.put(Reading())
    assert buffer.n_records == 1


def test_nothing_of_this_is_loaded_until_it_is_asked_for(run_python: Run) -> None:
    program = """
import sys
import unistream
with unistream.Producer(sys.argv[1], unistream.sink("null:")) as producer:
    producer.put({"id": "1"})
public = {"abstraction", "api", "buffer", "buffers", "checkpoint", "checkpoints", "consumer", "consumers", "exc"}
public |= {"logger", "producer", "producers", "record", "records", "utils", "_compat"}
print([name for name in sys.modules if name.startswith("func_args") or {*name.split(".")[:2]} & {"unistream"} and
       {*name.split(".")[1:2]} & public])
"""
    result = run_python(program, "outbox")
    assert (result.stdout, result.stderr) == ("[]\n", "")
