"""What every test may ask for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unistream
from unistream import Producer

# The background job of a shell ignores it, and so would the programs that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a buffer may be."""
    return tmp_path / "outbox"


class Collector:
    """A sink that remembers what it took."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.batches: list[list[bytes]] = []
        self.ids: list[str] = []

    def send(self, batch: unistream.Batch) -> None:
        """Take the batch."""
        self.batches.append([record.data for record in batch])
        self.ids.append(batch.id)

    @property
    def data(self) -> list[bytes]:
        """All payloads in the order in which they came."""
        return [data for batch in self.batches for data in batch]


class Appends:
    """A sink that appends lines to a file, whichever process calls it."""

    def __init__(self, path: Path) -> None:
        """Append to this file."""
        self.path = path

    def send(self, batch: unistream.Batch) -> None:
        """Append all of it with one write."""
        descriptor = os.open(self.path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"".join(record.data + b"\n" for record in batch))
        os.close(descriptor)

    @property
    def lines(self) -> list[str]:
        """What was appended."""
        return self.path.read_text().splitlines() if self.path.exists() else []


def slots(path: Path) -> list[str]:
    """Return the slots of an outbox that are directories."""
    return sorted(entry.name for entry in path.iterdir() if entry.name.startswith("slot-"))


def drain_outbox(path: Path, sink: Any) -> None:
    """Send what is left in an outbox; no slot is left behind."""
    with Producer(path, sink, shared=True) as producer:
        producer.drain(60)
    assert slots(path) == []


@pytest.fixture
def collector() -> Collector:
    """Return a sink that remembers what it took."""
    return Collector()


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a program in a Python of its own, with warnings as errors."""

    def run(program: str, *arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=tmp_path, env=os.environ)

    return run


def wait_until(condition: Callable[[], bool], timeout: float = 30) -> None:
    """Wait until something is so; fail if it is never."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
