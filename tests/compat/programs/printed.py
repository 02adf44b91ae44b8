"""What `verbose` and the logger print."""

import enum
import time
from pathlib import Path

from unistream.api import DataClassRecord, FileBuffer, RetryConfig, SendError, SimpleConsumer, SimpleProducer, logger
from unistream.checkpoints.simple import SimpleCheckpoint


class Align(enum.Enum):
    left = "<"
    right = ">"
    middle = "^"


class Flaky(SimpleProducer):
    def send(self, records: list) -> None:
        if records[0].id == "3" and self.retry_config.attempts == 1:
            raise SendError("randomly failed due to send error")
        super().send(records)


producer = Flaky.new(
    buffer=FileBuffer.new(record_class=DataClassRecord, path_wal=Path("buffer.log"), max_records=2),
    retry_config=RetryConfig(exp_backoff=[0.3]),
    path_sink=Path("sink.log"),
)
for number in range(1, 7):
    producer.put(DataClassRecord(id=str(number), create_at="2024-01-07T07:31:41.482432+00:00"), verbose=True)
time.sleep(0.4)
producer.put(DataClassRecord(id="7", create_at="2024-01-07T07:31:41.482432+00:00"), verbose=True)
producer.put(DataClassRecord(id="8", create_at="2024-01-07T07:31:41.482432+00:00"))


class Consumer(SimpleConsumer):
    def process_record(self, record: DataClassRecord) -> None:
        logger.info(f"processing {record.id}")
        with logger.indent():
            logger.info("two\nlines", indent=1)


consumer = Consumer.new(
    record_class=DataClassRecord,
    path_source=Path("sink.log"),
    path_dlq=Path("dlq.log"),
    checkpoint=SimpleCheckpoint.load("checkpoint.json", "records.json"),
    limit=2,
)
consumer.process_batch(verbose=True)
consumer.process_batch()

for level in (logger.debug, logger.info, logger.warning, logger.error, logger.critical):
    print(level("message\ntwice", indent=2, tab="....", pipe="*"))
for align in Align:
    print(logger.ruler("ruler", "=", align, length=50, left_padding=3, right_padding=7, corner="#", func=str.upper))
with logger.pipe("*"):
    logger.info("starred")
    with logger.nested("!"):
        logger.ruler("nested")
        logger.info("deeper")
with logger.disabled():
    logger.info("not seen")
with logger.disabled(disable=False):
    logger.info("seen")
logger.off()
logger.info("not seen")
logger.on()


@logger.pretty_log(start_msg="{func_name} of {number}", end_msg="over", nest=2, length=60, char="~", pipe="%")
def work(number: int) -> int:
    logger.info("working")
    return number


@logger.start_and_end(msg="failing", start_emoji="", error_emoji="🔥", pipe="📦")
def fail() -> None:
    work(number=2)
    raise KeyError("no")


print(work(number=1))
try:
    fail()
except KeyError as error:
    print(repr(error))
logger.info("as before")
