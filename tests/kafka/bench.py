"""Measures the Kafka sink beside librdkafka, both idempotent, against the same broker in the same run; prints the rows.

Ours is durable on disk before it is sent, theirs is in memory. librdkafka is driven from Python by confluent-kafka,
whose call for each record is in its figures.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster import Cluster, running
from confluent_kafka import Producer

PLACE = Path(os.environ["KAFKA_TEST_PLACE"])
ROUNDS = 5

Round = dict[str, float]


def ours(cluster: Cluster, topic: str, size: int, records: int, *options: str) -> list[Round]:
    command = [sys.argv[1], cluster.brokers, topic, str(size), str(records), str(ROUNDS), *options]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
    return [json.loads(line) for line in said.splitlines()]


def theirs(cluster: Cluster, topic: str, size: int, records: int) -> list[Round]:
    payload = b"x" * size
    rounds = []
    for _ in range(ROUNDS):
        producer = Producer(
            {"bootstrap.servers": cluster.brokers, "enable.idempotence": True, "partitioner": "murmur2"}
        )
        producer.produce(topic, payload)
        assert producer.flush(60) == 0
        wall, cpu = time.perf_counter(), processor()
        for n in range(records):
            while True:
                try:
                    producer.produce(topic, payload, key=n.to_bytes(8, "little"))
                    break
                except BufferError:
                    producer.poll(0.01)
        assert producer.flush(600) == 0
        wall, cpu = time.perf_counter() - wall, processor() - cpu
        rounds.append({"records": records / wall, "cpu": cpu / records})
    return rounds


def processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    rows: list[dict[str, object]] = []

    def row(what: str, unit: str, factor: float, key: str, of: list[Round], beside: list[Round]) -> None:
        value, limit = (statistics.median(r[key] for r in rounds) * factor for rounds in (of, beside))
        row = f"kafka sink, once, {what}, beside librdkafka"
        rows.append({"row": row, "unit": unit, "value": value, "limit": limit, "ratio": value / limit})

    with tempfile.TemporaryDirectory() as place, running(Path(place), PLACE / "jars", 1) as cluster:
        for size, records in ((100, 300_000), (1000, 100_000)):
            beside = theirs(cluster, cluster.create(f"theirs-{size}", 6), size, records)
            for name, options in (("defaults", ()), ("max_records=5000", ("max_records=5000",))):
                of = ours(cluster, cluster.create(f"ours-{size}-{len(options)}", 6), size, records, *options)
                row(f"{size} B, {name}", "records/s", 1.0, "records", of, beside)
                row(f"{size} B, {name}, CPU time a record", "us/record", 1e6, "cpu", of, beside)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
