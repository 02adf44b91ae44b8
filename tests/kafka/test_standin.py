"""What the command line puts into the stand-in that comes with librdkafka, which needs no Java."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import read_all
from conftest import run


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("standin.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=30)


@pytest.mark.parametrize("how", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_record_arrives_once(tmp_path: Path, brokers: str, how: str) -> None:
    path = tmp_path / "in"
    path.write_text("".join(f"{n}\n" for n in range(5000)))
    url = f"kafka://{brokers}/standin-{how}?create_topics=true&compression={how}"
    done = run("put", tmp_path / "outbox", path, "--to", url, "--timeout", "60")
    assert done.returncode == 0, done.stderr
    arrived = [int(message.value()) for _, message in read_all({"bootstrap.servers": brokers}, f"standin-{how}")]
    assert sorted(arrived) == list(range(5000))
