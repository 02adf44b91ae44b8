"""A FileBuffer that is looked at while it works, made anew now and then, and derived from."""

import random
from collections.abc import Iterable
from pathlib import Path

from unistream.abstraction import AbcBuffer, AbcRecord
from unistream.api import BaseBuffer, BufferIsEmptyError, DataClassRecord, FileBuffer

PATH = Path("buffer.log")
numbers = iter(range(1000))


class Counting(FileBuffer):
    """Overrides what a program may override."""

    puts = 0

    @classmethod
    def new(cls, path_wal: Path, max_records: int) -> "Counting":
        return super().new(record_class=DataClassRecord, path_wal=path_wal, max_records=max_records)

    def put(self, record: DataClassRecord) -> None:
        type(self).puts += 1
        super().put(record)


def record() -> DataClassRecord:
    number = next(numbers)
    return DataClassRecord(id=str(number), create_at=f"2024-01-07T12:{number // 60:02}:{number % 60:02}+00:00")


def ids(records: Iterable[AbcRecord]) -> str:
    return " ".join(record.id for record in records)


def look(buffer: FileBuffer) -> None:
    print(
        buffer.n_records,
        [record.id for record in buffer.memory_queue],
        list(buffer.memory_serialization_queue) == [record.serialize() for record in buffer.memory_queue],
        len(buffer.storage_queue),
        [ids(buffer._read_log_file(path)) for path in buffer.storage_queue],
        buffer.storage_queue == type(buffer.storage_queue)(reversed(buffer._get_old_log_files())),
        buffer.should_i_emit(),
        buffer.path_wal.exists(),
        PATH.exists() and ids(buffer._read_log_file(buffer.path_wal)),
        buffer.emitted_records and ids(buffer.emitted_records),
    )


def drain(buffer: FileBuffer) -> None:
    while True:
        try:
            print("emitted", ids(buffer.emit()), buffer.emit() is buffer.emitted_records)
        except BufferIsEmptyError as error:
            print(type(error).__mro__)
            break
        buffer.commit()
        look(buffer)


print(issubclass(FileBuffer, BaseBuffer), issubclass(BaseBuffer, AbcBuffer))
buffer = Counting.new(PATH, 3)
print(buffer.path_wal, buffer.max_records, buffer.max_bytes, buffer.record_class.__name__)
buffer.clear_wal()
look(buffer)
try:
    buffer.commit()
except IndexError as error:
    print(type(error))
# 0.1.2 draws from the module's own.
chance = random.Random(1)
for _ in range(60):
    match chance.choice("pppppper"):
        case "p":
            buffer.put(record())
        case "e" if buffer.should_i_emit():
            print("emitted", ids(buffer.emit()))
            look(buffer)
            buffer.commit()
        case "r":
            # A restart forgets what was emitted and not committed.
            buffer = Counting.new(path_wal=PATH, max_records=3)
        case _:
            pass
    look(buffer)
# What fills no batch is emitted too. 0.1.2 did so from the newest to the oldest: let it be one.
while buffer.n_records != 1:
    buffer.put(record())
drain(buffer)
print(Counting.puts)
for _ in range(5):
    buffer.put(record())
buffer.clear_wal()
look(buffer)
buffer.put(record())
look(buffer)
drain(buffer)
by_size = FileBuffer.new(DataClassRecord, Path("by_size.log"), max_records=100, max_bytes=1)
by_size.put(record())
print(by_size.should_i_emit(), ids(by_size.emit()))
