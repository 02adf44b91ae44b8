"""A producer that survives: 15 records in batches of 3, to a file, with a send that fails half the time.

Between puts the producer is made anew at random, as if the program had died and been started again; nothing is lost,
nothing is sent out of order. The output is that of the SimpleProducer example in the specification.

Run it: python simple_producer.py [--pause SECONDS] [--seed NUMBER] [--dir DIRECTORY]
"""

import argparse
import dataclasses
import random
import tempfile
import time
from pathlib import Path

from unistream.api import DataClassRecord, FileBuffer, RetryConfig, SendError, SimpleProducer


@dataclasses.dataclass
class UnreliableProducer(SimpleProducer):
    """Fails to send half the time."""

    def send(self, records: list[DataClassRecord]) -> None:
        """Send the records, or not."""
        if random.random() < 0.5:
            raise SendError("randomly failed due to send error")
        super().send(records)


def make_producer(folder: Path) -> UnreliableProducer:
    """Make a producer; one that is there already is taken over from."""
    return UnreliableProducer.new(
        buffer=FileBuffer.new(record_class=DataClassRecord, path_wal=folder / "buffer.log", max_records=3),
        retry_config=RetryConfig(exp_backoff=[1, 2, 4]),
        path_sink=folder / "target.log",
    )


def main() -> None:
    """Put 15 records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds before each record (default: 1)")
    parser.add_argument("--seed", type=int, help="make the failures and restarts repeatable")
    parser.add_argument("--dir", type=Path, help="where the files go (default: a temporary directory)")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.dir or Path(temporary)
        producer = make_producer(folder)
        for number in range(1, 16):
            time.sleep(arguments.pause)
            if random.random() < 0.3:
                producer = make_producer(folder)
            producer.put(DataClassRecord(id=str(number)), verbose=True)


if __name__ == "__main__":
    main()
