"""The plugin `unistream-aws-kinesis`, as it comes from PyPI, beside this version: it produces and consumes."""

import base64
import dataclasses
import hashlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
import unistream
import unistream_aws_kinesis.api as plugin
from unistream.api import FileBuffer, RetryConfig, SendError, SimpleCheckpoint, StreamIsClosedError

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from-0.1.2.md").read_text()


def test_pip_finds_nothing_wrong_with_the_plugin_beside_this_version() -> None:
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert importlib.metadata.version("unistream") == unistream.__version__ != "0.1.2"
    assert importlib.metadata.version("unistream-aws-kinesis") == "0.1.1"
    # The plugin is what was published.
    sources = [file for file in importlib.metadata.files("unistream-aws-kinesis") or () if file.suffix == ".py"]
    assert len(sources) >= 6
    for source in sources:
        assert source.hash is not None
        digest = hashlib.new(source.hash.mode, source.read_binary()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == source.hash.value
    # It came with the predecessor, and would have come with this version too.
    needs = importlib.metadata.requires("unistream") or []
    assert [need for need in needs if "extra ==" not in need] == ["func-args>=1.0.2,<2"]
    # What 0.1.2 alone needed is not here.
    for gone in ("tenacity", "vislog"):
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(gone)


@pytest.mark.parametrize("first", ["producer", "consumer", "records", "api"])
def test_it_is_imported_in_any_order(first: str, tmp_path: Path) -> None:
    program = f"import unistream_aws_kinesis.{first}, unistream_aws_kinesis.api as api; print(len(dir(api)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path).returncode == 0


@dataclasses.dataclass(frozen=True)
class Click(plugin.KinesisRecord):
    page: str = ""

    @property
    def partition_key(self) -> str:
        return self.page


@pytest.fixture
def stream(at_aws: str, request: pytest.FixtureRequest) -> str:
    """Make a stream; return its name."""
    name = f"stream-{abs(hash(request.node.name))}"
    boto3.client("kinesis").create_stream(StreamName=name, ShardCount=1)
    boto3.client("kinesis").get_waiter("stream_exists").wait(StreamName=name)
    return name


class Flaky(plugin.AwsKinesisStreamProducer):
    failing = False

    def send(self, records: list[Any]) -> Any:
        if self.failing:
            raise SendError("told to")
        return super().send(records)


def make_producer(folder: Path, stream: str) -> Flaky:
    return Flaky.new(
        buffer=FileBuffer.new(record_class=Click, path_wal=folder / "clicks.log", max_records=3),
        retry_config=RetryConfig(exp_backoff=[0]),
        kinesis_client=boto3.client("kinesis"),
        stream_name=stream,
    )


class Consumer(plugin.AwsKinesisStreamConsumer):
    """Fails on some records at first, on some for ever."""

    def process_record(self, record: Click) -> None:
        if record.page == "broken" or (record.page == "slow" and self.checkpoint.batch[record.id].attempts < 2):
            raise ValueError(record.page)
        SEEN.append(record.id)

    def process_failed_record(self, record: Click) -> None:
        SEEN.append(f"failed {record.id}")


SEEN: list[str] = []


def make_consumer(folder: Path, stream: str) -> Consumer:
    client = boto3.client("kinesis")
    (shard,) = plugin.KinesisStreamShard.from_list_shards_response(client.list_shards(StreamName=stream))
    start = client.get_shard_iterator(StreamName=stream, ShardId=shard.ShardId, ShardIteratorType="TRIM_HORIZON")
    pointer = start["ShardIterator"]
    return Consumer.new(
        record_class=Click,
        consumer_id="consumer",
        kinesis_client=client,
        stream_name=stream,
        shard_id=shard.ShardId,
        checkpoint=SimpleCheckpoint.load(
            str(folder / "checkpoint.json"),
            str(folder / "records.json"),
            initial_pointer=pointer,
            start_pointer=pointer,
            max_attempts=2,
        ),
        limit=4,
        exp_backoff_min=0,
        exp_backoff_max=0,
        delay=0,
    )


def test_it_produces_and_consumes(tmp_path: Path, stream: str) -> None:
    SEEN.clear()
    producer = make_producer(tmp_path, stream)
    for number in range(1, 15):
        if number in (5, 10):
            producer = make_producer(tmp_path, stream)
        producer.failing = number in (3, 4, 6, 9)
        producer.put(Click(id=str(number), page={4: "slow", 7: "broken"}.get(number, "page")))
    # One batch a put, so that the last full one may still wait: it goes with the next put.
    while producer.buffer.should_i_emit():
        producer.put(Click(id="more", page="page"))
    consumer = make_consumer(tmp_path, stream)
    for turn in range(8):
        if turn == 2:
            consumer = make_consumer(tmp_path, stream)
        consumer.process_batch()
    numbers = [seen for seen in SEEN if seen != "more"]
    assert numbers == [str(number) if number != 7 else "failed 7" for number in range(1, len(numbers) + 1)]
    assert len(numbers) >= 12


def test_a_consumer_that_runs_ends_with_its_stream(tmp_path: Path, stream: str) -> None:
    """A shard that was closed says so; what it had was processed."""
    SEEN.clear()
    consumer = make_consumer(tmp_path, stream)
    producer = make_producer(tmp_path, stream)
    for number in range(1, 7):
        producer.put(Click(id=str(number), page="page"))
    client = consumer.kinesis_client

    class Closing:
        """The shard ends with the second call."""

        calls = 0

        def get_records(self, **arguments: Any) -> Any:
            self.calls += 1
            answer = client.get_records(**arguments)
            return answer if self.calls < 2 else {**answer, "NextShardIterator": None}

    consumer.kinesis_client = Closing()
    with pytest.raises(StreamIsClosedError):
        consumer.run()
    assert [str(number) for number in range(1, 7)] == SEEN


EXAMPLES = re.findall(r"### (.*?)\n.*?```python before\n(.*?)```.*?```python after\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("title", "before", "after"), EXAMPLES, ids=[title for title, _, _ in EXAMPLES])
def test_the_examples_of_the_page(
    tmp_path: Path, at_aws: str, monkeypatch: pytest.MonkeyPatch, title: str, before: str, after: str
) -> None:
    """The program after goes on with what the program before has left."""
    monkeypatch.chdir(tmp_path)
    kinesis, logs = boto3.client("kinesis"), boto3.client("logs")
    match title:
        case "Amazon Kinesis Data Streams":
            kinesis.create_stream(StreamName="clicks", ShardCount=1)
        case "Amazon CloudWatch Logs":
            logs.create_log_group(logGroupName="app")
            logs.create_log_stream(logGroupName="app", logStreamName="container-1")
    for program in (before, after):
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
    match title:
        case "A file":
            arrived = (tmp_path / "target.log").read_text().splitlines()
        case "Amazon Kinesis Data Streams":
            (shard,) = kinesis.list_shards(StreamName="clicks")["Shards"]
            start = kinesis.get_shard_iterator(
                StreamName="clicks", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            found = kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]
            # The first batch went by the plugin.
            arrived = [plugin.KinesisRecord.from_get_record_data(record["Data"]).serialize() for record in found[:3]]
            arrived += [record["Data"].decode() for record in found[3:]]
        case _:
            events = logs.get_log_events(logGroupName="app", logStreamName="container-1", startFromHead=True)["events"]
            arrived = [event["message"] for event in events]
    ids = re.findall(r'"id": ?"(\d+)"', "\n".join(arrived))
    assert sorted(ids, key=int) == [str(number) for number in range(1, 11)]
    if title == "A file":
        assert ids == sorted(ids, key=int)
