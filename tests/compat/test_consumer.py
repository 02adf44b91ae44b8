"""What was a fault in 0.1.2's consumer half, and is none here: each row of "What is different" in the page."""

import contextlib
import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from unistream._compat import durable
from unistream.api import (
    DataClassRecord,
    FileBuffer,
    RetryConfig,
    SimpleCheckpoint,
    SimpleConsumer,
    SimpleProducer,
    StatusEnum,
    StreamIsClosedError,
)
from unistream.consumer import RetryError

NOW = datetime(2024, 1, 7, 12, tzinfo=UTC)


@dataclasses.dataclass
class Consumer(SimpleConsumer):
    seen: list[str] = dataclasses.field(default_factory=list)

    def process_record(self, record: DataClassRecord) -> None:
        self.seen.append(record.id)


def write(folder: Path, *numbers: int, end: str = "\n") -> None:
    with (folder / "source.log").open("a") as file:
        file.write("\n".join(DataClassRecord(id=str(number)).serialize() for number in numbers) + end)


def load(folder: Path, **more: Any) -> SimpleCheckpoint:
    return SimpleCheckpoint.load(str(folder / "checkpoint.json"), str(folder / "records.json"), **more)


def make(folder: Path, cls: type[Consumer] = Consumer, **more: Any) -> Consumer:
    given: dict[str, Any] = {"limit": 3, "exp_backoff_min": 0, "exp_backoff_max": 0, **more}
    return cls.new(DataClassRecord, folder / "source.log", folder / "dlq.log", load(folder, max_attempts=2), **given)


def test_a_lock_expires_after_seconds(tmp_path: Path) -> None:
    checkpoint, record = load(tmp_path), DataClassRecord(id="1")
    checkpoint.update_for_new_batch([record])
    checkpoint.mark_as_in_progress(record, now=NOW)
    assert checkpoint.is_record_locked(record, now=NOW + timedelta(seconds=899))
    assert not checkpoint.is_record_locked(record, now=NOW + timedelta(seconds=900))
    checkpoint.mark_as_in_progress(record, now=NOW, expire=5)
    assert not checkpoint.is_record_locked(record, now=NOW + timedelta(seconds=5))
    # 0 is a time too.
    checkpoint.mark_as_in_progress(record, now=NOW, expire=0)
    assert not checkpoint.is_record_locked(record, now=NOW)


def test_a_record_that_was_being_processed_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, *range(1, 7))
    program = KILLED.replace("file.write", "record.id == '2' and os._exit(9); file.write")
    assert subprocess.run([sys.executable, "-c", program.replace("=0)", "=900)")], cwd=tmp_path).returncode == 9
    consumer = make(tmp_path, limit=3)
    # Others may be at it: its batch waits, and what comes behind it does not.
    consumer.process_batch()
    consumer.process_batch()
    assert consumer.seen == ["3", "4"]
    assert consumer.checkpoint.start_pointer == 0

    class Paused(Exception):
        pass

    def sleep(seconds: float) -> None:
        assert seconds == 1
        raise Paused

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(Paused):
        consumer.run()
    consumer.checkpoint.batch["2"].lock_expire_time = NOW.isoformat()
    consumer.process_batch()
    consumer.process_batch()
    assert consumer.seen == ["3", "4", "2", "5", "6"]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_who_ends_in_order_leaves_no_lock(tmp_path: Path, ending: type[BaseException]) -> None:
    write(tmp_path, *range(1, 4))

    class Ends(Consumer):
        def process_record(self, record: DataClassRecord) -> None:
            if record.id == "2":
                raise ending
            super().process_record(record)

    ends = make(tmp_path, Ends)
    with pytest.raises(ending):
        ends.process_batch()
    tracker = load(tmp_path).batch["2"]
    assert (tracker.status, tracker.attempts, tracker.lock) == (StatusEnum.pending, 0, None)
    consumer = make(tmp_path)
    consumer.process_batch()
    assert ends.seen + consumer.seen == ["1", "2", "3"]


KILLED = """
import os, sys
from pathlib import Path
from unistream.api import DataClassRecord, SimpleCheckpoint, SimpleConsumer
class Consumer(SimpleConsumer):
    def process_record(self, record):
        with self.path_dlq.open("a") as file:
            file.write(record.id + "\\\\n")
checkpoint = SimpleCheckpoint.load("checkpoint.json", "records.json", lock_expire=0)
consumer = Consumer.new(DataClassRecord, Path("source.log"), Path("done.log"), checkpoint, limit=4)
while checkpoint.start_pointer < 400:
    consumer.process_batch()
""".replace("\\\\", "\\")


def test_a_consumer_that_is_killed_goes_on_and_passes_nothing_over(tmp_path: Path) -> None:
    """Wherever it is: its files are whole. A record is processed again only where it was in the middle of one."""
    write(tmp_path, *range(400))
    deaths = 0
    done = tmp_path / "done.log"
    while True:
        program = subprocess.Popen([sys.executable, "-c", KILLED], cwd=tmp_path, stderr=subprocess.PIPE)
        # Some records later than where it began.
        began = done.stat().st_size if done.exists() else 0
        while program.poll() is None and (done.stat().st_size if done.exists() else 0) < began + 150:
            time.sleep(0.001)
        program.send_signal(signal.SIGKILL)
        _, said = program.communicate()
        if program.returncode == 0:
            break
        assert program.returncode == -signal.SIGKILL, said
        deaths += 1
        if (tmp_path / "checkpoint.json").exists():
            load(tmp_path)
    assert deaths >= 3
    seen = done.read_text().split()
    assert sorted(set(seen), key=int) == [str(number) for number in range(400)]
    assert len(seen) <= 400 + deaths
    # What was being written when it died is used again, not left beside the next.
    assert {path.name for path in tmp_path.glob(".*")} <= {".checkpoint.json.tmp", ".records.json.tmp"}


def test_a_batch_whose_end_was_not_stored_is_not_processed_again(tmp_path: Path) -> None:
    write(tmp_path, *range(1, 7))

    class Dies(Consumer):
        def commit(self) -> None:
            raise SystemExit

    for _ in range(2):
        dies = make(tmp_path, Dies)
        with pytest.raises(SystemExit):
            dies.process_batch()
    assert dies.seen == []
    consumer = make(tmp_path)
    consumer.process_batch()
    assert consumer.seen == ["4", "5", "6"]
    assert consumer.checkpoint.start_pointer == 6


def test_a_checkpoint_never_stands_beside_the_records_of_another_batch(tmp_path: Path) -> None:
    """It dies between the two files. The records have the same ids in both batches, so that nothing else shows it."""

    class Note(DataClassRecord):
        def serialize(self) -> str:
            return f"{self.id} {self.create_at}"

        @classmethod
        def deserialize(cls, data: str) -> "Note":
            return cls(*data.split())

    class Dies(SimpleCheckpoint):
        stores = 99

        def dump(self) -> None:
            self.one_store_less()
            super().dump()

        def dump_records(self, records: Any) -> None:
            self.one_store_less()
            super().dump_records(records)

        def one_store_less(self) -> None:
            self.stores -= 1
            if self.stores < 0:
                raise SystemExit

    class Sees(Consumer):
        def process_record(self, record: DataClassRecord) -> None:
            self.seen.append(record.create_at)

    (tmp_path / "source.log").write_text("1 a\n2 b\n1 c\n2 d\n")
    consumer = make(tmp_path, Sees, limit=2)
    consumer.record_class = Note
    dies = consumer.checkpoint = Dies.load(str(tmp_path / "checkpoint.json"), str(tmp_path / "records.json"))
    consumer.process_batch()
    dies.stores = 1
    with pytest.raises(SystemExit):
        consumer.process_batch()
    consumer = make(tmp_path, Sees, limit=2)
    consumer.record_class = Note
    consumer.process_batch()
    assert consumer.seen == ["c", "d"]


def test_files_that_0_1_2_has_torn(tmp_path: Path) -> None:
    write(tmp_path, *range(1, 7))
    consumer = make(tmp_path)
    consumer.process_batch()
    finished = (tmp_path / "records.json").read_text()
    # 0.1.2 stored the checkpoint and died before it stored the records: wholly, or half of them.
    records, pointer = consumer.get_records()
    consumer.checkpoint.update_for_new_batch(records, pointer)
    consumer.checkpoint.dump()
    begun = (tmp_path / "checkpoint.json").read_text()
    consumer.checkpoint.dump_records(records)
    whole = (tmp_path / "records.json").read_text()
    for left in (finished, "", whole[:-20], whole[: len(whole) // 2]):
        (tmp_path / "checkpoint.json").write_text(begun)
        (tmp_path / "records.json").write_text(left)
        again = make(tmp_path)
        again.process_batch()
        assert again.seen == ["4", "5", "6"]
    # Half a checkpoint says so, and is left as it is.
    for torn in (begun[: len(begun) // 2], "", "[]", '{"nonsense": 1}'):
        (tmp_path / "checkpoint.json").write_text(torn)
        with pytest.raises(ValueError, match=r"checkpoint\.json is no checkpoint, or a torn one; repair it or move"):
            load(tmp_path)
        assert (tmp_path / "checkpoint.json").read_text() == torn


def test_a_full_disk_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    consumer = make(tmp_path)
    write(tmp_path, 1, 2, 3)
    consumer.process_batch()
    before = (tmp_path / "checkpoint.json").read_text()
    write(tmp_path, 4, 5, 6)
    program = KILLED.replace(
        "import os, sys", "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    ).replace(
        "consumer.process_batch()", "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); consumer.process_batch()"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert "File too large" in ended.stderr
    assert (tmp_path / "checkpoint.json").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.json", "records.json", "source.log"]
    again = make(tmp_path)
    again.process_batch()
    assert again.seen == ["4", "5", "6"]


def test_files_keep_their_modes_and_links(tmp_path: Path) -> None:
    checkpoint = load(tmp_path)
    path = tmp_path / "checkpoint.json"
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    path.chmod(0o640)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to("elsewhere")
    checkpoint.batch_sequence = 7
    checkpoint.dump()
    assert path.is_symlink()
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o640
    assert load(tmp_path).batch_sequence == 7


def test_files_that_were_moved_and_classes_of_ones_own(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class Own(SimpleCheckpoint):
        note: str = "own"

    Own.load(str(tmp_path / "checkpoint.json"), str(tmp_path / "records.json"), start_pointer=3)
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "checkpoint.json").rename(moved / "checkpoint.json")
    found = Own.load(str(moved / "checkpoint.json"), str(moved / "records.json"))
    assert isinstance(found, Own)
    assert (found.start_pointer, found.path_checkpoint) == (3, moved / "checkpoint.json")
    found.dump()
    assert not (tmp_path / "checkpoint.json").exists()


def test_a_source_that_is_still_written_or_became_shorter(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, end="")
    consumer = make(tmp_path)
    # A last line that is whole needs no end.
    assert [record.id for record in consumer.get_records()[0]] == ["1", "2"]
    with (tmp_path / "source.log").open("a") as file:
        file.write('\n{"id": "3", "cre')
    consumer.process_batch()
    assert consumer.seen == ["1", "2"]
    consumer.process_batch()
    with (tmp_path / "source.log").open("a") as file:
        file.write('ate_at": "2024-01-07T12:00:00+00:00"}\n')
    consumer.process_batch()
    assert consumer.seen == ["1", "2", "3"]
    # A line in the middle that is no record is an error, as it was.
    with (tmp_path / "source.log").open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(json.JSONDecodeError):
        consumer.process_batch()
    (tmp_path / "source.log").write_text("")
    with pytest.raises(ValueError, match="has 0 lines, but 3 were read of it"):
        consumer.process_batch()
    (tmp_path / "source.log").unlink()
    assert consumer.get_records() == ([], 3)


def test_only_a_newline_ends_a_line_and_a_torn_character_is_waited_for(tmp_path: Path) -> None:
    class Line(DataClassRecord):
        def serialize(self) -> str:
            return self.id

        @classmethod
        def deserialize(cls, data: str) -> "Line":
            return cls(id=data)

    source = tmp_path / "source.log"
    source.write_bytes(b"a\rb\r\nc\xe2\x80\xa8d\n" + "\u00e9".encode()[:1])
    consumer = make(tmp_path, limit=9)
    consumer.record_class = Line
    consumer.process_batch()
    assert consumer.seen == ["a\rb", "c\u2028d"]
    with source.open("ab") as file:
        file.write("\u00e9".encode()[1:] + b"\n")
    consumer.process_batch()
    assert consumer.seen[2:] == ["\u00e9"]
    # One that is broken for good says where it is.
    with source.open("ab") as file:
        file.write(b"\xff\n")
    with pytest.raises(UnicodeDecodeError) as raised:
        consumer.process_batch()
    assert raised.value.__notes__ == [f"line 4 of {source} is no record"]


def test_a_torn_line_of_the_producer_takes_no_other_with_it(tmp_path: Path) -> None:
    source = tmp_path / "source.log"
    producer = SimpleProducer.new(
        FileBuffer.new(record_class=DataClassRecord, path_wal=tmp_path / "buffer.log", max_records=1),
        RetryConfig(),
        source,
    )
    source.write_text('{"id": "0", "cre')
    producer.put(DataClassRecord(id="1"))
    producer.put(DataClassRecord(id="2"))
    torn, *whole = source.read_text().splitlines()
    assert torn == '{"id": "0", "cre'
    assert [DataClassRecord.deserialize(line).id for line in whole] == ["1", "2"]
    # A pipe has no last line.
    reads, writes = os.pipe()
    producer.path_sink = Path(f"/dev/fd/{writes}")
    producer.put(DataClassRecord(id="3"))
    assert DataClassRecord.deserialize(os.read(reads, 1000).decode()).id == "3"
    os.close(reads)
    os.close(writes)


def test_a_record_gets_no_end_of_line(tmp_path: Path) -> None:
    class Line(DataClassRecord):
        def serialize(self) -> str:
            return self.id

        @classmethod
        def deserialize(cls, data: str) -> "Line":
            return cls(id=data)

    (tmp_path / "source.log").write_text("one\ntwo\n")
    consumer = make(tmp_path)
    consumer.record_class = Line
    records, _ = consumer.get_records()
    assert [record.id for record in records] == ["one", "two"]
    consumer.checkpoint.dump_records(records)
    assert [record.id for record in consumer.checkpoint.load_records(Line)] == ["one", "two"]


def test_what_cannot_be_put_aside_is_an_error(tmp_path: Path) -> None:
    class Broken(Consumer):
        def process_record(self, record: DataClassRecord) -> None:
            raise KeyError(record.id)

        def process_failed_record(self, record: DataClassRecord) -> None:
            self.seen.append(record.id)
            raise OSError("the queue is away")

    write(tmp_path, 1)
    consumer = make(tmp_path, Broken)
    with pytest.raises(RetryError) as raised:
        consumer.process_batch()
    assert str(raised.value.__cause__) == "the queue is away"
    assert consumer.seen == ["1", "1"]
    assert consumer.checkpoint.batch["1"].status == StatusEnum.exhausted
    # It was not passed over: the batch is read again.
    assert consumer.checkpoint.start_pointer == 0


def fails(record: DataClassRecord) -> None:
    raise KeyError(record.id)


@dataclasses.dataclass
class Fails(Consumer):
    aside: list[str] = dataclasses.field(default_factory=list)

    def process_record(self, record: DataClassRecord) -> None:
        raise KeyError(record.id)

    def process_failed_record(self, record: DataClassRecord) -> None:
        self.aside.append(record.id)


def test_who_dies_while_it_waits_passes_nothing_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts of earlier runs count, and a record that failed for good is put aside before the next is begun."""

    class Dies(BaseException):
        pass

    def dies(_: Any) -> None:
        raise Dies

    write(tmp_path, 1, 2)
    aside: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", dies)
        # The first failure; then the wait, in which it dies.
        first = make(tmp_path)
        patch.setattr(first, "process_record", fails)
        with pytest.raises(Dies):
            first.process_batch()
        assert load(tmp_path).batch["1"].attempts == 1
        # The last one: no wait more, and it dies before the record is put aside.
        second = make(tmp_path)
        patch.setattr(second, "process_record", fails)
        patch.setattr(second, "process_failed_record", dies)
        with pytest.raises(Dies):
            second.process_batch()
        assert load(tmp_path).batch["1"].status == StatusEnum.exhausted
    third = make(tmp_path)
    monkeypatch.setattr(third, "process_record", lambda record: fails(record) if record.id == "1" else None)
    monkeypatch.setattr(third, "process_failed_record", lambda record: aside.append(record.id))
    third.process_batch()
    assert aside == ["1"]
    assert third.checkpoint.start_pointer == 2


def test_a_record_that_was_put_aside_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`skip_error=False` ends the run with the last record of a batch: the next goes on behind it."""
    write(tmp_path, 1, 2, 3, 4)
    first = make(tmp_path, skip_error=False)
    seen: list[str] = []
    monkeypatch.setattr(
        first, "process_record", lambda record: fails(record) if record.id == "3" else seen.append(record.id)
    )
    with pytest.raises(KeyError, match="3"):
        first.process_batch()
    second = make(tmp_path, skip_error=False)
    second.process_batch()
    assert seen + second.seen == ["1", "2", "4"]


@pytest.mark.parametrize("stores", range(4))
def test_a_checkpoint_that_cannot_be_stored_is_no_failure_of_the_record(tmp_path: Path, stores: int) -> None:
    """The error comes out, no attempt is counted, and the same consumer goes on when there is space again."""
    write(tmp_path, 1)
    consumer = make(tmp_path)

    class Full(SimpleCheckpoint):
        left = 99

        def dump(self) -> None:
            if self.left == 0:
                raise OSError(28, "No space left on device")
            self.left -= 1
            super().dump()

    full = Full.load(str(tmp_path / "full.json"), str(tmp_path / "records.json"), max_attempts=1)
    full.left = stores
    consumer.checkpoint = full
    with pytest.raises(OSError, match="No space left"):
        consumer.process_batch()
    assert all(tracker.errors == {} for tracker in full.batch.values())
    full.left = 99
    with contextlib.suppress(StreamIsClosedError):
        consumer.process_batch()
    assert consumer.seen == ["1"]
    assert full.start_pointer == 1


def test_records_of_a_batch_that_could_not_be_stored_are_not_passed_over(tmp_path: Path) -> None:
    """Their ids are those of the batch before, so that nothing but the failure shows it."""

    class Full(SimpleCheckpoint):
        is_full = False

        def dump_records(self, records: Any) -> None:
            if self.is_full:
                raise OSError(28, "No space left on device")
            super().dump_records(records)

    class Sees(Consumer):
        def process_record(self, record: DataClassRecord) -> None:
            self.seen.append(record.create_at)

    with (tmp_path / "source.log").open("w") as file:
        file.writelines(DataClassRecord(str(number % 2), f"at {number}").serialize() + "\n" for number in range(6))
    consumer = make(tmp_path, Sees, limit=2)
    full = consumer.checkpoint = Full.load(str(tmp_path / "full.json"), str(tmp_path / "records.json"))
    consumer.process_batch()
    full.is_full = True
    with pytest.raises(OSError, match="No space left"):
        consumer.process_batch()
    full.is_full = False
    consumer.process_batch()
    consumer.process_batch()
    assert consumer.seen == [f"at {number}" for number in range(6)]


@pytest.mark.parametrize("name", ["dump_as_in_progress", "dump_as_succeeded", "dump_as_failed_or_exhausted"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_who_is_interrupted_while_it_stores_leaves_no_lock(
    tmp_path: Path, name: str, when: str, error: type[BaseException]
) -> None:
    write(tmp_path, 1)
    interruptions = [error()]

    class Interrupted(SimpleCheckpoint):
        pass

    def dump(self: SimpleCheckpoint, record: DataClassRecord) -> None:
        if when == "before" and interruptions:
            raise interruptions.pop()
        SimpleCheckpoint.dump(self)
        if interruptions:
            raise interruptions.pop()

    setattr(Interrupted, name, dump)
    consumer = make(tmp_path, Fails if name == "dump_as_failed_or_exhausted" else Consumer)
    consumer.checkpoint = Interrupted.load(
        str(tmp_path / "checkpoint.json"), str(tmp_path / "records.json"), max_attempts=2
    )
    with contextlib.suppress(error):
        consumer.process_batch()
    assert not interruptions
    found = load(tmp_path)
    assert all(tracker.lock is None for tracker in found.batch.values())
    again = make(tmp_path)
    again.process_batch()
    # A record that failed is put aside by this run, or tried again by the next.
    assert consumer.seen + again.seen == (
        [] if consumer.checkpoint.start_pointer and isinstance(consumer, Fails) else ["1"]
    )
    assert again.checkpoint.start_pointer == 1


def test_a_checkpoint_that_leaves_records_out_is_asked_no_more(tmp_path: Path) -> None:
    class LeavesOut(SimpleCheckpoint):
        def mark_as_failed_or_exhausted(self, record: Any, *args: Any, **kwargs: Any) -> None:
            super().mark_as_failed_or_exhausted(record, *args, **kwargs)
            self.get_tracker(record).status = StatusEnum.ignored.value

    write(tmp_path, 1, 2)
    consumer = make(tmp_path, Fails)
    consumer.checkpoint = LeavesOut.load(str(tmp_path / "own.json"), str(tmp_path / "records.json"), max_attempts=2)
    consumer.process_batch()
    assert isinstance(consumer, Fails)
    assert consumer.aside == ["1", "2"]
    assert consumer.checkpoint.start_pointer == 2


def test_locks_that_0_1_2_has_stored_expire_whatever_is_configured_now(tmp_path: Path) -> None:
    checkpoint, record = load(tmp_path, lock_expire=60), DataClassRecord(id="1")
    checkpoint.update_for_new_batch([record])
    checkpoint.mark_as_in_progress(record, now=NOW)
    tracker = checkpoint.get_tracker(record)
    tracker.lock_expire_time = (NOW + timedelta(days=900)).isoformat()
    assert checkpoint.is_record_locked(record, now=NOW + timedelta(seconds=899))
    assert not checkpoint.is_record_locked(record, now=NOW + timedelta(seconds=900))


def test_files_that_cannot_be_replaced_are_written_in_place(tmp_path: Path) -> None:
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    durable.write(device, "gone")
    assert device.is_char_device()
    # A file that is a mount of its own, as containers have them.
    mounted, other = tmp_path / "mounted", tmp_path / "other"
    mounted.write_text("old")
    other.write_text("older")
    subprocess.run(["mount", "--bind", other, mounted], check=True)
    try:
        durable.write(mounted, "new")
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert (mounted.read_text(), other.read_text()) == ("old", "new")
    assert not list(tmp_path.glob(".*"))


def test_several_write_one_file(tmp_path: Path) -> None:
    """Each whole, whatever process, thread or container it is of: a pid is no name."""
    texts = [str(number) * 200_000 for number in range(4)]

    def write_often(text: str) -> None:
        for _ in range(20):
            durable.write(tmp_path / "state", text)

    threads = [threading.Thread(target=write_often, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with contextlib.suppress(FileNotFoundError):
            assert (tmp_path / "state").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_waits_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    write(tmp_path, 1)

    class Broken(Consumer):
        def process_record(self, record: DataClassRecord) -> None:
            raise KeyError

    consumer = make(
        tmp_path, Broken, exp_backoff_multiplier=2, exp_backoff_base=3, exp_backoff_min=4, exp_backoff_max=50
    )
    consumer.checkpoint.max_attempts = 6
    consumer.process_batch()
    assert waits == [4, 6, 18, 50, 50]


def test_a_stream_that_ends(tmp_path: Path) -> None:
    class Ends(Consumer):
        def get_records(self, limit: int | None = None) -> Any:
            return super().get_records(limit)[0], None

    write(tmp_path, 1, 2)
    consumer = make(tmp_path, Ends)
    with pytest.raises(StreamIsClosedError):
        consumer.run()
    assert consumer.seen == ["1", "2"]
