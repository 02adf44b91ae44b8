"""15 records in batches of 3 to Amazon CloudWatch Logs, with a send that fails now and then.

By default the log group is one of an emulator (`pip install boto3 moto flask flask-cors`), and what arrived in it is
printed at the end; with --aws it is one of your account, and made if it is missing.

Run it: python aws_cloudwatch_logs_producer.py [--aws] [--group NAME] [--pause SECONDS] [--seed NUMBER]
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
from unistream.api import AwsCloudWatchLogsProducer, DataClassRecord, FileBuffer, RetryConfig, SendError

aws: Any = boto3  # It has no types.

STREAM = "container-1"


@dataclasses.dataclass
class UnreliableProducer(AwsCloudWatchLogsProducer):
    """Fails to send now and then."""

    def send(self, records: list[Any]) -> None:
        """Send the records, or not."""
        if random.random() < 0.3:
            raise SendError("randomly failed due to send error")
        super().send(records)


def main() -> None:
    """Put 15 records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aws", action="store_true", help="real AWS, as the AWS tools are set up here")
    parser.add_argument("--group", default="unistream-example", help="the log group (default: unistream-example)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds before each record (default: 1)")
    parser.add_argument("--seed", type=int, help="make the failures repeatable")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.nullcontext() if arguments.aws else emulator(),
    ):
        producer = UnreliableProducer.new(
            buffer=FileBuffer.new(record_class=DataClassRecord, path_wal=Path(folder) / "buffer.log", max_records=3),
            retry_config=RetryConfig(exp_backoff=[1, 2, 4]),
            bsm=aws.Session(),
            log_group_name=arguments.group,
            log_stream_name=STREAM,
            create_if_missing=True,
        )
        for number in range(1, 16):
            time.sleep(arguments.pause)
            producer.put(DataClassRecord(id=str(number)), verbose=True)
        if not arguments.aws:
            events = aws.client("logs").get_log_events(
                logGroupName=arguments.group, logStreamName=STREAM, startFromHead=True
            )["events"]
            for event in events:
                print(f"in {STREAM}: {event['message']}")


if __name__ == "__main__":
    main()
