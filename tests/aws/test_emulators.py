"""What we put, read back by boto3 from servers that others wrote."""

import re
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from conftest import REGION, Ship, client

TEXTS = ["plain", '{"id": "1"}', "ünï \u2028 \u0001", "=+/", "x" * 5000]


def make_stream(url: str, name: str, shards: int) -> Any:
    kinesis = client("kinesis", url)
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    deadline = time.monotonic() + 60
    while kinesis.describe_stream(StreamName=name)["StreamDescription"]["StreamStatus"] != "ACTIVE":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return kinesis


def read_stream(kinesis: Any, name: str) -> list[list[tuple[str, str]]]:
    """Key and payload of every record, by shard."""
    shards = []
    for shard in kinesis.describe_stream(StreamName=name)["StreamDescription"]["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records: list[tuple[str, str]] = []
        while True:
            answer = kinesis.get_records(ShardIterator=iterator, Limit=1000)
            records += [(record["PartitionKey"], record["Data"].decode()) for record in answer["Records"]]
            iterator = answer.get("NextShardIterator")
            if not answer["Records"] or iterator is None:
                break
        shards.append(records)
    return shards


def url_of(endpoint: str, stream: str, **options: str) -> str:
    pairs = {"endpoint_url": endpoint, "region": REGION, **options}
    return f"kinesis://{stream}?" + "&".join(f"{key}={quote(value, safe='')}" for key, value in pairs.items())


def test_kinesis_takes_what_we_put(kinesis_url: str, ship: Ship) -> None:
    kinesis = make_stream(kinesis_url, "takes", 3)
    lines = [f"key-{n % 50}\t{text} {n}" for n, text in enumerate(TEXTS * 60)]
    done = ship(url_of(kinesis_url, "takes"), lines)
    assert done.stdout == "300 delivered, 0 dead letters, 0 left\n", done.stderr
    taken = [record for shard in read_stream(kinesis, "takes") for record in shard]
    assert sorted(taken) == sorted(tuple(line.split("\t")) for line in lines)


def test_kinesis_keeps_the_order_of_a_key(kinesis_url: str, ship: Ship) -> None:
    kinesis = make_stream(kinesis_url, "ordered", 2)
    lines = [f"key-{n % 10}\t{n:04}" for n in range(200)]
    done = ship(url_of(kinesis_url, "ordered", ordered="true"), lines)
    assert done.stdout == "200 delivered, 0 dead letters, 0 left\n", done.stderr
    by_key: dict[str, list[str]] = defaultdict(list)
    for shard in read_stream(kinesis, "ordered"):
        for key, data in shard:
            by_key[key].append(data)
    assert sum(len(records) for records in by_key.values()) == 200
    assert all(records == sorted(records) for records in by_key.values())


def test_kinesis_takes_explicit_hash_keys(kinesis_url: str, ship: Ship) -> None:
    kinesis = make_stream(kinesis_url, "hashed", 2)
    done = ship(url_of(kinesis_url, "hashed", explicit_hash_key=str(2**127 + 1)), ["a\t1", "b\t2", "c\t3"])
    assert done.returncode == 0, done.stderr
    shards = read_stream(kinesis, "hashed")
    assert [len(shard) for shard in shards] == [0, 3]


def test_kinesis_takes_full_calls(kinesis_url: str, ship: Ship) -> None:
    kinesis = make_stream(kinesis_url, "full", 4)
    lines = [f"{n}\t{n}" for n in range(1200)]
    done = ship(url_of(kinesis_url, "full"), lines)
    assert done.stdout == "1200 delivered, 0 dead letters, 0 left\n", done.stderr
    taken = sorted(int(data) for shard in read_stream(kinesis, "full") for _, data in shard)
    assert taken == list(range(1200))


def test_a_missing_stream_keeps_the_records_until_there_is_one(kinesis_url: str, ship: Ship) -> None:
    url = url_of(kinesis_url, "late")
    done = ship(url, ["k\tpatient"], seconds=1)
    assert done.returncode == 1
    assert done.stdout == "0 delivered, 0 dead letters, 1 left\n"
    assert "ResourceNotFoundException" in done.stderr
    kinesis = make_stream(kinesis_url, "late", 1)
    done = ship(url, ["k\tsecond"])
    assert done.stdout == "2 delivered, 0 dead letters, 0 left\n", done.stderr
    assert read_stream(kinesis, "late") == [[("k", "patient"), ("k", "second")]]


def logs_url_of(endpoint: str, place: str, **options: str) -> str:
    return url_of(endpoint, place, **options).replace("kinesis://", "cloudwatch-logs://", 1)


def read_events(logs: Any, group: str, stream: str) -> list[Any]:
    events: list[Any] = []
    token: dict[str, str] = {}
    while True:
        answer = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, **token)
        if not answer["events"]:
            return events
        events += answer["events"]
        token = {"nextToken": answer["nextForwardToken"]}


def test_logs_take_what_we_put(logs_url: str, ship: Ship) -> None:
    before = int(time.time() * 1000) - 1000
    lines = [f"{text} {n}" for n, text in enumerate(TEXTS * 60)]
    url = logs_url_of(logs_url, "/app/web/2024%2F01", create_if_missing="true")
    done = ship(url, lines)
    assert done.stdout == "300 delivered, 0 dead letters, 0 left\n", done.stderr
    events = read_events(client("logs", logs_url), "/app/web", "2024/01")
    # Calls are under way side by side, so that lines of one millisecond have no order.
    assert sorted(event["message"] for event in events) == sorted(lines)
    assert all(before <= event["timestamp"] <= time.time() * 1000 + 1000 for event in events)


@pytest.mark.parametrize("group_exists", [False, True])
def test_a_missing_log_stream_is_not_made_unasked(logs_url: str, ship: Ship, group_exists: bool) -> None:
    logs = client("logs", logs_url)
    group = f"unasked-{group_exists}"
    if group_exists:
        logs.create_log_group(logGroupName=group)
    url = logs_url_of(logs_url, f"{group}/stream")
    done = ship(url, ["patient"], seconds=1)
    assert (done.returncode, done.stdout) == (1, "0 delivered, 0 dead letters, 1 left\n")
    assert "ResourceNotFoundException" in done.stderr
    done = ship(url + "&create_if_missing=true", [])
    assert done.stdout == "1 delivered, 0 dead letters, 0 left\n", done.stderr
    assert [event["message"] for event in read_events(logs, group, "stream")] == ["patient"]


def test_c_reaches_kinesis(kinesis_url: str, ship_by_c: Ship) -> None:
    kinesis = make_stream(kinesis_url, "by-c", 1)
    done = ship_by_c("kinesis", TEXTS, stream="by-c", region=REGION, endpoint_url=kinesis_url, partition_key="one")
    assert (done.returncode, done.stdout) == (0, "0 left\n"), done.stderr
    assert read_stream(kinesis, "by-c") == [[("one", text) for text in TEXTS]]


def test_c_reaches_logs(logs_url: str, ship_by_c: Ship) -> None:
    done = ship_by_c(
        "cloudwatch-logs",
        TEXTS,
        group="by-c",
        stream="s",
        region=REGION,
        endpoint_url=logs_url,
        create_if_missing="true",
    )
    assert (done.returncode, done.stdout) == (0, "0 left\n"), done.stderr
    assert sorted(event["message"] for event in read_events(client("logs", logs_url), "by-c", "s")) == sorted(TEXTS)


PROGRAM = """
import sys, unistream
texts = {texts!r}
kinesis = unistream.KinesisSink("by-python", endpoint_url=sys.argv[1], partition_key="one")
with unistream.Producer("outbox", kinesis) as producer:
    producer.put_many(texts)
    producer.flush(timeout=30)
"""


def test_python_reaches_kinesis(kinesis_url: str, run_python: Ship, tmp_path: Path) -> None:
    kinesis = make_stream(kinesis_url, "by-python", 1)
    program = PROGRAM.format(texts=TEXTS).replace('"outbox"', repr(str(tmp_path / "outbox")))
    done = run_python("-c", program, kinesis_url)
    assert done.returncode == 0, done.stderr
    assert read_stream(kinesis, "by-python") == [[("one", text) for text in TEXTS]]


@pytest.mark.parametrize(
    ("example", "seed"), [("aws_kinesis_producer.py", "5"), ("aws_cloudwatch_logs_producer.py", "1")]
)
def test_the_examples_of_python(example: str, seed: str, run_python: Ship) -> None:
    path = Path(__file__).parents[2] / "python" / "examples" / example
    done = run_python(str(path), "--pause", "0.3", "--seed", seed)
    assert done.returncode == 0, done.stderr
    # Each batch that succeeded is in the service, in order, and nothing else.
    sent = re.findall(r"send records: (\[.*\])\n.*succeeded", done.stdout)
    arrived = re.findall(r"^in .*\bid'?\"?[=:] ?['\"](\d+)", done.stdout, re.MULTILINE)
    assert [n for batch in sent for n in re.findall(r"\d+", batch)] == arrived
    assert len(arrived) >= 9
    assert "randomly failed due to send error" in done.stdout
