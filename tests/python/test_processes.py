"""Death, forks, signals, the end of the interpreter."""

import gc
import logging
import multiprocessing
import os
import pickle
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unistream
from conftest import Collector, wait_until
from unistream import FileSink, Producer, _native, _sink

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
def fail(batch): raise RuntimeError("refused")
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


def _in_child(run: Callable[[], object]) -> int:
    """Run it in a forked child; how that ended, as `os.waitstatus_to_exitcode` has it."""
    child = os.fork()
    if child == 0:
        try:
            run()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_batch_of_the_parent_is_an_error_in_a_child(path: Path) -> None:
    """Reading one was a SIGSEGV: the log is not there in the child."""
    with Producer(path, mode="manual", max_records=2) as producer:
        producer.put(b"one", key="k")
        producer.put(b"two")
        batch = producer.next_batch()
        assert batch is not None
        record, records, view = batch[0], iter(batch), batch[1].view

        def look() -> None:
            looks: list[Callable[[], object]] = [
                lambda: batch[0],
                lambda: batch[0:1],
                lambda: len(batch),
                lambda: list(batch),
                lambda: next(records),
                lambda: record.data,
                lambda: record.view,
                lambda: record.seq,
                lambda: record.id,
                lambda: record.key,
                lambda: record.text,
                lambda: record.created_at,
                lambda: len(record),
                lambda: bytes(record),
                lambda: memoryview(record),
                lambda: producer.commit(batch),
                producer.next_batch,
                lambda: producer.dead_letters.delete("x"),
            ]
            for call in looks:
                with pytest.raises(unistream.Forked):
                    call()
            # What was taken before is memory still.
            assert len(bytes(view)) == 3
            assert "parent" in repr(record)
            assert batch.id in repr(batch)

        assert _in_child(look) == 0
        assert [bytes(record) for record in batch] == [b"one", b"two"]
        assert bytes(view) == b"two"
        producer.commit(batch)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("mode", ["background", "inline"])
def test_a_sink_that_forks(path: Path, mode: Any) -> None:
    """The child is refused, also where the sink comes back in it; the parent's batch is delivered."""
    codes: list[int] = []
    parent = os.getpid()

    def send(batch: unistream.Batch) -> None:
        def put() -> None:
            with pytest.raises(unistream.Forked):
                producer.put(b"child")
            with pytest.raises(unistream.Forked):
                assert batch[0].data

        codes.append(_in_child(put))
        child = os.fork()
        if child != 0:
            _, status = os.waitpid(child, 0)
            codes.append(os.waitstatus_to_exitcode(status))
        elif mode == "background":
            # The worker is all that there is of this child, and has nothing more to do.
            worker = threading.current_thread()

            def end() -> None:
                worker.join(30)
                os._exit(4 if worker.is_alive() else 0)

            threading.Thread(target=end).start()

    producer = Producer(path, send, mode=mode, max_records=1)
    try:
        producer.put(b"x")
        assert os.getpid() == parent
        producer.flush(30)
    except unistream.Forked as error:
        # The child of the inline sink, in which the put that began in the parent ends.
        os._exit(0 if os.getpid() != parent and error.record_accepted else 3)
    wait_until(lambda: producer.stats().delivered_records == 1)
    assert codes == [0, 0]
    producer.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_what_is_inherited_can_be_dropped(path: Path) -> None:
    """Dropping unmapped what was not the child's own, and detached threads that it does not have."""
    for closed in (False, True):
        kept: list[Any] = [Producer(path / f"{number}", lambda _: None) for number in range(3)]
        kept += [unistream.Buffer(path / "buffer"), FileSink(path / f"log-{closed}")]
        for owned in kept[:4]:
            owned.put(b"x")
            if closed:
                owned.close()

        def drop(kept: list[Any] = kept) -> None:
            with Producer(path / "own", lambda _: None) as own:
                own.put(b"x")
                kept.clear()
                gc.collect()
                own.flush(30)

        assert _in_child(drop) == 0
        for owned in kept[:4]:
            if not closed:
                owned.put(b"y")
            owned.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_opens_what_its_parent_has_let_go(path: Path, tmp_path: Path) -> None:
    """The child believed the parent's table of open buffers for ever."""
    ready, go = os.pipe()
    producer = Producer(path, FileSink(tmp_path / "log"))

    def take_over() -> None:
        with pytest.raises(unistream.InUse, match=f"pid {os.getppid()}"):
            Producer(path, lambda _: None)
        os.read(ready, 1)
        with Producer(path, FileSink(tmp_path / "log")) as own:
            own.put(b"child")
            own.flush(30)

    child = os.fork()
    if child == 0:
        try:
            take_over()
            os._exit(0)
        finally:
            os._exit(1)
    time.sleep(0.3)
    producer.close()
    os.write(go, b"x")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (tmp_path / "log").read_bytes() == b"child\n"


def test_a_backup_leaves_the_buffer_locked(path: Path, tmp_path: Path, run_python: Run) -> None:
    """A POSIX lock went when any code of the process closed a descriptor of the file."""
    program = "import sys, unistream; unistream.Producer(sys.argv[1], mode='manual')"
    with Producer(path, mode="manual") as producer:
        shutil.copytree(path, tmp_path / "backup")
        assert "unistream._errors.InUse" in run_python(program, path).stderr
        producer.put(b"x")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_truncated_segment_is_an_error_beside_faulthandler(path: Path, run_python: Run, when: str) -> None:
    """A handler that was installed after ours ended the process."""
    program = """
import faulthandler, glob, os, sys, unistream
if sys.argv[2] == "before": faulthandler.enable()
producer = unistream.Producer(sys.argv[1], mode="manual", max_records=1000, linger=0)
for number in range(300):
    producer.put(b"%0900d" % number)
if sys.argv[2] == "after": faulthandler.enable()
batch = producer.next_batch()
view = batch[250].view
os.truncate(glob.glob(sys.argv[1] + "/*.seg")[0], 4096)
print(len(bytes(view)), sum(bytes(view)))
try:
    producer.put(b"more" * 1000)
except unistream.DiskError as error:
    print("an error")
"""
    result = run_python(program, path, when)
    assert (result.returncode, result.stdout) == (0, "900 0\nan error\n"), result.stderr


def test_faulthandler_still_tells_of_a_signal_that_was_sent(path: Path, run_python: Run) -> None:
    program = """
import faulthandler, os, signal, sys, unistream
producer = unistream.Producer(sys.argv[1], mode="manual", max_records=1)
faulthandler.enable()
producer.put(b"x")
producer.next_batch()
signal.raise_signal(signal.SIGBUS)
"""
    result = run_python(program, path)
    assert result.returncode == -signal.SIGBUS
    assert result.stderr.startswith("Fatal Python error: Bus error"), result.stderr


def test_too_few_descriptors_are_no_failing_disk(path: Path, run_python: Run) -> None:
    program = """
import resource, sys, unistream
resource.setrlimit(resource.RLIMIT_NOFILE, (8, 1024))
try:
    unistream.Producer(sys.argv[1], mode="manual")
except unistream.ResourceExhausted as error:
    print(error.kind, error.retryable, "RLIMIT_NOFILE" in str(error))
"""
    result = run_python(program, path)
    assert result.stdout == "resource_exhausted True True\n", result.stderr


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


def test_a_batch_that_was_taken_is_not_sent_in_a_forked_child(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A greenlet that was about to call the sink went on in the child, where it waited for the parent's lock."""
    taken: queue.Queue[_native.Job | None] = queue.Queue()
    monkeypatch.setattr(_sink, "_work", lambda channel, _: taken.put(channel.receive()))
    with unistream.Producer(path, print, linger=0, close_timeout=0) as producer:
        producer.put("a")
        job = taken.get(timeout=60)
        assert job is not None
        child = os.fork()
        if child == 0:
            os._exit(0 if job.begin() is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        batch = job.begin()
        assert batch is not None
        assert [record.text for record in batch] == ["a"]
        job.returned(None)
        producer.flush(30)


def test_a_native_sink_of_the_parents_is_made_anew_in_a_child(tmp_path: Path, run_python: Run) -> None:
    """The file is the parent's as long as that has it; what the child puts waits until it lets go."""
    program = """
import os, unistream
def producer(name, sink):
    return unistream.Producer(name, sink, schedule=unistream.Schedule(max=0.05), linger=0)
parents = unistream.FileSink("both.txt")
read, write = os.pipe()
with producer("parent", parents) as first:
    first.put("of the parent")
    first.flush(30)
    child = os.fork()
    if child == 0:
        second = producer("child", parents)
        second.put("of the child")
        while not second.stats().unavailable_attempts:
            pass
        os.write(write, b"!")
        left = second.close(timeout=30)
        os._exit(left)
    assert os.read(read, 1) == b"!"
del first, parents
assert os.waitpid(child, 0)[1] == 0
"""
    done = run_python(program)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "both.txt").read_text() == "of the parent\nof the child\n"
