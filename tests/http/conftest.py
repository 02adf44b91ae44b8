"""Servers as fixtures: each on a free port of loopback, ended with the session; and the command line."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from servers import free_port, running

PLACE = Path(os.environ["HTTP_TEST_PLACE"])
COMMAND = os.environ["HTTP_TEST_COMMAND"]
BIN = PLACE / "venv" / "bin"
ROOT = Path(__file__).parents[2]


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


class ClickHouse:
    """The engine of ClickHouse, by its HTTP interface."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, query: str) -> str:
        url = f"{self.url}/?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, b"", timeout=60) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    place = tmp_path_factory.mktemp("clickhouse")
    port = free_port()
    command = [str(BIN / "python"), str(Path(__file__).with_name("clickhouse.py")), str(port)]
    with running(command, port, place / "log"):
        yield ClickHouse(port)


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
