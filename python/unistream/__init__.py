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

`help(unistream.Producer)` and so on say more of each:

    Producer               puts records and sends them: put, put_many, flush, stats, dead_letters, close
    Buffer                 the durable FIFO alone
    Schedule               the waits between attempts, and when to give up
    DeliveryReport         what became of one record, as `put_reported` and `put_confirmed` tell it
    Stats                  what a producer has done and is doing, as `producer.stats()` returns it
    Batch, Record          what a sink is given
    Report                 what a sink may return, to answer per record
    DeadLetters, DeadLetter, DeadRecord
                           what was given up on, and why
    Sink                   what may be a sink: a callable, an object with `send`, plain or async, or one of
    FileSink, HttpSink, KinesisSink, CloudWatchLogsSink, KafkaSink, NullSink
                           the sinks that are built in
    sink, sinks            make a sink by its URL; list the kinds, each a `SinkKind`
    register_sink          add a kind of your own
    options                the table of options, of producers or of a kind of sink
    Options, BufferOptions, HttpOptions, KinesisOptions, CloudWatchLogsOptions, KafkaOptions
                           the same as types of keywords
    unistream.logging      a handler for `logging`
    unistream.prometheus, unistream.opentelemetry
                           the numbers of producers for those who collect them
    unistream.api          the producers of unistream 0.1.2

Every error is a `UnistreamError`, with `kind`, `retryable` and `record_accepted`:

    of the call            InvalidArgument, RecordTooLarge, WrongMode, Reentrant, Closed, Forked, NotFound, Unsupported
    later calls may work   BufferFull, DiskFull, ResourceExhausted, InUse, Timeout
    of the disk            DiskError, PermissionDenied, NotTrusted, UnsupportedFormat
    of the sink            SendFailed, RetriesExhausted, DeadLettersFull
    raised by a sink       SinkUnavailable, BatchRejected
    of unistream           InternalError
"""

from ._delivery import (
    DeliveryReport as DeliveryReport,
)
from ._errors import (
    BatchRejected as BatchRejected,
)
from ._errors import (
    BufferFull as BufferFull,
)
from ._errors import (
    Closed as Closed,
)
from ._errors import (
    DeadLettersFull as DeadLettersFull,
)
from ._errors import (
    DiskError as DiskError,
)
from ._errors import (
    DiskFull as DiskFull,
)
from ._errors import (
    Forked as Forked,
)
from ._errors import (
    InternalError as InternalError,
)
from ._errors import (
    InUse as InUse,
)
from ._errors import (
    InvalidArgument as InvalidArgument,
)
from ._errors import (
    NotFound as NotFound,
)
from ._errors import (
    NotTrusted as NotTrusted,
)
from ._errors import (
    PermissionDenied as PermissionDenied,
)
from ._errors import (
    RecordTooLarge as RecordTooLarge,
)
from ._errors import (
    Reentrant as Reentrant,
)
from ._errors import (
    ResourceExhausted as ResourceExhausted,
)
from ._errors import (
    RetriesExhausted as RetriesExhausted,
)
from ._errors import (
    SendFailed as SendFailed,
)
from ._errors import (
    SinkUnavailable as SinkUnavailable,
)
from ._errors import (
    Timeout as Timeout,
)
from ._errors import (
    UnistreamError as UnistreamError,
)
from ._errors import (
    Unsupported as Unsupported,
)
from ._errors import (
    UnsupportedFormat as UnsupportedFormat,
)
from ._errors import (
    WrongMode as WrongMode,
)
from ._native import (
    Batch as Batch,
)
from ._native import (
    CloudWatchLogsSink as CloudWatchLogsSink,
)
from ._native import (
    DeadLetter as DeadLetter,
)
from ._native import (
    DeadLetters as DeadLetters,
)
from ._native import (
    DeadRecord as DeadRecord,
)
from ._native import (
    FileSink as FileSink,
)
from ._native import (
    HttpSink as HttpSink,
)
from ._native import (
    KafkaSink as KafkaSink,
)
from ._native import (
    KinesisSink as KinesisSink,
)
from ._native import (
    NullSink as NullSink,
)
from ._native import (
    Record as Record,
)
from ._native import (
    Report as Report,
)
from ._native import (
    __version__ as __version__,
)
from ._native import (
    options as options,
)
from ._options import (
    BufferOptions as BufferOptions,
)
from ._options import (
    CloudWatchLogsOptions as CloudWatchLogsOptions,
)
from ._options import (
    HttpOptions as HttpOptions,
)
from ._options import (
    KafkaOptions as KafkaOptions,
)
from ._options import (
    KinesisOptions as KinesisOptions,
)
from ._options import (
    Options as Options,
)
from ._options import (
    Schedule as Schedule,
)
from ._options import (
    Stats as Stats,
)
from ._producer import (
    Buffer as Buffer,
)
from ._producer import (
    Producer as Producer,
)
from ._registry import (
    SinkKind as SinkKind,
)
from ._registry import (
    register_sink as register_sink,
)
from ._registry import (
    sink as sink,
)
from ._registry import (
    sinks as sinks,
)
from ._sink import (
    Sink as Sink,
)
