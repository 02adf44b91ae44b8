"""The sinks of AWS as Python has them. What they do with services is tested in core/tests/aws and tests/aws."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import unistream
from service import Headers, serving
from unistream import CloudWatchLogsSink, KinesisSink, Producer, api

KEYS: Any = {"region": "eu-west-1", "access_key_id": "AKIDTEST", "secret_access_key": "hush"}


class Service:
    """Kinesis and CloudWatch Logs, as far as it goes: it takes what it is sent, but for records that are to fail."""

    url = ""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.failing: set[str] = set()
        self.authorizations: list[str] = []

    def serve(self, _path: str, headers: Headers, body: bytes) -> tuple[int, bytes]:
        """Answer a request."""
        self.authorizations.append(headers["authorization"])
        return 200, json.dumps(self.answer(json.loads(body))).encode()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a call."""
        if "logEvents" in body:
            self.calls.append([event["message"] for event in body["logEvents"]])
            return {"nextSequenceToken": "1"}
        records = [base64.b64decode(record["Data"]).decode() for record in body["Records"]]
        self.calls.append(records)
        entries = [
            {"ErrorCode": "InternalFailure", "ErrorMessage": "?"} if record in self.failing else {"SequenceNumber": "1"}
            for record in records
        ]
        return {"FailedRecordCount": 0, "Records": entries}


@pytest.fixture
def service() -> Iterator[Service]:
    """Run a service for one test."""
    service = Service()
    with serving(service.serve) as service.url:
        yield service


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("kinesis", unistream.KinesisOptions, {"stream"}),
        ("cloudwatch-logs", unistream.CloudWatchLogsOptions, {"group", "stream"}),
    ],
)
def test_the_keywords_are_those_of_the_table(kind: str, options: Any, named: set[str]) -> None:
    assert {row["key"] for row in unistream.options(kind)} == options.__optional_keys__ | named


def test_records_go_through_a_producer(tmp_path: Path, service: Service) -> None:
    sink = KinesisSink("clicks", endpoint_url=service.url, timeout=20, max_call_bytes="5MiB", ordered=False, **KEYS)
    assert sink.name == "kinesis:clicks"
    # One batch, not a part for each of its lanes.
    with Producer(tmp_path / "outbox", sink, max_in_flight=1) as producer:
        producer.put(b"one", key="user-7")
        producer.put({"id": "2"})
        producer.flush(timeout=30)
    assert service.calls == [["one", '{"id":"2"}']]
    assert "hush" not in repr(sink)
    logs = CloudWatchLogsSink("/app/web", "host-1", endpoint_url=service.url, create_if_missing=True, **KEYS)
    assert logs.name == "cloudwatch-logs:/app/web/host-1"
    with Producer(tmp_path / "logs", logs) as producer:
        producer.put("line")
        with pytest.raises(unistream.InvalidArgument):
            producer.put("")
        producer.flush(timeout=30)
    assert service.calls[1:] == [["line"]]


def test_wrong_options_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="colour"):
        KinesisSink("s", colour="red", **KEYS)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="ordered"):
        KinesisSink("s", ordered=3, **KEYS)  # type: ignore[arg-type]
    with pytest.raises(unistream.InvalidArgument, match="stream"):
        KinesisSink("no such name", **KEYS)
    with pytest.raises(unistream.InvalidArgument, match="region"):
        CloudWatchLogsSink("g", "s", region="not a region")


def test_credentials_that_are_no_callable_are_refused_when_the_sink_is_made() -> None:
    for credentials in [SimpleNamespace(access_key="A", secret_key="B", token=None), "A:B", ("A", "B")]:
        with pytest.raises(TypeError, match="credentials must be a callable"):
            KinesisSink("s", region="eu-west-1", credentials=credentials)  # type: ignore[arg-type]


def test_credentials_come_from_a_callable(tmp_path: Path, service: Service) -> None:
    asked: list[int] = []

    def credentials() -> SimpleNamespace:
        asked.append(1)
        if len(asked) == 1:
            raise RuntimeError("the vault is sealed")
        return SimpleNamespace(access_key="AKIDOURS", secret_key="hush", token=None)

    sink = KinesisSink("s", region="eu-west-1", endpoint_url=service.url, credentials=credentials)
    with Producer(tmp_path / "outbox", sink, schedule=unistream.Schedule(max=0)) as producer:
        producer.put("patient")
        producer.flush(timeout=30)
        assert producer.stats().unavailable_attempts == 1
        assert "the vault is sealed" in producer.stats().last_error
    assert service.calls == [["patient"]]
    assert "AKIDOURS" in service.authorizations[0]


def records(count: int) -> list[api.KinesisRecord]:
    """Return records with ids from 1."""
    return [api.KinesisRecord(id=str(n)) for n in range(1, count + 1)]


def test_the_old_producer_sends_again_only_what_failed(tmp_path: Path, service: Service) -> None:
    session = SimpleNamespace(
        region_name="eu-west-1",
        get_credentials=lambda: SimpleNamespace(
            get_frozen_credentials=lambda: SimpleNamespace(access_key="AKIDBOTO", secret_key="hush", token="token")
        ),
    )
    producer = api.AwsKinesisStreamProducer.new(
        buffer=api.FileBuffer.new(record_class=api.KinesisRecord, path_wal=tmp_path / "wal.log", max_records=3),
        retry_config=api.RetryConfig(exp_backoff=[0]),
        bsm=SimpleNamespace(boto_ses=session),
        stream_name="s",
        endpoint_url=service.url,
    )
    first, _, third = records(3)
    second = api.KinesisRecord(id="1")  # An id may repeat.
    service.failing.add(second.serialize())
    for record in (first, second):
        producer.put(record)
    with pytest.raises(api.SendError, match="1 of 3 records"):
        producer.put(third, skip_error=False)
    service.failing.clear()
    producer.put(api.KinesisRecord(id="4"), skip_error=False)
    assert service.calls == [[record.serialize() for record in (first, second, third)], [second.serialize()]]
    assert "AKIDBOTO" in service.authorizations[0]
    assert not producer.buffer.should_i_emit()


def test_the_old_record_is_encoded_once_and_read_both_ways() -> None:
    (record,) = records(1)
    data = record.to_put_record_data()
    assert json.loads(data) == {"id": "1", "create_at": record.create_at}
    assert api.KinesisRecord.from_get_record_data(data) == record
    assert api.KinesisRecord.from_get_record_data(base64.b64encode(data)) == record


def test_the_old_log_producer(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", service.url)
    producer = api.AwsCloudWatchLogsProducer.new(
        buffer=api.FileBuffer.new(record_class=api.DataClassRecord, path_wal=tmp_path / "wal.log", max_records=1),
        retry_config=api.RetryConfig(),
        log_group_name="g",
        log_stream_name="s",
    )
    record = api.DataClassRecord(id="1")
    producer.put(record, skip_error=False)
    assert service.calls == [[record.serialize()]]
    assert "AKIDENV" in service.authorizations[0]
