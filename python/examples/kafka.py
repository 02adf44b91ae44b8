"""Puts records, lines of JSON from standard input, into a topic of Kafka, each once.

Run it: python kafka.py outbox host:9092 clicks user < events.ndjson

The last argument names the field whose value is the key: the records of a key stay in order. What is not delivered
within 30 seconds is in the outbox, and the next run sends it first. `KAFKA_USER` and `KAFKA_PASSWORD_FILE` say who is
there, by SCRAM over TLS.
"""

import json
import os
import sys

import unistream


def main() -> int:
    """Put the lines."""
    if len(sys.argv) != 5:
        print("usage: kafka.py OUTBOX BROKERS TOPIC KEY-FIELD", file=sys.stderr)
        return 2
    outbox, brokers, topic, field = sys.argv[1:]
    options: unistream.KafkaOptions = {"compression": "lz4", "id_header": "record-id"}
    if user := os.environ.get("KAFKA_USER"):
        options |= {
            "tls": True,
            "sasl": "scram-sha-512",
            "username": user,
            "password_file": os.environ["KAFKA_PASSWORD_FILE"],
        }
    producer = unistream.Producer(outbox, unistream.KafkaSink(brokers, topic, **options))
    for line in sys.stdin:
        producer.put(line.rstrip("\n"), key=str(json.loads(line)[field]).encode())
    left = producer.close(timeout=30)
    stats = producer.stats()
    print(f"{stats.delivered_records} delivered, {stats.dead_letters} dead letters, {left} left")
    if left:
        print(stats.last_error, file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
