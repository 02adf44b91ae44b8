"""What an outage is: every usual client against a target that refuses, hangs, resets, breaks off or says no."""

import asyncio
import errno
import http.client
import importlib
import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import botocore.session
import grpc
import httpx
import pymongo
import pytest
import redis
import requests
import unistream
import urllib3
from botocore.config import Config
from unistream import Batch, Producer, Schedule, _outage

Send = Callable[[Batch], None]


def judged(path: Path, send: Callable[[Batch], object], **keywords: Any) -> tuple[str, unistream.Stats]:
    """Let a sink make one attempt; return what that counted as."""
    schedule = Schedule(waits=[60], max_attempts=5)
    with Producer(path, send, mode="inline", max_records=1, schedule=schedule, **keywords) as producer:  # type: ignore[arg-type]
        producer.put(b"x")
        stats = producer.stats()
        producer.close(0)
    assert stats.attempts == 1
    assert stats.delivered_records == 0
    if stats.unavailable_attempts:
        return "unavailable", stats
    return ("failed" if stats.failed_attempts else "rejected"), stats


@contextmanager
def server(answer: Callable[[socket.socket], None] | None) -> Iterator[int]:
    """Listen on a free port and treat each connection as `answer` does; `None` refuses them all."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if answer is None:
        # Bound and not listening: refused, and nobody else gets the port meanwhile.
        try:
            yield port
        finally:
            listener.close()
        return
    listener.listen(16)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield port
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)


def hang(connection: socket.socket) -> None:
    connection.settimeout(10)
    while connection.recv(4096):
        pass


def reset(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang_up(connection: socket.socket) -> None:
    connection.recv(65536)


def break_off(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort")


def replies(status: int, headers: str = "", body: bytes = b"no") -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    return answer


FAULTS: dict[str, Callable[[socket.socket], None] | None] = {
    "refuses": None,
    "hangs": hang,
    "resets": reset,
    "hangs up": hang_up,
    "breaks off": break_off,
}


def by_urllib(port: int, timeout: float = 0.5) -> Send:
    def send(batch: Batch) -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=b"x", timeout=timeout).read()

    return send


def by_http_client(port: int, timeout: float = 0.5) -> Send:
    def send(batch: Batch) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request("POST", "/", b"x")
            connection.getresponse().read()
        finally:
            connection.close()

    return send


def by_requests(port: int, timeout: float = 0.5) -> Send:
    def send(batch: Batch) -> None:
        requests.post(f"http://127.0.0.1:{port}/", data=b"x", timeout=timeout).raise_for_status()

    return send


def by_urllib3(port: int, timeout: float = 0.5) -> Send:
    def send(batch: Batch) -> None:
        with urllib3.PoolManager() as pool:
            pool.request("POST", f"http://127.0.0.1:{port}/", body=b"x", timeout=timeout, retries=0)

    return send


def by_httpx(port: int, timeout: float = 0.5) -> Send:
    def send(batch: Batch) -> None:
        with httpx.Client(timeout=timeout) as client:
            client.post(f"http://127.0.0.1:{port}/", content=b"x").raise_for_status()

    return send


def by_aiohttp(port: int, timeout: float = 0.5) -> Send:
    async def post() -> None:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout), raise_for_status=True) as session,
            session.post(f"http://127.0.0.1:{port}/", data=b"x") as response,
        ):
            await response.read()

    def send(batch: Batch) -> None:
        asyncio.run(post())

    return send


def kinesis(port: int, timeout: float) -> Any:
    session = botocore.session.Session()
    session.set_credentials("key", "secret")
    config = Config(connect_timeout=timeout, read_timeout=timeout, retries={"total_max_attempts": 1})
    return session.create_client(
        "kinesis", region_name="eu-central-1", endpoint_url=f"http://127.0.0.1:{port}", config=config
    )


def by_botocore(port: int, timeout: float = 0.5) -> Send:
    client = kinesis(port, timeout)

    def send(batch: Batch) -> None:
        client.put_record(StreamName="s", Data=b"x", PartitionKey="k")

    return send


CLIENTS = {
    "urllib": by_urllib,
    "http.client": by_http_client,
    "requests": by_requests,
    "urllib3": by_urllib3,
    "httpx": by_httpx,
    "aiohttp": by_aiohttp,
    "botocore": by_botocore,
}


# botocore takes an answer that breaks off for the whole answer.
CASES = [(client, fault) for client in CLIENTS for fault in FAULTS if (client, fault) != ("botocore", "breaks off")]


@pytest.mark.parametrize(("client", "fault"), CASES)
def test_nobody_answers(path: Path, client: str, fault: str) -> None:
    """An outage: it once emptied the backlog into the dead letters within ten attempts."""
    with server(FAULTS[fault]) as port:
        verdict, stats = judged(path, CLIENTS[client](port))
    assert verdict == "unavailable", stats.last_error


# Where the server answers, a busy machine is no outage.
PATIENT = 30.0
STATUS_CLIENTS = {name: CLIENTS[name] for name in ("urllib", "requests", "httpx", "aiohttp")}


@pytest.mark.parametrize("client", STATUS_CLIENTS)
def test_statuses(tmp_path: Path, client: str) -> None:
    expected = {
        "unavailable": [401, 407, 408, 429, 500, 502, 503, 504, 599],
        "failed": [400, 403, 404, 409, 413, 422, 501, 505],
    }
    for verdict, statuses in expected.items():
        for status in statuses:
            if (client, status) == ("urllib", 401):
                continue
            with server(replies(status)) as port:
                said, stats = judged(tmp_path / str(status), STATUS_CLIENTS[client](port, PATIENT))
            assert said == verdict, (status, stats.last_error)


@pytest.mark.parametrize("client", [*STATUS_CLIENTS, "botocore"])
def test_the_target_says_when(path: Path, client: str) -> None:
    """`Retry-After` is a floor under the schedule's wait."""
    body = b'{"__type":"LimitExceededException"}'
    with server(replies(503, "Retry-After: 3000\r\n", body)) as port:
        verdict, stats = judged(path, CLIENTS[client](port, PATIENT))
    assert verdict == "unavailable"
    assert 2_900_000 < stats.next_attempt_ms <= 3_000_000


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("ProvisionedThroughputExceededException", "unavailable"),
        ("ThrottlingException", "unavailable"),
        ("ExpiredTokenException", "unavailable"),
        ("ValidationException", "failed"),
        ("AccessDeniedException", "failed"),
    ],
)
def test_codes_of_aws(path: Path, code: str, verdict: str) -> None:
    with server(replies(400, body=json.dumps({"__type": code, "message": "no"}).encode())) as port:
        assert judged(path, by_botocore(port, PATIENT))[0] == verdict


def test_missing_credentials_are_an_outage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    client = botocore.session.Session().create_client("kinesis", region_name="eu-central-1")
    verdict, stats = judged(path, lambda _: client.put_record(StreamName="s", Data=b"x", PartitionKey="k"))
    assert verdict == "unavailable"
    assert "NoCredentialsError" in stats.last_error


def test_other_clients(tmp_path: Path) -> None:
    def by_redis(batch: Batch) -> None:
        with redis.Redis(port=port, socket_timeout=0.5) as client:
            client.ping()

    def by_pymongo(batch: Batch) -> None:
        with pymongo.MongoClient[dict[str, Any]](port=port, serverSelectionTimeoutMS=200) as client:
            client.admin.command("ping")

    def by_grpc(batch: Batch) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            channel.unary_unary("/a.B/C")(b"x", timeout=5)

    with server(None) as port:
        for send in (by_redis, by_pymongo, by_grpc):
            verdict, stats = judged(tmp_path / send.__name__, send)
            assert verdict == "unavailable", stats.last_error


def test_names_that_nobody_knows(path: Path) -> None:
    def send(batch: Batch) -> None:
        socket.getaddrinfo("no name", 80, flags=socket.AI_NUMERICHOST)

    verdict, stats = judged(path, send)
    assert (verdict, "gaierror" in stats.last_error) == ("unavailable", True)


def test_every_row_of_the_table_is_a_class() -> None:
    """A renamed exception would be a failure again, and nobody would see it."""
    for row in _outage.TABLE:
        module, _, name = row.rpartition(".")
        found = getattr(importlib.import_module(module), name)
        assert issubclass(found, BaseException), row
        # socket.herror and its like have the module that they are found by.
        assert f"{found.__module__}.{found.__qualname__}" == row


def test_the_table_is_in_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "python" / "README.md").read_text()
    for row in _outage.TABLE:
        name = row.removeprefix("builtins.")
        assert f"`{name}`" in guide, row


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ConnectionResetError(), "unavailable"),
        (BrokenPipeError("plain text"), "unavailable"),
        (TimeoutError("took long"), "unavailable"),
        (TimeoutError(), "unavailable"),
        (OSError(errno.ENETUNREACH, "no network"), "unavailable"),
        (OSError(errno.ENOSPC, "disk full"), "unavailable"),
        (PermissionError(errno.EACCES, "no"), "unavailable"),
        (FileNotFoundError(errno.ENOENT, "no socket there"), "unavailable"),
        (OSError(errno.EMSGSIZE, "too long"), "failed"),
        (OSError(errno.EINVAL, "bad argument"), "failed"),
        (OSError("plain text"), "failed"),
        (requests.exceptions.InvalidURL("bad"), "failed"),
        (requests.exceptions.JSONDecodeError("bad", "", 0), "failed"),
        (httpx.UnsupportedProtocol("bad"), "failed"),
        (aiohttp.InvalidURL("bad"), "failed"),
        (urllib3.exceptions.LocationParseError("bad"), "failed"),
        (redis.exceptions.DataError("bad"), "failed"),
        (urllib.error.URLError("nobody"), "unavailable"),
        (http.client.RemoteDisconnected("gone"), "unavailable"),
        (http.client.CannotSendRequest(), "failed"),
        (ExceptionGroup("all", [TimeoutError(), ConnectionError()]), "unavailable"),
        (ExceptionGroup("one", [TimeoutError(), ValueError()]), "failed"),
        (ValueError("bad"), "failed"),
        (KeyError("bad"), "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_verdicts(path: Path, error: Exception, verdict: str) -> None:
    def send(batch: Batch) -> None:
        raise error

    assert judged(path, send)[0] == verdict


def test_a_class_of_ones_own_is_what_it_derives_from(path: Path) -> None:
    class Late(TimeoutError):
        pass

    def send(batch: Batch) -> None:
        raise Late

    assert judged(path, send)[0] == "unavailable"


class Ours(Exception):
    """What only this program knows."""


def test_the_program_adds_classes(tmp_path: Path) -> None:
    def send(batch: Batch) -> None:
        raise Ours

    assert judged(tmp_path / "0", send)[0] == "failed"
    assert judged(tmp_path / "1", send, unavailable=Ours)[0] == "unavailable"
    assert judged(tmp_path / "2", send, unavailable=(KeyError, Ours))[0] == "unavailable"


def test_the_program_decides(tmp_path: Path) -> None:
    answers: dict[str, tuple[object, str]] = {
        "yes": (True, "unavailable"),
        "no": (False, "failed"),
        "none": (None, "unavailable"),
        "seconds": (1000, "unavailable"),
        "span": (timedelta(seconds=1000), "unavailable"),
    }

    def send(batch: Batch) -> None:
        raise ConnectionError

    for name, (answer, verdict) in answers.items():
        said, stats = judged(tmp_path / name, send, unavailable=lambda _, answer=answer: answer)
        assert said == verdict, name
        if name in ("seconds", "span"):
            assert stats.next_attempt_ms > 900_000


def test_a_function_that_raises_leaves_it_to_the_table(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def send(batch: Batch) -> None:
        raise ConnectionError

    def decide(error: BaseException) -> bool:
        raise KeyError("mine")

    assert judged(path, send, unavailable=decide)[0] == "unavailable"
    assert "unavailable= raised KeyError" in caplog.text


def test_nonsense_is_refused(path: Path) -> None:
    for nonsense in (5, "text", (ValueError, 5), int):
        with pytest.raises(TypeError, match="unavailable takes exception classes"):
            judged(path, lambda _: None, unavailable=nonsense)


def test_manual_mode_judges_alike(path: Path) -> None:
    with Producer(path, mode="manual", max_records=1, schedule=Schedule(waits=[0]), unavailable=Ours) as producer:
        producer.put(b"x")
        for error in (TimeoutError(), Ours()):
            batch = producer.next_batch()
            assert batch is not None
            producer.failed(batch, error)
        stats = producer.stats()
        assert (stats.unavailable_attempts, stats.failed_attempts) == (2, 0)


def test_an_async_sink_is_judged_alike(path: Path) -> None:
    async def main() -> unistream.Stats:
        async def send(batch: Batch) -> None:
            raise ConnectionRefusedError

        async with Producer(path, send, schedule=Schedule(waits=[0.01]), close_timeout=0) as producer:
            producer.put(b"x")
            with pytest.raises(unistream.Timeout):
                await producer.aflush(0.3)
            return producer.stats()

    stats = asyncio.run(main())
    assert stats.unavailable_attempts > 0
    assert stats.failed_attempts == 0


def test_an_outage_empties_no_backlog(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The whole of it: far more attempts than `max_attempts`, and all is delivered when the target is back."""
    calls = 0

    def send(batch: Batch) -> None:
        nonlocal calls
        calls += 1
        if calls <= 30:
            by_urllib(port)(batch)

    schedule = Schedule(multiplier=0.001, max=0.001, max_attempts=3)
    with server(None) as port, Producer(path, send, max_records=10, schedule=schedule) as producer:
        producer.put_many(str(number) for number in range(50))
        producer.flush(60)
        stats = producer.stats()
    assert (stats.delivered_records, stats.dead_letters, stats.failed_attempts) == (50, 0, 0)
    assert stats.unavailable_attempts == 30


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        (5, 5.0),
        (2.5, 2.5),
        (timedelta(minutes=1), 60.0),
        ("120", 120.0),
        (b"7", 7.0),
        (0, 0.0),
        (float("inf"), 86400.0),
        (10**400, 86400.0),
        ("99999999999", 86400.0),
        (float("nan"), None),
        (-1, None),
        (timedelta(seconds=-1), None),
        (-(10**400), None),
        ("soon", None),
        ("-5", None),
        ("", None),
        (True, None),
        (None, None),
        ([], None),
    ],
    ids=repr,
)
def test_what_is_asked_for_is_a_wait_within_a_day_or_no_wait(wish: object, seconds: float | None) -> None:
    """A wish that cannot be read once turned an outage into a failure."""
    assert _outage.seconds(wish) == seconds


def test_dates_of_http() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=100)
    wait = _outage.seconds(format_datetime(soon, usegmt=True))
    assert wait is not None
    assert 90 < wait <= 100
    assert _outage.seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
