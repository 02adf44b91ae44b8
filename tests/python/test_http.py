"""The HTTP sink as Python has it. What it does with servers is tested in core/tests/http and tests/http."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import unistream
from unistream import HttpSink, Producer


class Service:
    """It takes what it is sent, and keeps the bodies and the headers."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                service.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                service.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/in"


@pytest.fixture
def service() -> Iterator[Service]:
    """Run a service for one test."""
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever, args=(0.02,))
    thread.start()
    yield service
    service.server.shutdown()
    thread.join()
    service.server.server_close()


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
