"""Directories that 0.1.2 has just written, whole or torn, are taken over: every record that is in them, in order.

Those that an earlier 0.1.2 wrote are in `tests/fixtures`, and `tests/python/test_api.py` takes them over.
"""

import json
import os
import signal
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import OLD, Run
from unistream.api import BufferIsEmptyError, DataClassRecord, FileBuffer

WRITE = """
import sys, time
from pathlib import Path
from unistream.api import DataClassRecord, FileBuffer
records, max_records, times = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
buffer = FileBuffer.new(record_class=DataClassRecord, path_wal=Path("app.log"), max_records=max_records)
for number in range(1, records + 1):
    second = {"rise": number, "fall": 999 - number, "equal": 0}[times]
    create_at = f"2024-01-07T07:{second // 60:02}:{second % 60:02}+00:00"
    if times == "fall":
        # The times of files alone say the order then, and a file system keeps them in steps of some milliseconds.
        time.sleep(0.02)
    buffer.put(DataClassRecord(id=str(number), create_at=create_at))
"""


def files(folder: Path) -> list[Path]:
    """Return what 0.1.2 has left, in the order in which it was written."""
    found = [path for path in folder.iterdir() if path.is_file() and path.stat().st_size]
    return sorted(found, key=lambda path: (path.name == "app.log", path.stat().st_mtime_ns, path.name))


def in_files(folder: Path) -> list[str]:
    lines = [line for path in files(folder) for line in path.read_text().split("\n")[:-1]]
    return [DataClassRecord.deserialize(line).id for line in lines]


def take(folder: Path, **limits: int) -> list[str]:
    """Take it over, put one more, and take everything out."""
    buffer = FileBuffer.new(record_class=DataClassRecord, path_wal=folder / "app.log", **limits)
    assert files(folder) == []
    buffer.put(DataClassRecord(id="more"))
    ids: list[str] = []
    while True:
        try:
            ids += [record.id for record in buffer.emit()]
        except BufferIsEmptyError:
            return ids
        buffer.commit()


@pytest.mark.parametrize("times", ["rise", "fall", "equal"])
@pytest.mark.parametrize(("records", "max_records"), [(2, 10), (10, 10), (11, 10), (35, 10), (7, 1)])
def test_whole(tmp_path: Path, old: Run, records: int, max_records: int, times: str) -> None:
    old(WRITE, records, max_records, times)
    held = in_files(tmp_path)
    if times != "equal" or records < 2 * max_records:
        assert held == [str(number) for number in range(1, records + 1)]
    else:
        # 0.1.2 replaces a full file by the next one of its name.
        assert 0 < len(held) < records
    assert take(tmp_path, max_records=4) == [*held, "more"]


def test_torn(tmp_path: Path, old: Run) -> None:
    """Wherever a crash cut the last line."""
    old(WRITE, 13, 5, "rise")
    held = in_files(tmp_path)
    line = (tmp_path / "app.log").read_bytes().splitlines(keepends=True)[-1]
    for cut in range(1, len(line) + 1, 7):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        for path in files(tmp_path):
            data, found = path.read_bytes(), path.stat()
            (folder / path.name).write_bytes(data[:-cut] if path.name == "app.log" else data)
            os.utime(folder / path.name, ns=(found.st_atime_ns, found.st_mtime_ns))
        # The line's end alone may be missing.
        assert take(folder, max_records=5) == [*(held if cut == 1 else held[:-1]), "more"]


def test_killed_while_it_puts(tmp_path: Path) -> None:
    """What 0.1.2 had put when it was killed is sent by this version."""
    text = WRITE.replace("    buffer.put(", "    print(number - 1, flush=True)\n    buffer.put(")
    command = [OLD, "-c", text, "1000000", "7", "rise"]
    program = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    for _ in range(200):
        line = program.stdout.readline()
        assert line, "it ended"
    program.send_signal(signal.SIGKILL)
    rest = program.stdout.read().splitlines()
    program.wait()
    program.stdout.close()
    put = int([line, *rest][-1])
    ids = take(tmp_path, max_records=7)
    assert ids[:put] == [str(number) for number in range(1, put + 1)]
    # The one that it was putting may be there, or be torn.
    assert ids[put:] in (["more"], [str(put + 1), "more"])


def test_the_owner_goes_back_when_all_is_sent(tmp_path: Path, old: Run, new: Run) -> None:
    """0.1.2 begins anew where this version left nothing, though our directory is there."""
    old(WRITE, 13, 5, "rise")
    assert len(take(tmp_path, max_records=5)) == 14
    old(WRITE, 3, 5, "rise")
    assert in_files(tmp_path) == ["1", "2", "3"]
    assert take(tmp_path, max_records=5) == ["1", "2", "3", "more"]


def test_a_consumer_goes_on_with_what_0_1_2_has_stored_and_back(tmp_path: Path, old: Run, new: Run) -> None:
    program = """
import sys
from pathlib import Path
from unistream.api import DataClassRecord, SimpleCheckpoint, SimpleConsumer
class Consumer(SimpleConsumer):
    def process_record(self, record):
        if record.id == sys.argv[1]:
            sys.exit("stopped while processing")
        print(record.id)
Path("source.log").write_text("".join(DataClassRecord(id=str(n)).serialize() + "\\n" for n in range(1, 21)))
checkpoint = SimpleCheckpoint.load("checkpoint.json", "records.json")
consumer = Consumer.new(DataClassRecord, Path("source.log"), Path("dlq"), checkpoint, limit=3, exp_backoff_max=0)
for _ in range(int(sys.argv[2])):
    consumer.process_batch()
"""
    assert old(program, "none", 2).split() == list("123456")
    assert new(program, "none", 2).split() == ["7", "8", "9", "10", "11", "12"]
    assert old(program, "none", 1).split() == ["13", "14", "15"]
    # It dies while it processes 17, which it then has locked for 900 days.
    died = subprocess.run([OLD, "-c", program, "17", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert (died.returncode, died.stdout.split()) == (1, ["16"])
    # Nobody else takes it until its 900 seconds are over; what comes behind it in the batch is processed.
    assert new(program, "none", 1).split() == ["18"]
    assert new(program, "none", 2).split() == []
    # As if they were over.
    checkpoint = json.loads((tmp_path / "checkpoint.json").read_text())
    tracker = checkpoint["batch"]["17"]
    assert tracker["lock"]
    for time in ("lock_time", "lock_expire_time"):
        tracker[time] = (datetime.fromisoformat(tracker[time]) - timedelta(seconds=901)).isoformat()
    (tmp_path / "checkpoint.json").write_text(json.dumps(checkpoint))
    assert new(program, "none", 2).split() == ["17", "19", "20"]


def test_a_class_that_cannot_read_it_takes_nothing(tmp_path: Path, old: Run) -> None:
    """It is another one, or what it asks is away: the error comes out, and with the right class all is there."""

    class Other(DataClassRecord):
        @classmethod
        def deserialize(cls, data: str) -> "Other":
            raise error

    old(WRITE, 13, 5, "rise")
    held = in_files(tmp_path)
    for error in (TypeError("no such field"), OSError("the keys are away"), ValueError("not of this kind")):
        with pytest.raises(type(error), match=str(error)) as raised:
            FileBuffer.new(record_class=Other, path_wal=tmp_path / "app.log", max_records=5)
        assert raised.value.__notes__[-1].endswith(" of a file of unistream 0.1.2 is no Other; the file is as it was")
        assert in_files(tmp_path) == held
    assert take(tmp_path, max_records=5) == [*held, "more"]
    assert not (tmp_path / "app.log.buffer" / "left-out.log").exists()
