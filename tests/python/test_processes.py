"""Death, forks, signals, the end of the interpreter."""

import logging
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unistream
from conftest import Collector, wait_until
from unistream import FileSink, Producer

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_killed_python_sink_gets_the_batch_again_under_the_same_id(path: Path, run_python: Run) -> None:
    program = """
import os, signal, sys, unistream
def send(batch):
    print(batch.id, len(batch), flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
with unistream.Producer(sys.argv[1], send, linger=None) as producer:
    if sys.argv[2] == "die":
        producer.put_many([b"1", b"2"])
    producer.flush(30)
"""
    died = run_python(program, path, "die")
    again = run_python(program, path, "live")
    assert died.returncode == -signal.SIGKILL
    assert again.returncode == 0, again.stderr
    assert died.stdout == again.stdout != ""


@pytest.mark.parametrize(
    "sink",
    [
        "unistream.NullSink()",
        "lambda batch: None",
        "fail",
        "hang",
        "spin",
    ],
)
def test_the_interpreter_exits_under_a_live_producer(path: Path, run_python: Run, sink: str) -> None:
    """It neither hangs nor crashes, and what was put is delivered or still there."""
    program = f"""
import sys, time, unistream
def fail(batch): raise ConnectionError("refused")
def hang(batch): time.sleep(1000)
def spin(batch):
    while True: pass
producer = unistream.Producer(sys.argv[1], {sink})
for number in range(1000):
    producer.put(str(number))
time.sleep(0.1)
"""
    began = time.monotonic()
    result = run_python(program, path)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - began < 30
    # The failures may be logged; nothing else may be said.
    assert not re.search("Traceback|Warning|panick|Fatal", result.stderr), result.stderr
    seen: list[int] = []
    with Producer(path, lambda batch: seen.extend(record.seq for record in batch)) as producer:
        producer.flush(30)
        assert len(seen) == (1000 if sink in ("fail", "hang", "spin") else 0)


def test_the_interpreter_exits_from_other_threads_too(path: Path, run_python: Run) -> None:
    program = """
import sys, threading, unistream
producer = unistream.Producer(sys.argv[1], lambda batch: None)
def put():
    while True:
        try: producer.put(b"x" * 100)
        except unistream.Closed: return
for _ in range(3):
    threading.Thread(target=put, daemon=True).start()
producer.put(b"x")
"""
    result = run_python(program, path)
    assert result.returncode == 0
    # A batch that was on its way may be logged.
    assert not re.search("Traceback|Warning|panick|Fatal", result.stderr), result.stderr


@pytest.mark.parametrize("waiting", ["producer.flush()", "producer.close(None)", "fill(producer)"])
def test_ctrl_c_interrupts_what_waits(path: Path, waiting: str) -> None:
    program = f"""
import sys, threading, time, unistream
def fill(producer):
    while True:
        producer.put(b"x" * 60_000)
hang = threading.Event()
producer = unistream.Producer(sys.argv[1], lambda batch: hang.wait(1000), max_buffer_bytes="1MiB", full_timeout=None)
producer.put(b"x")
threading.Timer(0.3, lambda: print("waiting", flush=True)).start()
try:
    {waiting}
except KeyboardInterrupt:
    print("interrupted", producer.closed, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert out == f"interrupted {waiting.startswith('producer.close')}\n", err
    assert process.returncode == 0, err


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_gets_an_error(path: Path, collector: Collector) -> None:
    with Producer(path, collector) as producer:
        producer.put(b"parent")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert producer.is_forked
                refused = 0
                for call in (
                    lambda: producer.put(b"child"),
                    lambda: producer.flush(1),
                    lambda: producer.close(1),
                    producer.sync,
                    producer.resume,
                ):
                    try:
                        call()
                    except unistream.Forked:
                        refused += 1
                del producer
                # A child has producers of its own, on paths of its own.
                with Producer(path.with_name("child"), FileSink(path.with_name("child.log"))) as own:
                    own.put(b"own")
                    own.flush(30)
                code = 0 if refused == 5 else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        producer.put(b"still works")
        producer.flush(30)
    assert collector.data == [b"parent", b"still works"]
    assert path.with_name("child.log").read_bytes() == b"own\n"


def _work(folder: Path, number: int) -> None:
    with Producer(folder / f"outbox-{number}", FileSink(folder / f"log-{number}")) as producer:
        for line in range(100):
            producer.put(f"{number} {line}")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_multiprocessing(tmp_path: Path, path: Path, method: str) -> None:
    """The pattern of the documentation: each process opens its own, on its own path."""
    context: Any = multiprocessing.get_context(method)
    with Producer(path, unistream.NullSink()) as producer:
        producer.put(b"the parent's own")
        workers = [context.Process(target=_work, args=(tmp_path, number)) for number in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(producer)
    for number in range(3):
        lines = (tmp_path / f"log-{number}").read_text().splitlines()
        assert lines == [f"{number} {line}" for line in range(100)]


def test_prefork_servers(tmp_path: Path, run_python: Run) -> None:
    """The pattern of gunicorn: the master loads the application and forks; each worker opens on its first request.

    A worker that dies is replaced; its successor takes over the path and what is left in it.
    """
    program = """
import os, signal, sys, unistream
folder, slots = sys.argv[1], 3
producer = None

def open_in_worker(slot):
    global producer
    producer = unistream.Producer(f"{folder}/outbox-{slot}", unistream.FileSink(f"{folder}/log-{slot}"))

def worker(slot, life):
    open_in_worker(slot)
    for request in range(50):
        producer.put(f"{life} {request}")
    if life == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    producer.close()
    os._exit(0)

def fork(slot, life):
    child = os.fork()
    if child == 0:
        worker(slot, life)
    return child

workers = {fork(slot, 1): slot for slot in range(slots)}
replaced = 0
while workers:
    child, status = os.wait()
    slot = workers.pop(child)
    if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
        replaced += 1
        workers[fork(slot, 2)] = slot
print(replaced)
"""
    result = run_python(program, tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "3\n", "")
    for slot in range(3):
        lines = (tmp_path / f"log-{slot}").read_text().splitlines()
        assert lines == [f"{life} {request}" for life in (1, 2) for request in range(50)]


def test_a_buffer_in_use_by_another_process(path: Path) -> None:
    program = (
        "import sys, unistream; p = unistream.Producer(sys.argv[1], lambda b: None); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(unistream.InUse, match=f"pid {process.pid}"):
            Producer(path, lambda _: None)
        process.communicate("\n", timeout=30)


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def test_memory_is_flat(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million puts, 10,000 failing sends: what the process has for itself does not grow with them."""
    failures = 0
    # pytest keeps what is logged.
    logger = logging.getLogger("unistream")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])

    def send(batch: unistream.Batch) -> None:
        nonlocal failures
        if failures < 10_000 and batch.first_seq > 1_000_000:
            failures += 1
            raise unistream.SinkUnavailable("a longer message " * 10)

    now = unistream.Schedule(multiplier=0, max=0, jitter="none")
    with Producer(path, send, schedule=now, segment_bytes="1MiB") as producer:

        def put(count: int) -> None:
            for number in range(count):
                producer.put({"n": number, "text": "x" * 80})
            producer.flush(60)

        put(100_000)
        before = _resident()
        put(900_000)
        after_puts = _resident()
        producer.put("now fail")
        wait_until(lambda: failures == 10_000, timeout=90)
        producer.flush(60)
        after_failures = _resident()
        assert producer.stats().delivered_records == 1_000_001
    mebibyte = 1 << 20
    assert after_puts - before < 8 * mebibyte
    assert after_failures - after_puts < 8 * mebibyte
