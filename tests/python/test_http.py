"""The HTTP sink as Python has it. What it does with servers is tested in core/tests/http and tests/http."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import unistream
from service import Headers, serving
from unistream import HttpSink, Producer


class Service:
    """It takes what it is sent, and keeps the bodies and the headers; documents by their ids, as Elasticsearch does."""

    url = ""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[Headers] = []
        self.documents: dict[str, Any] = {}

    def serve(self, path: str, headers: Headers, body: bytes) -> tuple[int, bytes]:
        """Answer a request."""
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.bodies.append(body)
        self.headers.append(headers)
        if not path.endswith("/_bulk"):
            return 204, b""
        lines = [json.loads(line) for line in body.splitlines()]
        items = []
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            name = action["create"]["_id"]
            status = 409 if name in self.documents else 201
            self.documents.setdefault(name, document)
            error = {"error": {"type": "version_conflict_engine_exception", "reason": "exists"}}
            items.append({"create": {"_id": name, "status": status, **(error if status == 409 else {})}})
        return 200, json.dumps({"errors": False, "items": items}).encode()


@pytest.fixture
def service() -> Iterator[Service]:
    """Run a service for one test."""
    service = Service()
    with serving(service.serve) as url:
        service.url = f"{url}/in"
        yield service


def test_the_keywords_are_those_of_the_table() -> None:
    named = {"url", "headers", "token"}
    assert {row["key"] for row in unistream.options("http")} == unistream.HttpOptions.__optional_keys__ | named


def test_records_go_through_a_producer(tmp_path: Path, service: Service) -> None:
    sink = HttpSink(service.url, headers={"X-Api-Key": "hush-hush"}, token="quiet", body="json-array", timeout=20)
    assert sink.name == service.url.removesuffix("/in")
    with Producer(tmp_path / "outbox", sink) as producer:
        producer.put({"id": "1"})
        with pytest.raises(unistream.InvalidArgument, match="not JSON"):
            producer.put(b"plain text")
        producer.put({"id": "2"})
        producer.flush(timeout=30)
    assert service.bodies == [b'[{"id":"1"},{"id":"2"}]']
    headers = service.headers[0]
    assert (headers["x-api-key"], headers["authorization"]) == ("hush-hush", "Bearer quiet")
    assert headers["idempotency-key"]
    assert "hush" not in repr(sink)
    with Producer(tmp_path / "second", unistream.sink(f"{service.url}?record=envelope&compression=gzip")) as producer:
        producer.put(b"\xff")
        producer.flush(timeout=30)
    assert service.headers[1]["content-encoding"] == "gzip"


def test_tokens_come_from_a_callable(tmp_path: Path, service: Service) -> None:
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise RuntimeError("the vault is sealed")
        return f"token-{len(asked)}"

    sink = HttpSink(service.url, token=token)
    with Producer(tmp_path / "outbox", sink, schedule=unistream.Schedule(max=0)) as producer:
        producer.put({"id": "1"})
        producer.flush(timeout=30)
        assert producer.stats().unavailable_attempts == 1
        assert "the vault is sealed" in producer.stats().last_error
    assert service.headers[0]["authorization"] == "Bearer token-2"


def test_wrong_options_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="colour"):
        HttpSink("http://host", colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="token must be"):
        HttpSink("http://host", token=7)  # type: ignore[arg-type]
    for url in ("host", "ftp://host", "http://user:hush@host"):
        with pytest.raises(unistream.InvalidArgument, match="url") as raised:
            HttpSink(url)
        assert "hush" not in str(raised.value)


def test_secrets_come_from_files(tmp_path: Path, service: Service) -> None:
    (tmp_path / "password").write_text("hush-hush\n")
    (tmp_path / "keys").write_text("X-Api-Key: quiet\n")
    options: unistream.HttpOptions = {"username": "me", "compression": "zstd"}
    options["password_file"] = tmp_path / "password"
    options["secret_headers_file"] = tmp_path / "keys"
    sink = HttpSink(service.url, **options)
    with Producer(tmp_path / "outbox", sink) as producer:
        producer.put({"id": "1"})
        producer.flush(timeout=30)
    headers = service.headers[0]
    assert (headers["authorization"], headers["x-api-key"]) == ("Basic bWU6aHVzaC1odXNo", "quiet")
    assert headers["content-encoding"] == "zstd"
    with pytest.raises(unistream.InvalidArgument, match="password_file takes the path"):
        unistream.sink(f"{service.url}?username=me&password=hush")
    with pytest.raises(unistream.InvalidArgument, match="splunk_hec"):
        HttpSink(service.url, acknowledge=True)


def test_what_a_service_refuses_is_a_dead_letter_and_what_it_cannot_take_waits(tmp_path: Path) -> None:
    status = 503

    def answer(_path: str, _headers: Headers, body: bytes) -> tuple[int, bytes]:
        return (422, b"no two") if b"2" in body and status == 200 else (status, b"")

    waits = unistream.Schedule(waits=[0.01], jitter="none")
    with (
        serving(answer) as url,
        Producer(tmp_path / "outbox", HttpSink(url), schedule=waits, max_in_flight=1) as producer,
    ):
        for number in (1, 2, 3):
            producer.put({"n": number})
        with pytest.raises(unistream.Timeout):
            producer.flush(timeout=0.2)
        assert "503" in producer.stats().last_error
        status = 200
        producer.flush(timeout=30)
        assert (producer.stats().delivered_records, producer.stats().dead_letters) == (2, 1)


def test_the_example_puts_each_document_once(tmp_path: Path, service: Service) -> None:
    example = Path(__file__).parents[2] / "python" / "examples" / "elastic.py"
    lines = "".join(f'{{"n": {number}}}\n' for number in range(1000)) + "no json\n"
    done = subprocess.run(
        [sys.executable, example, tmp_path / "outbox", f"{service.url}/logs"],
        input=lines,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1000 delivered, 0 dead letters, 0 left\n"
    assert done.stderr.count("left out: ") == 1
    assert sorted(document["n"] for document in service.documents.values()) == list(range(1000))
