"""An embedded, durable producer.

`put` returns when the record is in a write-ahead log on local disk, where it survives the death of the process; a
background thread sends batches to a sink, retries on a schedule, and forgets what the sink accepted.

>>> import unistream
>>> def send(batch):
...     for record in batch:
...         print(record.seq, record.data)
>>> with unistream.Producer(path, send) as producer:
...     _ = producer.put(b"raw bytes")
...     _ = producer.put("text", key="user-7")
...     _ = producer.put({"id": "1", "value": 90})
...     producer.flush(timeout=30)
1 b'raw bytes'
2 b'text'
3 b'{"id":"1","value":90}'
"""

from ._errors import (
    BatchRejected,
    BufferFull,
    Closed,
    DeadLettersFull,
    DiskError,
    DiskFull,
    Forked,
    InternalError,
    InUse,
    InvalidArgument,
    NotFound,
    NotTrusted,
    PermissionDenied,
    RecordTooLarge,
    Reentrant,
    ResourceExhausted,
    RetriesExhausted,
    SendFailed,
    SinkUnavailable,
    Timeout,
    UnistreamError,
    Unsupported,
    UnsupportedFormat,
    WrongMode,
)
from ._native import (
    Batch,
    CloudWatchLogsSink,
    DeadLetter,
    DeadLetters,
    DeadRecord,
    FileSink,
    HttpSink,
    KinesisSink,
    NullSink,
    Record,
    Report,
    __version__,
    options,
)
from ._options import BufferOptions, CloudWatchLogsOptions, HttpOptions, KinesisOptions, Options, Schedule, Stats
from ._producer import Buffer, Producer
from ._registry import SinkKind, register_sink, sink, sinks
from ._sink import Sink

__all__ = [
    "Batch",
    "BatchRejected",
    "Buffer",
    "BufferFull",
    "BufferOptions",
    "Closed",
    "CloudWatchLogsOptions",
    "CloudWatchLogsSink",
    "DeadLetter",
    "DeadLetters",
    "DeadLettersFull",
    "DeadRecord",
    "DiskError",
    "DiskFull",
    "FileSink",
    "Forked",
    "HttpOptions",
    "HttpSink",
    "InUse",
    "InternalError",
    "InvalidArgument",
    "KinesisOptions",
    "KinesisSink",
    "NotFound",
    "NotTrusted",
    "NullSink",
    "Options",
    "PermissionDenied",
    "Producer",
    "Record",
    "RecordTooLarge",
    "Reentrant",
    "Report",
    "ResourceExhausted",
    "RetriesExhausted",
    "Schedule",
    "SendFailed",
    "Sink",
    "SinkKind",
    "SinkUnavailable",
    "Stats",
    "Timeout",
    "UnistreamError",
    "Unsupported",
    "UnsupportedFormat",
    "WrongMode",
    "__version__",
    "options",
    "register_sink",
    "sink",
    "sinks",
]
