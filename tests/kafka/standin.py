"""A stand-in for Kafka that comes with librdkafka: it says where its brokers are, and ends with its input."""

import sys

from confluent_kafka import Producer

cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 3, "log_level": 0})
brokers = cluster.list_topics(timeout=30).brokers
print(",".join(f"{broker.host}:{broker.port}" for broker in brokers.values()), flush=True)
sys.stdin.read()
