"""Processes whose threads are greenlets: the whole process once stood still from the moment a producer opened."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import wait_until

PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


@pytest.fixture(params=PATCH)
def green(request: pytest.FixtureRequest) -> str:
    """Return the name of a library that patches the process."""
    return str(request.param)


def run(green: str, program: str, directory: Path) -> str:
    """Run a program in a process that the library has patched; return what it printed."""
    # eventlet warns that it is deprecated, and a hang says where.
    whole = f"{PATCH[green]}\nimport faulthandler; faulthandler.dump_traceback_later(60, exit=True)\n{program}"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", whole]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=90, cwd=directory, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_python_sink_runs_and_so_does_everybody_else(green: str, tmp_path: Path) -> None:
    program = """
import threading, time, unistream
ticks, seen = [], []
def tick():
    while True:
        time.sleep(0.001)
        ticks.append(1)
threading.Thread(target=tick, daemon=True).start()
def sink(batch):
    time.sleep(0.05)  # as a socket would wait
    if batch.attempt == 1 and not seen:
        raise ValueError("once")
    seen.extend(record.text for record in batch)
schedule = unistream.Schedule(multiplier=0.01, jitter="none")
with unistream.Producer("outbox", sink, linger=0.01, schedule=schedule) as producer:
    for number in range(10):
        producer.put(str(number))
    before = len(ticks)
    producer.flush(30)
    assert len(ticks) - before >= 5, ticks
assert seen == [str(number) for number in range(10)], seen
assert producer.stats().failed_attempts == 1
print("delivered", len(seen))
"""
    assert run(green, program, tmp_path) == "delivered 10\n"


def test_a_put_that_waits_for_space_lets_the_sink_make_it(green: str, tmp_path: Path) -> None:
    program = """
import unistream
count = 0
def sink(batch):
    global count
    count += len(batch)
limits = {"max_buffer_bytes": "1MiB", "segment_bytes": "64KiB", "max_records": 5, "full_timeout": 30}
with unistream.Producer("outbox", sink, max_in_flight=2, **limits) as producer:
    for _ in range(200):
        producer.put(b"x" * 50_000)
print(count)
"""
    assert run(green, program, tmp_path) == "200\n"


def test_only_the_greenlet_of_the_sink_is_inside_it(green: str, tmp_path: Path) -> None:
    """Another greenlet of the same thread may flush while the sink waits; the sink itself may not."""
    program = """
import threading, time, unistream
said = []
def sink(batch):
    try:
        producer.flush(1)
    except unistream.Reentrant:
        said.append("refused")
    started.set()
    time.sleep(0.1)
started = threading.Event()
with unistream.Producer("outbox", sink, linger=0) as producer:
    producer.put("x")
    started.wait(30)
    producer.flush(30)
    said.append("flushed")
print(*said)
"""
    assert run(green, program, tmp_path) == "refused flushed\n"


def test_native_sinks_and_manual_mode_are_as_ever(green: str, tmp_path: Path) -> None:
    program = """
import unistream
with unistream.Producer("native", unistream.FileSink("events.log")) as producer:
    producer.put("x")
    producer.flush(30)
with unistream.Producer("manual", mode="manual", linger=0) as producer:
    producer.put("y")
    batch = producer.next_batch()
    producer.commit(batch)
    producer.flush(30)
print(open("events.log").read(), len(batch))
"""
    assert run(green, program, tmp_path) == "x\n 1\n"


def test_inline_mode_is_refused_with_what_to_do(green: str, tmp_path: Path) -> None:
    program = """
import unistream
try:
    unistream.Producer("outbox", lambda batch: None, mode="inline")
except unistream.WrongMode as error:
    print(error)
"""
    said = run(green, program, tmp_path)
    assert f"patched by {green}" in said
    assert "use background mode" in said


def test_logging_and_the_exit(green: str, tmp_path: Path) -> None:
    """Events come out through handlers with patched locks, and a producer that nobody closed is closed at the exit."""
    program = """
import logging, sys, unistream
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
calls = 0
def sink(batch):
    global calls
    calls += 1
    if calls == 1:
        raise ValueError("told")
    print("delivered", len(batch), flush=True)
producer = unistream.Producer("outbox", sink, linger=5, schedule=unistream.Schedule(multiplier=0.01))
producer.put("x")
"""
    said = run(green, program, tmp_path)
    assert "delivered 1" in said
    assert "WARNING sink failing, next attempt in " in said
    assert "WARNING sink up again, after 0s (1 attempts)" in said
    assert "ValueError: told" in said


def test_a_fork_hears_nothing_of_the_parent(green: str, tmp_path: Path) -> None:
    """The child's hub would take what wakes the parent's."""
    program = """
import os, time, unistream
seen = []
def sink(batch):
    seen.extend(record.text for record in batch)
with unistream.Producer("outbox", sink, linger=0) as producer:
    producer.put("before")
    producer.flush(30)
    child = os.fork()
    if child == 0:
        for _ in range(100):
            time.sleep(0.005)
        try:
            producer.put("in the child")
        except unistream.Forked:
            with unistream.Producer("childs", sink, linger=0) as own:
                own.put("own")
                own.flush(30)
            os._exit(len(seen) + 40)
        os._exit(1)
    for number in range(100):
        producer.put(str(number))
        producer.flush(30)
        time.sleep(0.002)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
print(len(seen), os.waitstatus_to_exitcode(status))
"""
    assert run(green, program, tmp_path) == "101 42\n"


APPLICATION = """
import os, threading, time
import unistream

lock = threading.Lock()
producer = None

def sink(batch):
    time.sleep(0.01)
    with open(os.environ["TARGET"], "ab") as target:
        target.write(b"".join(record.data + b"\\n" for record in batch))

def application(environ, start_response):
    global producer
    with lock:
        if producer is None:
            producer = unistream.Producer(os.environ["OUTBOX"], sink, linger=0.05)
    producer.put(environ["QUERY_STRING"])
    if environ["PATH_INFO"] == "/flush":
        producer.flush(30)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


class UnixConnection(http.client.HTTPConnection):
    """HTTP through a socket in the filesystem: no port to share with anybody."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent", "eventlet"])
def test_gunicorn(worker: str, tmp_path: Path) -> None:
    """Every kind of worker serves, delivers while it serves, and ends on SIGTERM with nothing left out."""
    (tmp_path / "application.py").write_text(APPLICATION)
    address, target = tmp_path / "socket", tmp_path / "target"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "gunicorn", "-k", worker, "-w", "1"]
    command += ["--threads", "4", "--bind", f"unix:{address}", "--graceful-timeout", "20", "application:application"]
    environment = os.environ | {"TARGET": str(target), "OUTBOX": str(tmp_path / "outbox")}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)

    def get(path: str) -> int:
        connection = UnixConnection(address)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    try:
        wait_until(lambda: address.exists() or server.poll() is not None)
        assert server.poll() is None, (tmp_path / "log").read_text()
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(get, [f"/put?{number}" for number in range(40)])) == [200] * 40
        assert get("/flush?40") == 200
        assert sorted(map(int, target.read_text().split())) == list(range(41))
        assert get("/put?41") == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, (tmp_path / "log").read_text()
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    # Delivered on the way out, or left for the next worker.
    left = subprocess.run(
        [sys.executable, "-m", "unistream", "stat", "outbox", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    delivered = sorted(set(map(int, target.read_text().split())))
    assert delivered == list(range(41 + (json.loads(left.stdout)["pending_records"] == 0)))


def test_the_time_is_short(tmp_path: Path) -> None:
    """A sink that hangs keeps a patched process no longer than it keeps any other."""
    program = """
import time, unistream
producer = unistream.Producer("outbox", lambda batch: time.sleep(1000), linger=0)
producer.put("x")
print(producer.close(0.2))
"""
    began = time.monotonic()
    assert run("gevent", program, tmp_path) == "1\n"
    assert time.monotonic() - began < 30
