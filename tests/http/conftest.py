"""Servers as fixtures: each on a free port of loopback, ended with the session; and the command line."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PLACE = Path(os.environ["HTTP_TEST_PLACE"])
COMMAND = os.environ["HTTP_TEST_COMMAND"]
BIN = PLACE / "venv" / "bin"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the block ends."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield
    finally:
        # The whole group: some servers are a script that starts another program.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Elastic:
    """What an index of the server holds."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, data: bytes | None = None) -> Any:
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def documents(self, index: str) -> list[Any]:
        """Return all documents."""
        try:
            self.ask(f"/{index}/_refresh", b"")
            hits = self.ask(f"/{index}/_search?size=10000")["hits"]["hits"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        return [hit["_source"] for hit in hits]


@pytest.fixture(scope="session")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elastic]:
    place = tmp_path_factory.mktemp("noida")
    port = free_port()
    command = [str(BIN / "noida-db"), "start", "--data-dir", str(place / "data"), "--only", "elasticsearch"]
    with running([*command, "--elasticsearch-port", str(port)], port, place / "log"):
        yield Elastic(port)


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Make a file of 5,000 documents."""
    path = tmp_path / "events.ndjson"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(5000)))
    return path


def command(*arguments: object) -> list[str]:
    return [COMMAND, *map(str, arguments)]


def run(*arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line, where nothing of the machine's own set-up has a say."""
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        command(*arguments), env=environment, capture_output=True, text=True, timeout=120, check=False
    )
