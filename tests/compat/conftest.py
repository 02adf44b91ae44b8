"""Both versions, to run programs on."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from servers import free_port, running

OLD = os.environ["COMPAT_TEST_OLD"]
"""The interpreter that has 0.1.2."""

Run = Callable[..., str]


def run(interpreter: str, program: str | Path, *arguments: object, folder: Path) -> str:
    """Run a program, or the file of one, in a folder. Return what it prints."""
    command = ["-c", program] if isinstance(program, str) else [str(program)]
    result = subprocess.run(
        [interpreter, *command, *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=folder
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def old(tmp_path: Path) -> Run:
    """Return a function that runs a program on 0.1.2."""

    def run_old(program: str | Path, *arguments: object, folder: Path = tmp_path) -> str:
        return run(OLD, program, *arguments, folder=folder)

    return run_old


@pytest.fixture
def new(tmp_path: Path) -> Run:
    """Return a function that runs a program on this version."""

    def run_new(program: str | Path, *arguments: object, folder: Path = tmp_path) -> str:
        return run(sys.executable, program, *arguments, folder=folder)

    return run_new


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run an emulator of AWS; return its URL."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, port, tmp_path_factory.mktemp("moto") / "moto.log") as url:
        yield url


@pytest.fixture
def at_aws(aws: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Lead the AWS tools of this process and of those that it starts to the emulator."""
    for name, value in {
        "AWS_ENDPOINT_URL": aws,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    return aws
