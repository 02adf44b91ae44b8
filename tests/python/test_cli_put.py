"""`unistream put`: every line of a file is in, whatever kills it and whatever else puts in between."""

import collections
import contextlib
import json
import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import unistream
from command import lines, run, start, wait_until_it_stands
from conftest import wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unistream._native import Intake

SINKS = """
import time, pathlib

def stuck(batch):
    time.sleep(600)

def some(batch):
    "Take the batches up to line 1500, then none."
    with pathlib.Path("some.log").open("ab") as file:
        for record in batch:
            if int(record.data) >= 1500:
                time.sleep(600)
            file.write(record.data + b"\\n")

def reject(batch):
    report = unistream.Report()
    for index, record in enumerate(batch):
        if record.data == b"bad":
            report.rejected(index, "no \\x1b[2J\\nthanks")
    return report

def down(batch):
    raise unistream.SinkUnavailable("nobody there\\x1b]0;x\\x07")

import unistream
"""
#: The sink takes nothing, so that a small buffer fills up and the run stands still where it can be killed.
FULL = ("-o", "segment_bytes=64KiB", "-o", "max_buffer_bytes=256KiB", "-o", "full_timeout=600s")
COUNT = 20_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a file of lines and a module of sinks."""
    (tmp_path / "sinks.py").write_text(SINKS)
    (tmp_path / "in.txt").write_text("".join(f"{number}\n" for number in range(COUNT)))
    return tmp_path


@contextlib.contextmanager
def standing(folder: Path, *files: str, sink: str = "stuck", least: int = 1000) -> Iterator[int]:
    """Run a put that stands still in the middle; kill it then, and say how many records it had put."""
    with start(folder, "put", "outbox", *files, "--to", f"python:sinks:{sink}", *FULL, "--quiet") as process:
        try:
            yield wait_until_it_stands(folder, "outbox", least)
        finally:
            process.kill()


def records(folder: Path) -> list[str]:
    """Return what is in the buffer."""
    return run(folder, "cat", "outbox").stdout.splitlines()


def expected(count: int = COUNT) -> list[str]:
    return [str(number) for number in range(count)]


def test_lines_that_others_put_in_between_are_not_taken_for_those_of_the_file(folder: Path) -> None:
    # They were counted by seqs: a thousand lines of the file were lost, with exit code 0.
    with standing(folder, "in.txt") as killed_at:
        assert killed_at < COUNT
    others = [str(number) for number in range(killed_at, killed_at + 1000)]
    with unistream.Buffer(folder / "outbox") as buffer:
        for other in others:
            buffer.put(other)  # the very bytes of the lines that come next
    again = run(folder, "put", "outbox", "in.txt")
    assert again.returncode == 0
    assert f"in.txt: {killed_at} lines are in" in again.stderr
    assert records(folder) == expected()[:killed_at] + others + expected()[killed_at:]
    assert not (folder / "outbox" / "intake").exists()


def test_what_was_delivered_before_the_kill_is_not_put_again(folder: Path) -> None:
    with standing(folder, "in.txt", sink="some", least=3000):
        pass
    again = run(folder, "put", "outbox", "in.txt", "--to", "file:rest.log", "--json")
    [summary] = lines(again)
    assert summary["put"] + summary["already_in"] == COUNT
    delivered = (folder / "some.log").read_text() + (folder / "rest.log").read_text()
    assert delivered.splitlines() == expected()


def test_what_nobody_can_see_any_more_is_put_again_with_the_same_ids(folder: Path) -> None:
    with standing(folder, "in.txt") as killed_at:
        pass
    before = {record["id"]: record["data"] for record in lines(run(folder, "cat", "outbox", "--json"))}
    assert len(before) == killed_at
    with unistream.Producer(folder / "outbox", unistream.NullSink()) as other:
        other.put("another's")
    assert run(folder, "put", "outbox", "in.txt", "--quiet").returncode == 0
    again = {record["id"]: record["data"] for record in lines(run(folder, "cat", "outbox", "--json"))}
    assert sorted((before | again).values()) == sorted(expected())
    assert len(before.keys() & again.keys()) <= 4096
    assert all(before[id] == again[id] for id in before.keys() & again.keys())


def test_ids_of_the_file_itself_do_as_well(folder: Path) -> None:
    (folder / "in.txt").write_text("".join(f'{{"n": "{number}"}}\n' for number in range(COUNT)))
    arguments = ("in.txt", "--format", "ndjson", "--id", "n", "--key", "n")
    with standing(folder, *arguments) as killed_at:
        pass
    with unistream.Buffer(folder / "outbox") as buffer:
        buffer.put("other", id=str(killed_at))
        buffer.put(f'{{"n": "{killed_at + 1}"}}', id=str(killed_at + 1))
    assert run(folder, "put", "outbox", *arguments).returncode == 0
    ids = [record["id"] for record in lines(run(folder, "cat", "outbox", "--json"))]
    assert ids == [*expected()[:killed_at], str(killed_at), str(killed_at + 1), *expected()[killed_at:]]


def test_kills_at_any_moment(folder: Path) -> None:
    count = 400_000
    (folder / "in.txt").write_text("".join(f"{number}\n" for number in range(count)))
    runs = kills = 0
    while True:
        runs += 1
        with start(folder, "put", "outbox", "in.txt", "--quiet", stderr=subprocess.DEVNULL) as process:
            time.sleep(0.05 * 1.2**runs)
            process.kill()
        kills += process.returncode == -signal.SIGKILL
        if process.returncode == 0:
            break
        with unistream.Buffer(folder / "outbox") as buffer:
            buffer.put("other")
    assert kills >= 2
    assert records(folder).count("other") == runs - 1
    mine = [record for record in records(folder) if record != "other"]
    # A run that was killed behind its very end has put the file and forgotten it: then it is put a second time, whole.
    assert mine == expected(count) * (len(mine) // count)


def test_several_files_and_one_twice(folder: Path) -> None:
    (folder / "small.txt").write_text("a\nb\n")
    files = ["small.txt", "in.txt", "small.txt", "in.txt"]
    with standing(folder, *files):
        pass
    # From another directory and by another path it is the same file.
    (folder / "below").mkdir()
    files = [f"../{name}" for name in files]
    assert run(folder / "below", "put", "../outbox", *files).returncode == 0
    assert records(folder) == ["a", "b", *expected(), "a", "b", *expected()]
    # A run that ended is forgotten.
    [summary] = lines(run(folder, "put", "outbox", "small.txt", "--json"))
    assert (summary["put"], summary["already_in"]) == (2, 0)


def test_after_a_power_loss_only_notes_behind_a_sync_count(folder: Path) -> None:
    (folder / "small.txt").write_text("a\nb\n")
    down = ("put", "outbox", "small.txt", "in.txt", "--to", "python:sinks:down", "--timeout", "0")
    assert run(folder, *down).returncode == 3
    # Another boot; and what was put of the second file since its first note is not known to be there.
    notes = folder / "outbox" / "intake"
    kept = [line.split() for line in notes.read_text().splitlines()]
    first = [words for words in kept if words[0] == kept[0][0]]
    second = [words for words in kept if words[0] != kept[0][0]]
    assert (first[-1][2], first[-1][-1], second[0][2], second[1][2], second[1][-1]) == ("2", "1", "0", "4096", "0")
    kept = [*first, *second[:2]]
    notes.write_text("".join(" ".join([*words[:-2], "0" * 36, words[-1]]) + "\n" for words in kept))
    again = run(folder, *down)
    assert "small.txt: 2 lines are in" in again.stderr
    assert "in.txt: " not in again.stderr
    assert records(folder) == ["a", "b", *expected(), *expected()]


def test_runs_of_other_files_in_between_keep_the_notes(folder: Path) -> None:
    (folder / "small.txt").write_text("a\nb\n")
    with standing(folder, "in.txt") as killed_at:
        pass
    assert run(folder, "put", "outbox", "small.txt").returncode == 0
    assert run(folder, "put", "outbox", "in.txt").returncode == 0
    assert records(folder) == [*expected()[:killed_at], "a", "b", *expected()[killed_at:]]


def test_a_file_that_grew_goes_on_and_one_that_changed_begins_anew(folder: Path) -> None:
    source = folder / "in.txt"
    source.write_text("1\n2\nthr")
    down = ("put", "outbox", "in.txt", "--to", "python:sinks:down", "--timeout", "0")
    assert run(folder, *down).returncode == 3
    with source.open("a") as file:
        file.write("ee\n4\n")
    again = run(folder, *down)
    assert (again.returncode, "in.txt: 2 lines are in" in again.stderr) == (3, True)
    # The last line was put before it was whole.
    assert records(folder) == ["1", "2", "thr", "three", "4"]
    source.write_text("1\nnew\n")
    changed = run(folder, *down)
    assert "in.txt has changed" in changed.stderr
    assert records(folder)[5:] == ["1", "new"]
    # Another file of that name is not mistaken for it either.
    source.rename(folder / "old.txt")
    source.write_text("1\nnew\nother\n")
    assert run(folder, *down).returncode == 3
    assert records(folder)[7:] == ["1", "new", "other"]


def test_records_that_are_left_are_gone_on_with_by_the_same_command(folder: Path) -> None:
    (folder / "in.txt").write_text("1\n2\n")
    result = run(folder, "put", "outbox", "in.txt", "--to", "python:sinks:down", "--timeout", "0.1")
    assert result.returncode == 3
    assert "2 records are left in outbox; the same command again goes on" in result.stderr
    [summary] = lines(run(folder, "put", "outbox", "in.txt", "--to", "file:out.log", "--json"))
    assert (summary["put"], summary["already_in"], summary["delivered"]) == (0, 2, 2)
    assert (folder / "out.log").read_text() == "1\n2\n"


def test_the_exit_code_says_that_there_are_dead_letters(folder: Path) -> None:
    (folder / "in.txt").write_text("1\nbad\n3\n")
    result = run(folder, "put", "outbox", "in.txt", "--to", "python:sinks:reject")
    assert result.returncode == 7
    assert "there are 1 dead letters: unistream dead-letters list outbox" in result.stderr
    assert run(folder, "put", "outbox", "--to", "null:").returncode == 7
    assert run(folder, "put", "outbox").returncode == 0
    run(folder, "dead-letters", "delete", "outbox", "--all")
    assert run(folder, "put", "outbox", "--to", "null:").returncode == 0


def test_standard_input_says_what_a_rerun_should_get(folder: Path) -> None:
    result = run(folder, "put", "outbox", "--format", "ndjson", stdin="1\n2\nnonsense\n")
    assert result.returncode == 65
    assert "2 lines of standard input are in; it cannot be read again" in result.stderr
    assert "standard input, line 3" in result.stderr
    with start(folder, "put", "outbox", stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"3\n4\n5\nhalf a li")
        process.stdin.flush()
        wait_until(lambda: run(folder, "cat", "outbox").stdout == "1\n2\n3\n4\n5\n")
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
    assert process.returncode == 130
    assert "3 lines of standard input are in" in said


def test_what_cannot_be_read_again_is_read_once(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with start(folder, "put", "outbox", "pipe", "/dev/null", "--quiet") as process:
        (folder / "pipe").write_text("1\n2\n")
    assert process.returncode == 0
    assert records(folder) == ["1", "2"]
    assert run(folder, "put", "outbox", "outbox").stderr == "unistream: outbox: it is a directory\n"
    unreadable = run(folder, "put", "outbox", "/proc/self/mem")
    assert (unreadable.returncode, unreadable.stderr) == (1, "unistream: /proc/self/mem: Input/output error\n")


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"x" * 100_000, b'{"source": 1}\n', b"a b c\n" * 1000])
def test_notes_that_are_damaged_cost_no_line(folder: Path, content: bytes) -> None:
    with standing(folder, "in.txt"):
        pass
    notes = folder / "outbox" / "intake"
    assert stat.S_IMODE(notes.stat().st_mode) == 0o600
    notes.write_bytes(content)
    result = run(folder, "put", "outbox", "in.txt")
    assert (result.returncode, "Traceback" in result.stderr) == (0, False)
    assert ("intake is damaged" in result.stderr) == (content.endswith(b"\n") or len(content) > 0)
    assert set(records(folder)) == set(expected())


def test_notes_of_which_the_end_is_damaged_count_up_to_there(folder: Path) -> None:
    with standing(folder, "in.txt") as killed_at:
        pass
    notes = folder / "outbox" / "intake"
    notes.write_bytes(notes.read_bytes() + b"\0" * 100 + b"\n")
    result = run(folder, "put", "outbox", "in.txt")
    assert f"{killed_at} lines are in" in result.stderr
    assert records(folder) == expected()


@pytest.mark.parametrize("change", ["source", "lines", "offset", "digest"])
def test_forged_notes_skip_nothing(folder: Path, change: str) -> None:
    with standing(folder, "in.txt"):
        pass
    notes = folder / "outbox" / "intake"
    words = notes.read_text().splitlines()[-1].split()
    place = ["source", "tag", "lines", "offset", "seq", "digest"].index(change)
    words[place] = {"source": "0" * 16 + ":1:1:1", "digest": "0" * 32}.get(change, "9" * 18)
    notes.write_text(" ".join(words) + "\n")
    result = run(folder, "put", "outbox", "in.txt")
    assert result.returncode == 0
    assert set(records(folder)) == set(expected())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_notes_of_any_bytes_skip_nothing(tmp_path: Path, data: st.DataObject) -> None:
    # In this process, because a command for each would take minutes.
    source = tmp_path / "in.txt"
    source.write_text("".join(f"{number}\n" for number in range(30)))
    directory = Path(tempfile.mkdtemp(dir=tmp_path)) / "outbox"
    with unistream.Buffer(directory) as buffer, source.open("rb") as file:

        def put(line: bytes, id: str | None) -> int:
            if line == stop:
                raise KeyError
            puts.append(line)
            return buffer.put(line, id=id)

        said: list[str] = []
        for stop in (b"19", b""):
            puts: list[bytes] = []
            intake = Intake(directory, lambda _, __: "", said.append)
            with contextlib.suppress(KeyError):
                intake.take(file.fileno(), "in.txt", put, buffer.sync)
            del intake
            if stop:
                notes = bytearray((directory / "intake").read_bytes())
                for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(notes) - 1), st.integers(0, 255)))):
                    notes[place] = byte
                cut = data.draw(st.integers(0, len(notes)))
                (directory / "intake").write_bytes(notes[:cut] + data.draw(st.binary(max_size=300)))
        assert len(puts) in (30, 11)
        buffer.seal()
        batch = buffer.emit()
        assert batch is not None
        numbers = [int(record.data) for record in batch]
        assert numbers in (list(range(30)), [*range(19), *range(30)])


@pytest.mark.parametrize("kind", ["symlink", "hard link", "directory", "fifo", "of another user", "writable"])
def test_notes_of_somebody_else_are_refused_and_left_alone(folder: Path, kind: str) -> None:
    (folder / "small.txt").write_text("a\n")
    assert run(folder, "put", "outbox", "--quiet", stdin="x\n").returncode == 0
    notes, victim = folder / "outbox" / "intake", folder / "victim"
    victim.write_text("mine\n")
    match kind:
        case "symlink":
            notes.symlink_to(victim)
        case "hard link":
            notes.hardlink_to(victim)
        case "directory":
            notes.mkdir()
        case "fifo":
            os.mkfifo(notes)
        case "of another user":
            notes.write_text("")
            os.chown(notes, 12345, -1)
        case _:
            notes.write_text("")
            notes.chmod(0o666)
    result = run(folder, "put", "outbox", "small.txt")
    assert result.returncode == 1
    assert "outbox/intake is not a file that only we can write; remove it" in result.stderr
    assert victim.read_text() == "mine\n"
    assert records(folder) == ["x"]


def test_a_line_that_is_longer_than_a_record_is_an_error_not_the_end_of_memory(folder: Path) -> None:
    result = run(folder, "put", "outbox", "/dev/zero", "--quiet")
    assert result.returncode == 65
    assert "/dev/zero, line 1: " in result.stderr


def test_a_stream_of_repeated_lines_is_counted_right(folder: Path) -> None:
    (folder / "in.txt").write_text("same\n" * COUNT)
    with standing(folder, "in.txt"):
        pass
    with unistream.Buffer(folder / "outbox") as buffer:
        for _ in range(10):
            buffer.put("same")
    assert run(folder, "put", "outbox", "in.txt").returncode == 0
    assert collections.Counter(records(folder)) == {"same": COUNT + 10}


def test_the_summary_is_exact_json(folder: Path) -> None:
    [summary] = lines(run(folder, "put", "outbox", "in.txt", "--json"))
    assert json.dumps(summary) == json.dumps(
        {"put": COUNT, "bytes": 88890, "already_in": 0, "delivered": 0, "left": COUNT, "dead_letters": 0}
    )
