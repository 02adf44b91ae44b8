"""Processes that share an outbox: forked, spawned, in pools, of two users; killed at any moment."""

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unistream
from conftest import Appends, Collector, drain_outbox, slots, wait_until
from unistream import FileSink, Producer

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def in_child(work: Callable[[], object]) -> int:
    """Run it in a forked child that ends at once; how that ended, as `os.waitstatus_to_exitcode` has it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def put_and_close(producer: Producer, data: str) -> None:
    producer.put(data)
    producer.flush(30)
    assert producer.close(30) == 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def appends(tmp_path: Path) -> Appends:
    return Appends(tmp_path / "delivered")


def test_two_producers_share_a_path(path: Path, collector: Collector) -> None:
    with Producer(path, collector, shared=True) as one, Producer(path, collector, shared=True) as two:
        assert (one.slot, two.slot, one.path) == ("slot-0", "slot-1", path)
        one.put("a")
        one.flush(30)
        two.put("b")
        two.flush(30)
        assert collector.data == [b"a", b"b"]
        assert (one.stats().slots, one.stats().adopted_slots) == (2, 0)
    with pytest.raises(unistream.InvalidArgument, match="shared = true"):
        Producer(path, collector)
    with pytest.raises(unistream.InvalidArgument, match="shared = true"):
        unistream.Buffer(path)
    assert slots(path) == []


@pytest.mark.parametrize("mode", ["background", "inline"])
def test_a_forked_child_has_a_slot_of_its_own(path: Path, appends: Appends, mode: Any) -> None:
    with Producer(path, appends, shared=True, mode=mode, linger=0) as producer:
        producer.put("parent")
        producer.flush(30)

        def child() -> None:
            assert producer.is_forked
            assert producer.stats().put_records == 0
            assert producer.put("child") == 1
            assert (producer.is_forked, producer.slot) == (False, "slot-1")
            producer.flush(30)
            # A child of the child, too.
            assert in_child(lambda: put_and_close(producer, "grandchild")) == 0
            assert producer.close(30) == 0
            with pytest.raises(unistream.Closed):
                producer.put("no")

        assert in_child(child) == 0
        # One that does nothing opens nothing.
        assert in_child(producer.close) == 0
        assert in_child(lambda: None) == 0
        assert producer.slot == "slot-0"
        producer.put("parent again")
        producer.flush(30)
        assert appends.lines == ["parent", "child", "grandchild", "parent again"]
        wait_until(lambda: slots(path) == [])
    with pytest.raises(unistream.Closed):
        producer.put("no")
    assert in_child(lambda: producer.put("no")) == 1


def test_many_threads_of_a_child_open_one_slot(path: Path, appends: Appends) -> None:
    with Producer(path, appends, shared=True, linger=0) as producer:

        def child() -> None:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda number: producer.put(f"{number}"), range(100)))
            assert producer.slot == "slot-1"
            assert slots(path) == ["slot-1"]
            producer.close(30)

        assert in_child(child) == 0
    assert sorted(map(int, appends.lines)) == list(range(100))


def test_what_a_killed_child_has_left_its_parent_sends(path: Path, appends: Appends) -> None:
    with Producer(path, appends, shared=True, linger=60) as producer:

        def child(number: int) -> Callable[[], None]:
            def work() -> None:
                for line in range(100):
                    producer.put(f"{number} {line}")
                die()

            return work

        for number in range(5):
            assert in_child(child(number)) == -signal.SIGKILL
        wait_until(lambda: len(appends.lines) == 500)
        for number in range(5):
            assert [line for line in appends.lines if line.startswith(f"{number} ")] == [
                f"{number} {line}" for line in range(100)
            ]
        wait_until(lambda: slots(path) == [])


def test_native_sinks_are_made_anew(path: Path, tmp_path: Path) -> None:
    """A file is its parent's for as long as that has it: the child's records wait, and are delivered once."""
    log = tmp_path / "log"
    with Producer(path, FileSink(log), shared=True, linger=0) as producer:
        producer.put("parent")
        producer.flush(30)

        def child() -> None:
            producer.put("child")
            with pytest.raises(unistream.Timeout, match="not delivered yet"):
                producer.flush(0.3)
            die()

        assert in_child(child) == -signal.SIGKILL
        wait_until(lambda: log.read_text() == "parent\nchild\n")
    null = tmp_path / "null"
    with Producer(null, unistream.sink("null:"), shared=True) as producer:
        assert in_child(lambda: put_and_close(producer, "x")) == 0


def test_manual_mode(path: Path) -> None:
    with Producer(path, mode="manual", shared=True, max_records=1) as producer:

        def child() -> None:
            producer.put("child")
            die()

        assert in_child(child) == -signal.SIGKILL
        taken: list[bytes] = []

        def take() -> bool:
            if (batch := producer.next_batch()) is not None:
                taken.extend(record.data for record in batch)
                producer.commit(batch)
            return taken == [b"child"]

        wait_until(take)
        assert producer.next_wait() is not None


def _puts(path: Path, target: Path, number: int) -> int:
    """Open in a process of its own, for where nothing is inherited."""
    with Producer(path, Appends(target), shared=True) as producer:
        for line in range(50):
            producer.put(f"{number} {line}")
    return os.getpid()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(path: Path, appends: Appends, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    workers = [context.Process(target=_puts, args=(path, appends.path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    drain_outbox(path, appends)
    for number in range(3):
        lines = [line for line in appends.lines if line.startswith(f"{number} ")]
        assert lines == [f"{number} {line}" for line in range(50)]


_inherited: Producer | None = None


def _put_inherited(number: int) -> int:
    assert _inherited is not None
    _inherited.put(f"{number}")
    return os.getpid()


def test_a_pool_of_processes_uses_what_it_inherits(path: Path, appends: Appends) -> None:
    """`ProcessPoolExecutor` ends its workers without closing anything: what they have left, the parent sends."""
    global _inherited  # noqa: PLW0603
    with Producer(path, appends, shared=True) as producer:
        _inherited = producer
        context: Any = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as pool:
            pids = set(pool.map(_put_inherited, range(200)))
        assert os.getpid() not in pids
        wait_until(lambda: len(appends.lines) >= 200)
        assert sorted(map(int, appends.lines)) == list(range(200))
        wait_until(lambda: slots(path) == [])
    _inherited = None


PUTS = """
import os, sys, tempfile, time, unistream
path, name, trust, user, group = sys.argv[1:6]
if user != "0":
    # What is imported on the way is the first user's to read.
    with tempfile.TemporaryDirectory() as folder:
        unistream.Producer(folder + "/warm", mode="manual").close()
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
producer = unistream.Producer(path, mode="manual", shared=True, trust=trust)
for line in range(100):
    producer.put(f"{name} {line}")
print(producer.slot, flush=True)
time.sleep(600)
"""


def start_putting(
    prefix: list[str], path: Path, name: str, trust: str = "owner", user: int = 0, group: int = 0
) -> tuple[Any, str]:
    """Start a process that puts and sends nothing; returns it and its slot once all is in."""
    command = [*prefix, sys.executable, "-c", PUTS, str(path), name, trust, str(user), str(group)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(processes: list[Any]) -> None:
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="other namespaces and users are root's to make")


@needs_root
def test_containers_share_a_volume(path: Path, tmp_path: Path, appends: Appends) -> None:
    """Each has pids, a host name and a mount path of its own; one comes back under the same name with other pids."""
    path.mkdir(mode=0o700)
    (tmp_path / "volume").mkdir()
    container = ["unshare", "--pid", "--fork", "--kill-child", "--uts", "--mount", "--mount-proc", "sh", "-c"]
    script = f'hostname box && mount --bind "{path}" "{tmp_path}/volume" && exec "$@"'
    processes = []
    try:
        one, slot = start_putting([*container, script, "sh"], tmp_path / "volume", "one")
        processes.append(one)
        assert slot == "slot-0"
        two, slot = start_putting([*container[:-2], "env"], path, "two")
        processes.append(two)
        assert slot == "slot-1"
        with Producer(path, appends, shared=True) as producer:
            # Those that live keep what they have, though their pids are nobody's here.
            assert producer.slot == "slot-2"
            time.sleep(2.5)
            assert appends.lines == []
            one.kill()
            one.wait()
            wait_until(lambda: len(appends.lines) == 100)
            again, slot = start_putting([*container, script, "sh"], tmp_path / "volume", "again")
            processes.append(again)
            assert slot == "slot-0"
            end(processes[1:])
            wait_until(lambda: len(appends.lines) == 300)
    finally:
        end(processes)
    assert {line.split()[0] for line in appends.lines} == {"one", "two", "again"}
    drain_outbox(path, appends)


@needs_root
def test_two_users_of_a_group_share_an_outbox(appends: Appends) -> None:
    """With the documented modes: what one has left the other takes."""
    group, one, two = 54321, 54322, 54323
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "outbox"
        path.mkdir()
        os.chown(path, 0, group)
        path.chmod(0o2770)
        processes = []
        try:
            for number, user in enumerate([one, two, one]):
                process, slot = start_putting([], path, f"{user}-{number}", "group", user, group)
                processes.append(process)
                assert slot == f"slot-{number}"
            assert path.joinpath("slot-1").stat().st_uid == two
            assert path.joinpath("slot-1").stat().st_mode & 0o7777 == 0o2770
            # One dies, and the other user takes what it has left.
            processes[2].kill()
            processes[2].wait()
            process, slot = start_putting([], path, "later", "group", two, group)
            processes.append(process)
            assert slot == "slot-2"
        finally:
            end(processes)
        # Root has all of it, if it trusts whoever made it.
        with Producer(path, appends, shared=True, trust="anyone") as producer:
            producer.drain(60)
    counts = {name: sum(line.startswith(name) for line in appends.lines) for name in ("54322-0", "54323-1", "later")}
    assert counts == {"54322-0": 100, "54323-1": 100, "later": 100}
