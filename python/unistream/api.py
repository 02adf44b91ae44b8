"""The API of unistream 0.1.2, on this engine: `import unistream.api as unistream`.

Programs written for 0.1.2 run unchanged, and what a 0.1.2 buffer still holds is taken over, in order, when it is first
opened: from plain files of the own user that have no other name. Lines of them that are no records are kept in
`<path_wal>.buffer/left-out.log`. New programs use `unistream.Producer`. docs/coming-from-0.1.2.md says what is the
same, what is better, and how to move on.
"""

from ._compat.abstraction import T_BUFFER, T_CHECK_POINT, T_CONSUMER, T_PRODUCER, T_RECORD
from ._compat.aws import AwsCloudWatchLogsProducer, AwsKinesisStreamProducer
from ._compat.checkpoint import T_POINTER, T_TRACKER, BaseCheckPoint, StatusEnum, Tracker
from ._compat.consumer import BaseConsumer, SimpleConsumer
from ._compat.exc import BufferIsEmptyError, ProcessError, SendError, StreamIsClosedError
from ._compat.file_buffer import BaseBuffer, FileBuffer
from ._compat.producer import BaseProducer, RetryConfig, SimpleProducer
from ._compat.records import T_DATA_CLASS_RECORD, T_KINESIS_RECORD, BaseRecord, DataClassRecord, KinesisRecord
from ._compat.simple_checkpoint import SimpleCheckpoint
from ._console import console as logger

__all__ = [
    "T_BUFFER",
    "T_CHECK_POINT",
    "T_CONSUMER",
    "T_DATA_CLASS_RECORD",
    "T_KINESIS_RECORD",
    "T_POINTER",
    "T_PRODUCER",
    "T_RECORD",
    "T_TRACKER",
    "AwsCloudWatchLogsProducer",
    "AwsKinesisStreamProducer",
    "BaseBuffer",
    "BaseCheckPoint",
    "BaseConsumer",
    "BaseProducer",
    "BaseRecord",
    "BufferIsEmptyError",
    "DataClassRecord",
    "FileBuffer",
    "KinesisRecord",
    "ProcessError",
    "RetryConfig",
    "SendError",
    "SimpleCheckpoint",
    "SimpleConsumer",
    "SimpleProducer",
    "StatusEnum",
    "StreamIsClosedError",
    "Tracker",
    "logger",
]
