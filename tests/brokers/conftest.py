"""Where the tests find the command line and what they share."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from server import Server

COMMAND = os.environ["BROKERS_TEST_COMMAND"]
FAILURES = int(os.environ.get("BROKERS_FAILURES", "20"))
"""How many failures each proof lets happen."""


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Make a file of 5,000 documents."""
    path = tmp_path / "events.ndjson"
    path.write_text("".join(f'{{"n": {n}, "id": "r-{n}", "key": "k-{n % 7}"}}\n' for n in range(5000)))
    return path


def run(*arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line, where nothing of the machine's own set-up has a say."""
    environment = {"PATH": os.environ["PATH"], **variables}
    command = [COMMAND, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def lose_reply(server: Server, outbox: Path, url: str, arrived: Callable[[], list[int]]) -> None:
    """Put two records, of which the server takes the second when the program has gone that put it."""
    command = [COMMAND, "put", str(outbox), "--to", url, "--timeout", "1", "-o", "schedule_multiplier=0.05"]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert program.stdin is not None
    try:
        program.stdin.write(b'{"n": 0}\n')
        program.stdin.flush()
        wait_for(lambda: arrived() == [0])
        server.pause()
        program.stdin.write(b'{"n": 1}\n')
        program.stdin.close()
        assert program.wait(60) != 0
    finally:
        server.go_on()
        program.kill()
        program.wait()
    wait_for(lambda: arrived() == [0, 1])


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.02)


def ends_well(program: "subprocess.Popen[bytes]") -> None:
    """Wait until a program has done what it has to."""
    try:
        _, said = program.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        program.kill()
        _, said = program.communicate()
    assert program.returncode == 0, said.decode()


def in_c(place: Path) -> Path:
    """Build the example in C as it stands."""
    built, root = Path(COMMAND).parent, Path(__file__).parents[2]
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{root}/include", f"-L{built}"]
    source = str(root / "ffi/examples/broker.c")
    command = ["gcc", *flags, "-o", str(place / "broker"), source, "-lunistream", f"-Wl,-rpath,{place}"]
    subprocess.run(command, check=True)
    (place / "libunistream.so.0").symlink_to(built / "libunistream.so")
    return place / "broker"


def run_example(program: Path, outbox: Path, url: str, lines: Path) -> None:
    with lines.open("rb") as given:
        command = [str(program), str(outbox), url]
        done = subprocess.run(command, stdin=given, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("0 left\n")
