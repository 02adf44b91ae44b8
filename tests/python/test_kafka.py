"""The Kafka sink as Python has it. What it does with brokers is tested in core/tests/kafka and tests/kafka."""

from pathlib import Path

import pytest
import unistream
from unistream import KafkaSink, Producer


def test_the_keywords_are_those_of_the_table() -> None:
    named = {"brokers", "topic"}
    assert {row["key"] for row in unistream.options("kafka")} == unistream.KafkaOptions.__optional_keys__ | named


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(unistream.InvalidArgument, match="host:9092"):
        KafkaSink("host:x", "topic")
    with pytest.raises(TypeError, match="colour"):
        KafkaSink("host", "topic", colour="red")  # type: ignore[call-arg]
    with pytest.raises(unistream.InvalidArgument, match="token"):
        KafkaSink("host", "topic", sasl="oauthbearer", username="me")
    with pytest.raises(unistream.Unsupported, match="transactions"):
        KafkaSink("host", "topic", once="transactions")  # type: ignore[arg-type]


def test_a_cluster_that_is_away_costs_no_record(tmp_path: Path) -> None:
    sink = KafkaSink("127.0.0.1:1", "topic", sasl="plain", username="me", password="hush-hush", connect_timeout=0.2)
    assert sink.name == "kafka:topic"
    assert "hush" not in repr(sink)
    with Producer(tmp_path / "outbox", sink) as producer:
        producer.put(b"data", key=b"key", topic="other", headers={"h": b"v"})
        with pytest.raises(unistream.InvalidArgument, match="topic"):
            producer.put(b"data", topic="no topic")
        with pytest.raises(unistream.Timeout):
            producer.flush(timeout=0.5)
        stats = producer.stats()
        assert (stats.pending_records, stats.failed_attempts) == (1, 0)
        assert "127.0.0.1:1" in stats.last_error
