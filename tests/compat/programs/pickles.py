"""Writes pickles to a file, or reads those that another version wrote: `write PATH` or `read PATH`."""

import pickle
import sys
from pathlib import Path

from unistream.api import (
    BaseCheckPoint,
    BufferIsEmptyError,
    DataClassRecord,
    ProcessError,
    RetryConfig,
    SendError,
    SimpleCheckpoint,
    StatusEnum,
    StreamIsClosedError,
    Tracker,
)

NOON = "2024-01-07T12:00:00+00:00"
tracker = Tracker("1", StatusEnum.failed.value, 2, NOON, NOON, errors={"error": "x"})
pointers = dict(lock_expire=1, max_attempts=2, initial_pointer=3, start_pointer=4, next_pointer=None, batch_sequence=5)
values = [
    DataClassRecord("1", NOON),
    RetryConfig([1, 2], 3, last_error=SendError("x")),
    BufferIsEmptyError("x"),
    ProcessError("x", 1),
    StreamIsClosedError(),
    *StatusEnum,
    tracker,
    BaseCheckPoint(**pointers, batch={"1": tracker}),
    SimpleCheckpoint(**pointers, batch={}, checkpoint_file="c", records_file="r"),
    DataClassRecord,
    Tracker,
]
path = Path(sys.argv[2])
if sys.argv[1] == "write":
    path.write_bytes(pickle.dumps(values, 4))
else:
    for value, expected in zip(pickle.loads(path.read_bytes()), values, strict=True):
        same = repr(value) == repr(expected) if isinstance(value, Exception | RetryConfig) else value == expected
        print(type(value).__name__, same, repr(value))
