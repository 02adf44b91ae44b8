"""Emulators as fixtures: each on a free port of loopback, ended with the session."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from servers import free_port, running

PLACE = Path(os.environ["AWS_TEST_PLACE"])
REGION = "eu-west-1"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": REGION}


def client(service: str, url: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )


@pytest.fixture(scope="session", params=["kinesis-local", "kinesalite", "moto"])
def kinesis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    modules = PLACE / "node" / "node_modules"
    port = free_port()
    log = tmp_path_factory.mktemp("log") / f"{request.param}.log"
    environment: dict[str, str] = {}
    if request.param == "kinesis-local":
        command = ["node", str(modules / "kinesis-local" / "main.js")]
        environment = {
            "KINESIS_MOCK_CERT_PATH": str(modules / "kinesis-local" / "server.json"),
            "KINESIS_MOCK_PLAIN_PORT": str(port),
            "KINESIS_MOCK_TLS_PORT": str(free_port()),
            "LOG_LEVEL": "ERROR",
        }
    elif request.param == "kinesalite":
        command = [
            "node",
            str(modules / "kinesalite" / "cli.js"),
            "--port",
            str(port),
            "--createStreamMs",
            "10",
            "--shardLimit",
            "100",
        ]
    else:
        command, environment = moto(port)
    with running(command, port, log, environment) as url:
        yield url


@pytest.fixture(scope="session")
def logs_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command, environment = moto(port)
    with running(command, port, tmp_path_factory.mktemp("log") / "moto.log", environment) as url:
        yield url


def moto(port: int) -> tuple[list[str], dict[str, str]]:
    return [str(PLACE / "venv" / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], {}


Ship = Callable[..., "subprocess.CompletedProcess[str]"]


def run(command: list[str], lines: list[str], home: Path) -> "subprocess.CompletedProcess[str]":
    """Run a program on lines, in an environment where nothing of the machine's own AWS set-up has a say."""
    text = "".join(line + "\n" for line in lines)
    return subprocess.run(
        command,
        input=text,
        env={**KEYS, "HOME": str(home), "PYTHONPATH": str(PLACE / "python")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def ship(tmp_path: Path) -> Ship:
    """Ship lines through a producer of Rust, by the example of that name."""
    program = PLACE.parent / "debug" / "examples" / "ship"

    def ship(url: str, lines: list[str], seconds: float = 30) -> "subprocess.CompletedProcess[str]":
        return run([str(program), str(tmp_path / "outbox"), url, str(seconds)], lines, tmp_path)

    return ship


@pytest.fixture
def run_python(tmp_path: Path) -> Ship:
    """Run a program of Python with the package as it was built here."""

    def run_python(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return run([str(PLACE / "venv" / "bin" / "python"), *arguments], [], tmp_path)

    return run_python


@pytest.fixture
def ship_by_c(tmp_path: Path) -> Ship:
    """Ship lines through a producer of C, by its example `aws`."""

    def ship(kind: str, lines: list[str], **options: str) -> "subprocess.CompletedProcess[str]":
        pairs = [text for pair in options.items() for text in pair]
        return run([str(PLACE / "c" / "aws"), str(tmp_path / "outbox"), kind, *pairs], lines, tmp_path)

    return ship
