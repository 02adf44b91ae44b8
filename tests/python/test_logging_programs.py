"""`unistream.logging.Handler` in programs that are killed, that fork, and that end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import unistream
from conftest import wait_until
from unistream.logging import Handler

Run = Callable[..., subprocess.CompletedProcess[str]]


def left(path: Path) -> list[bytes]:
    """Return what lies in a buffer that nobody has."""
    found = []
    with unistream.Buffer(path, linger=0) as buffer:
        buffer.seal()
        while (batch := buffer.emit()) is not None:
            found += [record.data for record in batch]
            buffer.commit(batch)
            buffer.seal()
    return found


def messages(path: Path) -> list[str]:
    """Return the messages that lie in a buffer."""
    return [json.loads(data)["message"] for data in left(path)]


def delivered(path: Path) -> list[str]:
    """Return the messages that a file has."""
    return [json.loads(line)["message"] for line in path.read_text().splitlines()] if path.exists() else []


START = """
import atexit, logging, os, signal, sys, threading, time
import unistream.logging
def start(to="null:", **options):
    handler = unistream.logging.Handler("outbox", to, **options)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    return handler
"""


def test_killed_it_loses_nothing(tmp_path: Path) -> None:
    """Threads log and say what has returned, until the process is killed; the next one sends all of it."""
    program = (
        START
        + """
def work(name):
    for number in range(10**6):
        logging.info("%s %d", name, number)
        os.write(1, b"%s %d\\n" % (name.encode(), number))
start("file:app.log", linger=0.01)
for name in "abc":
    threading.Thread(target=work, args=(name,), daemon=True).start()
time.sleep(100)
"""
    )
    returned: set[str] = set()
    for life in range(3):
        with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(200 * (life + 1))]
            os.kill(process.pid, signal.SIGKILL)
            said += process.stdout.readlines()
        returned |= {line.decode().strip() for line in said if line.endswith(b"\n")}
    handler = Handler(tmp_path / "outbox", f"file:{tmp_path}/app.log")
    handler.producer.flush(60)
    handler.close()
    found = delivered(tmp_path / "app.log")
    assert len(returned) >= 200
    assert not returned.difference(found)


def test_the_end_of_the_interpreter_delivers(run_python: Run, tmp_path: Path) -> None:
    done = run_python(START + "start('file:app.log', linger=60)\nfor n in range(1000): logging.info('%d', n)")
    assert (done.returncode, done.stderr) == (0, "")
    assert delivered(tmp_path / "app.log") == [str(number) for number in range(1000)]


def test_what_is_logged_at_the_very_end_is_there(run_python: Run, tmp_path: Path) -> None:
    """By functions of atexit before and after unistream's own, after `shutdown`, by daemon threads."""
    program = (
        """
import atexit, logging
atexit.register(lambda: logging.info("atexit, before anything"))
"""
        + START
        + """
atexit.register(lambda: logging.info("atexit, after the import"))
handler = start("file:app.log")
atexit.register(lambda: logging.info("atexit, after the handler"))
said = []
def background():
    for number in range(10**6):
        logging.info("daemon %d", number)
        said.append(number)
        time.sleep(0.001)
threading.Thread(target=background, daemon=True).start()
while len(said) < 10:
    time.sleep(0.001)
logging.info("main")
logging.shutdown()
logging.info("after shutdown")
print(said[-1])
"""
    )
    done = run_python(program)
    assert (done.returncode, done.stderr) == (0, "")
    texts = delivered(tmp_path / "app.log") + messages(tmp_path / "outbox")
    wanted = {
        "atexit, before anything", "atexit, after the import", "atexit, after the handler", "main", "after shutdown",
        *(f"daemon {number}" for number in range(int(done.stdout))),
    }  # fmt: skip
    assert wanted <= set(texts)
    assert len(texts) == len(set(texts))


def test_many_records_at_the_very_end_cost_no_opening_each(run_python: Run, tmp_path: Path) -> None:
    """The buffer stays open for them, and a handler that is made even later gets it."""
    program = (
        """
import atexit, logging
def late():
    for number in range(3000):
        logging.info("late %d", number)
    logging.shutdown()
    logging.info("after shutdown")
    again = unistream.logging.Handler("outbox", "file:app.log")
    logging.info("to the next")
    again.handle(logging.makeLogRecord({"msg": "the next's own"}))
    print(time.monotonic() - ended)
atexit.register(late)
"""
        + START
        + """
ended = 0.0
def end():
    global ended
    ended = time.monotonic()
start("file:app.log")
atexit.register(end)
"""
    )
    done = run_python(program)
    assert (done.returncode, done.stderr) == (0, "")
    # An opening each takes some 30 ms.
    assert float(done.stdout) < 30
    texts = delivered(tmp_path / "app.log") + messages(tmp_path / "outbox")
    wanted = {*(f"late {number}" for number in range(3000)), "after shutdown", "to the next", "the next's own"}
    assert set(texts) == wanted
    assert len(texts) == len(wanted)


def test_a_sink_that_is_down_keeps_no_program_from_ending(run_python: Run, tmp_path: Path) -> None:
    program = START + "start('http://127.0.0.1:9/', connect_timeout=1)\nlogging.info('kept')\n"
    program = program.replace(", connect_timeout=1", ", to_options={'connect_timeout': 1}")
    began = time.monotonic()
    done = run_python(program)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 20
    assert messages(tmp_path / "outbox") == ["kept"]


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise KeyboardInterrupt", "os._exit(3)", "os.kill(os.getpid(), 15)"])
def test_whatever_ends_the_program(run_python: Run, tmp_path: Path, end: str) -> None:
    done = run_python(START + f"start('file:app.log', linger=60)\nlogging.info('last')\n{end}\n")
    assert done.returncode != 0
    assert delivered(tmp_path / "app.log") + messages(tmp_path / "outbox") == ["last"]


def test_a_forked_child_is_told_what_to_do(run_python: Run, tmp_path: Path) -> None:
    """Without `shared` the buffer is the parent's: the child says so, once, and loses its own records alone."""
    program = (
        START
        + """
handler = start("file:app.log")
logging.info("parent")
child = os.fork()
for number in range(100):
    logging.info("%s %d", "parent" if child else "child", number)
if child == 0:
    assert handler.lost == 100, handler.lost
    logging.shutdown()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert handler.lost == 0
"""
    )
    done = run_python(program)
    assert done.returncode == 0, done.stderr
    [line] = done.stderr.splitlines()
    assert "1 log records not put; in_use" in line
    assert delivered(tmp_path / "app.log") == ["parent", *(f"parent {number}" for number in range(100))]


@pytest.mark.parametrize("sink", ['"file:app.log"', 'unistream.FileSink(os.path.abspath("app.log"))'])
def test_a_child_takes_over_when_the_parent_has_gone(run_python: Run, tmp_path: Path, sink: str) -> None:
    """As daemons do it: what was set up before two forks goes on in the last child, in another directory."""
    program = (
        START
        + f"handler = start({sink})"
        + """
logging.info("before")
if os.fork() == 0:
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    os.setsid()
    deadline = time.monotonic() + 30
    while True:
        lost = handler.lost
        logging.info("daemon")
        if handler.lost == lost or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    logging.shutdown()
    os._exit(0)
os.wait()
while not os.path.getsize("app.log"):
    time.sleep(0.001)
os._exit(0)
"""
    )
    run_python(program)
    wait_until(lambda: "daemon" in delivered(tmp_path / "app.log"))
    assert delivered(tmp_path / "app.log") == ["before", "daemon"]


def test_a_fork_while_other_threads_log_and_open(run_python: Run, tmp_path: Path) -> None:
    """A child must not wait for a lock whose owner the fork left behind."""
    program = (
        START
        + """
start("null:")
def work():
    while True:
        logging.info("x")
        try:
            unistream.logging.Handler("other", "null:").close()
        except unistream.InUse:
            pass
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
for number in range(30):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        logging.info("child")
        handler = unistream.logging.Handler(f"child-{number}", "null:")
        handler.handle(logging.makeLogRecord({"msg": "own"}))
        handler.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, number
os._exit(0)
"""
    )
    done = run_python(program)
    assert done.returncode == 0, done.stderr


def test_the_import_of_unistream_does_not_load_it(run_python: Run) -> None:
    done = run_python("import sys, unistream; print('unistream.logging' in sys.modules)")
    assert done.stdout == "False\n"
