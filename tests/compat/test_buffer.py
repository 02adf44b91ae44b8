"""What was a fault in 0.1.2's producer half, or in what stands in its place here."""

import copy
import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import OLD
from unistream.api import DataClassRecord, FileBuffer, RetryConfig, SimpleProducer


def make(folder: Path, max_records: int = 3) -> SimpleProducer:
    buffer = FileBuffer.new(record_class=DataClassRecord, path_wal=folder / "app.log", max_records=max_records)
    return SimpleProducer.new(buffer, RetryConfig(exp_backoff=[0]), folder / "sink.log")


def sent(folder: Path) -> list[str]:
    return [DataClassRecord.deserialize(line).id for line in (folder / "sink.log").read_text().splitlines()]


class Interrupted:
    """A buffer of the engine whose commit is broken off once, when it is done."""

    def __init__(self, buffer: Any, error: BaseException) -> None:
        self.buffer, self.errors = buffer, [error]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.buffer, name)

    def commit(self, batch: Any) -> None:
        self.buffer.commit(batch)
        if self.errors:
            raise self.errors.pop()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TimeoutError()])
def test_a_commit_that_is_interrupted_holds_nothing_up(tmp_path: Path, error: BaseException) -> None:
    producer = make(tmp_path)
    buffer: Any = producer.buffer
    buffer._buffer = Interrupted(buffer._buffer, error)
    for number in range(15):
        try:
            producer.put(DataClassRecord(id=str(number)))
        except KeyboardInterrupt:
            assert number == 2
    assert sent(tmp_path) == [str(number) for number in range(15)]


def test_a_buffer_is_pickled_and_copied_by_its_files(tmp_path: Path) -> None:
    producer = make(tmp_path)
    producer.put(DataClassRecord(id="1"))
    assert dataclasses.asdict(producer)["buffer"] is producer.buffer
    assert copy.deepcopy(producer).buffer is producer.buffer
    assert producer.to_kwargs()["buffer"] is producer.buffer
    again = pickle.loads(pickle.dumps(producer))
    again.put(DataClassRecord(id="2"))
    again.put(DataClassRecord(id="3"))
    assert sent(tmp_path) == ["1", "2", "3"]
    # One of 0.1.2, whose records are in its files.
    program = """
import pickle, sys
from pathlib import Path
from unistream.api import DataClassRecord, FileBuffer
buffer = FileBuffer.new(record_class=DataClassRecord, path_wal=Path("old.log"), max_records=2)
for number in range(3):
    buffer.put(DataClassRecord(id=str(number)))
sys.stdout.buffer.write(pickle.dumps(buffer))
"""
    pickled = subprocess.run([OLD, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout
    program = """
import pickle, sys
buffer = pickle.loads(sys.stdin.buffer.read())
print([record.id for record in buffer.emit()], buffer.n_records)
"""
    read = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, input=pickled, stdout=subprocess.PIPE, check=True
    )
    assert read.stdout.decode().strip() == "['0', '1'] 1"


def test_a_batch_may_become_smaller_while_it_fills(tmp_path: Path) -> None:
    producer = make(tmp_path, max_records=9)
    producer.buffer.max_records = 2
    producer.put(DataClassRecord(id="1"))
    producer.put(DataClassRecord(id="2"))
    assert sent(tmp_path) == ["1", "2"]


@pytest.mark.parametrize("output", ["ascii", "full", "closed"])
def test_what_cannot_be_printed_stops_no_record(tmp_path: Path, output: str) -> None:
    program = """
from pathlib import Path
from unistream.api import DataClassRecord, FileBuffer, RetryConfig, SimpleProducer
buffer = FileBuffer.new(record_class=DataClassRecord, path_wal=Path("app.log"), max_records=2)
producer = SimpleProducer.new(buffer, RetryConfig(exp_backoff=[0]), Path("sink.log"))
import sys
if sys.argv[1] == "closed":
    sys.stdout.close()
for number in range(4):
    producer.put(DataClassRecord(id=str(number)), verbose=True)
"""
    command = f"exec {sys.executable} -u -c '{program}' {output}" + (
        " > /dev/full" if output == "full" else " > printed"
    )
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"} if output == "ascii" else {})
    assert sent(tmp_path) == ["0", "1", "2", "3"]
