"""Order by key: each of 64 keys keeps its order, and eight calls are under way at once.

The sink takes 50 ms a call, whatever is in it. The program sends the same records twice: one batch at a time, then in
eight lanes. It fails if a key has lost its order or a record is missing, and prints how much faster the lanes were.

Run it: python lanes.py
"""

import tempfile
import threading
import time
from pathlib import Path
from typing import Literal

import unistream

RECORDS = 64 * 98


def key_of(number: int) -> str:
    """Name a square of a chessboard."""
    return f"{'abcdefgh'[number % 8]}{number // 8 % 8 + 1}"


class Receiver:
    """A sink that takes its time, and sees to it that each key is in order."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.records = 0
        self.in_order = True
        self.last: dict[bytes | None, int] = {}

    def __call__(self, batch: unistream.Batch) -> None:
        """Take a batch."""
        time.sleep(0.05)
        with self.lock:
            for record in batch:
                number = int(record.data)
                self.in_order &= self.last.get(record.key, -1) < number
                self.last[record.key] = number
                self.records += 1


def run(path: Path, order: Literal["total", "key"], in_flight: int) -> float:
    """Send all records. Returns how many a second."""
    receiver = Receiver()
    with unistream.Producer(
        path, receiver, order=order, max_in_flight=in_flight, max_records=80, linger=None
    ) as producer:
        begin = time.monotonic()
        for number in range(RECORDS):
            producer.put(str(number).encode(), key=key_of(number))
        producer.flush(timeout=60)
        rate = RECORDS / (time.monotonic() - begin)
    if (receiver.records, len(receiver.last), receiver.in_order) != (RECORDS, 64, True):
        raise SystemExit(f"{receiver.records} records of {len(receiver.last)} keys, in order: {receiver.in_order}")
    print(f"order {order}, {in_flight} in flight: {rate:.0f} records/s, each key in order")
    return rate


def main() -> None:
    """Compare."""
    with tempfile.TemporaryDirectory() as folder:
        one = run(Path(folder) / "outbox", "total", 1)
        eight = run(Path(folder) / "outbox", "key", 8)
    print(f"{eight / one:.1f} times the records")


if __name__ == "__main__":
    main()
