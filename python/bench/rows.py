"""The Python rows of the benchmark, beside the libraries that do something comparable, measured in the same run.

Prints a table and writes `target/bench/python.json`. Figures are medians of rounds; only ratios mean anything on
another machine. What is timed is also checked: what went in must come out. An argument runs only the rows whose name
contains it.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import unistream

TARGET = Path(__file__).parents[2] / "target"
ROUNDS = 9
PAYLOAD = b"x" * 100
EVENT = {"id": "order-17", "user": "user-7", "value": 90, "price": 12.5, "paid": True}

DATED = {"at": datetime.datetime(2024, 1, 7, 7, 31, 41, 482432, datetime.UTC), "order": uuid.UUID(int=7)}
NESTED = {"lines": [EVENT | {"lines": [1, 2.5, None], "note": "größe"} for _ in range(4)], "user": {"name": "a" * 50}}

# What 0.1.2 does, in a process of its own: nanoseconds of a put to its buffer alone, and of a whole put.
PREDECESSOR = """
import json, sys, tempfile, time
from pathlib import Path
from unistream.api import DataClassRecord, FileBuffer, RetryConfig, SimpleProducer
count = 2000
folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
records = [DataClassRecord(id="x" * 36) for _ in range(count)]
def buffer(name):
    return FileBuffer.new(record_class=DataClassRecord, path_wal=folder / name, max_records=500)
alone = buffer("alone.log")
producer = SimpleProducer.new(buffer("whole.log"), RetryConfig(), folder / "sink.log")
figures = []
for put in (alone.put, producer.put):
    start = time.perf_counter()
    for record in records:
        put(record)
    figures.append((time.perf_counter() - start) / count * 1e9)
assert len((folder / "sink.log").read_text().splitlines()) == count
print(json.dumps(figures))
"""


@dataclass
class Row:
    """A line of the table: `ratio` is the value over the limit."""

    row: str
    unit: str
    value: float
    limit: float | None = None
    ratio: float | None = None


class Bench:
    """Measures and collects rows."""

    def __init__(self, folder: Path, only: str) -> None:
        """Measure in a folder, and only what is asked for."""
        self.folder, self.only = folder, only
        self.rows: list[Row] = []

    def wants(self, name: str) -> bool:
        """Whether a row is asked for."""
        return self.only in name

    def fresh(self) -> Path:
        """Return a new directory."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def row(self, name: str, unit: str, value: float, limit: float | None = None) -> None:
        """Note a row."""
        self.rows.append(Row(name, unit, value, limit, value / limit if limit else None))
        print(f"{name:<52} {value:>14,.0f} {unit}", flush=True)

    def put_bytes(self) -> None:
        """Measure put(bytes) and confluent-kafka's in-memory produce, in turns."""
        name = "Python put(bytes), 100 B"
        if not self.wants(name):
            return
        count, own, others = 200_000, [], []
        kafka = confluent()
        with unistream.Producer(self.fresh(), unistream.NullSink()) as producer:
            for _ in range(ROUNDS):
                own.append(cost(lambda: repeat(producer.put, PAYLOAD, count), count))
                producer.flush(60)
                if kafka is not None:
                    others.append(cost(lambda: repeat(kafka.produce, "topic", count, PAYLOAD), count))
                    assert len(kafka) == count
                    kafka.purge()
                    while len(kafka):
                        kafka.poll(0.01)
            assert producer.stats().delivered_records == count * ROUNDS
        self.row(name, "ns", statistics.median(own), 200)
        if others:
            self.row("confluent-kafka produce, memory only", "ns", statistics.median(others))
            gain = statistics.median(others) / statistics.median(own)
            self.row("Python put(bytes): gain over confluent-kafka", "x", gain, 5)

    def put_dict(self) -> None:
        """Measure put(dict) and json.dumps of the same dict alone, in turns."""
        name = "Python put(dict) of 5 fields"
        if not self.wants(name):
            return
        count, own, others = 100_000, [], []
        sent: list[bytes] = []
        sink = unistream.NullSink()
        with unistream.Producer(self.fresh(), sink) as producer:
            for _ in range(ROUNDS):
                own.append(cost(lambda: repeat(producer.put, EVENT, count), count))
                producer.flush(60)
                others.append(cost(lambda: repeat(json.dumps, EVENT, count), count))
        with unistream.Producer(self.fresh(), lambda batch: sent.extend(record.data for record in batch)) as check:
            check.put(EVENT)
            check.flush(60)
        assert [json.loads(data) for data in sent] == [EVENT]
        self.row(name, "ns", statistics.median(own), statistics.median(others))
        self.row("json.dumps of the same dict", "ns", statistics.median(others))

    def put_json(self) -> None:
        """Measure put of an object and put of what orjson makes of it, in turns."""
        if not importlib.util.find_spec("orjson"):
            return
        import orjson

        count = 100_000
        for name, event in (
            ("5 fields", EVENT),
            ("a date and a UUID too", EVENT | DATED),
            ("30 fields, nested", NESTED),
        ):
            row = f"Python put(dict), {name}"
            if not self.wants(row):
                continue
            own, others = [], []
            with unistream.Producer(self.fresh(), unistream.NullSink()) as producer:
                for _ in range(ROUNDS):
                    own.append(cost(lambda event=event: repeat(producer.put, event, count), count))  # type: ignore[misc]
                    producer.flush(60)

                    def by_orjson(event: Any = event, put: Any = producer.put, dumps: Any = orjson.dumps) -> None:
                        for _ in range(count):
                            put(dumps(event))

                    others.append(cost(by_orjson, count))
                    producer.flush(60)
            assert json.loads(unistream._native.encode(event)[0]) == json.loads(orjson.dumps(event))
            self.row(row, "ns", statistics.median(own), statistics.median(others))
            self.row(f"put(orjson.dumps()), {name}", "ns", statistics.median(others))

    def file_sink(self) -> None:
        """Measure records per second from put to the file that has them all."""
        name = "Python put to FileSink, end to end"
        if not self.wants(name):
            return
        count, rates = 2_000_000, []
        for _ in range(3):
            target = self.fresh() / "events.log"
            with unistream.Producer(self.fresh(), unistream.FileSink(target)) as producer:
                start = time.perf_counter()
                repeat(producer.put, PAYLOAD, count)
                producer.flush(120)
                rates.append(count / (time.perf_counter() - start))
            assert target.stat().st_size == count * (len(PAYLOAD) + 1)
            target.unlink()
        self.row(name, "records/s", statistics.median(rates), 2e6)

    def others(self) -> None:
        """Measure durable queues of the Python world."""
        if self.wants("sqlite3"):
            count = 3000
            database = sqlite3.connect(self.fresh() / "queue.db", isolation_level=None)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute("CREATE TABLE queue (id INTEGER PRIMARY KEY, data BLOB)")
            insert = "INSERT INTO queue (data) VALUES (?)"
            self.row(
                "sqlite3, WAL, NORMAL, one insert",
                "ns",
                cost(lambda: repeat(database.execute, insert, count, (PAYLOAD,)), count),
            )
            assert database.execute("SELECT count(*) FROM queue").fetchone() == (count,)
            database.close()
        if self.wants("persist-queue") and importlib.util.find_spec("persistqueue"):
            import persistqueue

            count = 1000
            for name, queue in (
                ("file", persistqueue.Queue(str(self.fresh()), autosave=True)),
                ("SQLite", persistqueue.SQLiteAckQueue(str(self.fresh()), auto_commit=True)),
            ):
                self.row(
                    f"persist-queue put, {name}", "ns", cost(lambda put=queue.put: repeat(put, PAYLOAD, count), count)
                )  # type: ignore[misc]
                assert queue.qsize() == count
        predecessor = TARGET / "predecessor"
        if self.wants("unistream 0.1.2") and predecessor.exists():
            environment = os.environ | {"PYTHONPATH": str(predecessor)}
            command = [sys.executable, "-c", PREDECESSOR, str(self.folder)]
            answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            alone, whole = json.loads(answer.stdout.splitlines()[-1])
            self.row("unistream 0.1.2, buffer put alone", "ns", alone)
            self.row("unistream 0.1.2, whole put", "ns", whole)

    def report(self, path: Path) -> None:
        """Print the table and write the rows."""
        print("\n| row | value | unit | limit | ratio |\n|---|---|---|---|---|")
        for row in self.rows:
            limit = "" if row.limit is None else f"{row.limit:,.0f}"
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            print(f"| {row.row} | {row.value:,.0f} | {row.unit} | {limit} | {ratio} |")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(row) for row in self.rows], indent=2))


def repeat(call: Callable[..., Any], argument: Any, count: int, *more: Any) -> None:
    """Call with the same arguments again and again."""
    if more:
        for _ in range(count):
            call(argument, *more)
    else:
        for _ in range(count):
            call(argument)


def cost(run: Callable[[], None], count: int) -> float:
    """Return the nanoseconds for each of `count`."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / count * 1e9


def confluent() -> Any:
    """Return a Kafka producer that has no broker: what it is given stays in memory."""
    if not importlib.util.find_spec("confluent_kafka"):
        return None
    from confluent_kafka import Producer

    limits = {"queue.buffering.max.messages": 10_000_000, "queue.buffering.max.kbytes": 2_000_000}
    return Producer(limits | {"log_level": 0})


def main() -> None:
    """Measure every row that is asked for."""
    (TARGET / "bench").mkdir(parents=True, exist_ok=True)
    base = os.environ.get("UNISTREAM_BENCH_DIR", TARGET / "bench")
    with tempfile.TemporaryDirectory(dir=base) as folder:
        bench = Bench(Path(folder), sys.argv[1] if len(sys.argv) > 1 else "")
        bench.put_bytes()
        bench.put_dict()
        bench.put_json()
        bench.file_sink()
        bench.others()
        bench.report(TARGET / "bench" / "python.json")


if __name__ == "__main__":
    main()
