"""15 records in batches of 3 to a stream of Amazon Kinesis Data Streams, with a send that fails now and then.

By default the stream is one of an emulator (`pip install boto3 moto flask flask-cors`), and what arrived in it is
printed at the end; with --aws it is one of your account, which must exist.

Run it: python aws_kinesis_producer.py [--aws] [--stream NAME] [--pause SECONDS] [--seed NUMBER]
"""

import argparse
import contextlib
import dataclasses
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
from _emulator import emulator
from unistream.api import AwsKinesisStreamProducer, FileBuffer, KinesisRecord, RetryConfig, SendError

aws: Any = boto3  # It has no types.


@dataclasses.dataclass
class MyRecord(KinesisRecord):
    """A record with a value."""

    value: int = dataclasses.field(default_factory=lambda: random.randint(1, 100))


@dataclasses.dataclass
class UnreliableProducer(AwsKinesisStreamProducer):
    """Fails to send now and then."""

    def send(self, records: list[Any]) -> None:
        """Send the records, or not."""
        if random.random() < 0.3:
            raise SendError("randomly failed due to send error")
        super().send(records)


def print_stream(name: str) -> None:
    """Print the stream's records, by boto3."""
    kinesis = aws.client("kinesis")
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        for record in kinesis.get_records(ShardIterator=iterator)["Records"]:
            print(f"in {shard['ShardId']}: {MyRecord.from_get_record_data(record['Data'])}")


def main() -> None:
    """Put 15 records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aws", action="store_true", help="real AWS, as the AWS tools are set up here")
    parser.add_argument("--stream", default="unistream-example", help="the stream (default: unistream-example)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds before each record (default: 1)")
    parser.add_argument("--seed", type=int, help="make the failures repeatable")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.nullcontext() if arguments.aws else emulator(),
    ):
        if not arguments.aws:
            aws.client("kinesis").create_stream(StreamName=arguments.stream, ShardCount=1)
        producer = UnreliableProducer.new(
            buffer=FileBuffer.new(record_class=MyRecord, path_wal=Path(folder) / "buffer.log", max_records=3),
            retry_config=RetryConfig(exp_backoff=[1, 2, 4]),
            bsm=aws.Session(),
            stream_name=arguments.stream,
        )
        for number in range(1, 16):
            time.sleep(arguments.pause)
            producer.put(MyRecord(id=str(number)), verbose=True)
        if not arguments.aws:
            print_stream(arguments.stream)


if __name__ == "__main__":
    main()
