"""The command line."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unistream
from unistream import Producer, Schedule

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return a function that runs a command."""

    def run(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "unistream", *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, cwd=tmp_path)

    return run


def lines(result: subprocess.CompletedProcess[str]) -> list[Any]:
    """Read the output as one JSON value a line."""
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_lines_from_files_and_stdin_into_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\n2\n\n")
    (tmp_path / "b.txt").write_text("no end of line")
    result = cli("put", "outbox", "a.txt", "b.txt", "-", "--to", "file:out.log", stdin="from stdin\n")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "put: 5, bytes: 26, delivered: 5, left: 0, dead letters: 0\n"
    assert (tmp_path / "out.log").read_text() == "1\n2\n\nno end of line\nfrom stdin\n"
    # The same file can be put once more.
    again = cli("put", "outbox", "a.txt", "--json", "--to", "null:")
    assert lines(again) == [{"put": 3, "bytes": 2, "delivered": 3, "left": 0, "dead_letters": 0}]


def test_ndjson_with_ids_and_keys(cli: Cli, tmp_path: Path) -> None:
    stdin = '{"n": 1, "user": "u"}\n{"n": 2, "user": 7}\n'
    result = cli("put", "outbox", "--format", "ndjson", "--id", "n", "--key", "user", "--quiet", stdin=stdin)
    assert (result.returncode, result.stderr) == (0, "")
    shown = lines(cli("cat", "outbox", "--json"))
    assert [(record["seq"], record["id"], record["key"]) for record in shown] == [(1, "1", "u"), (2, "2", "7")]
    assert shown[0]["data"] == '{"n": 1, "user": "u"}'
    bad = cli("put", "outbox", "--format", "ndjson", stdin='{"n": 3}\n{nonsense\n')
    assert bad.returncode == 65
    assert "standard input, line 2" in bad.stderr
    missing = cli("put", "outbox", "--format", "ndjson", "--id", "none", stdin='{"n": 3}\n')
    assert (missing.returncode, "no field 'none'" in missing.stderr) == (65, True)


def test_killed_and_run_again_puts_every_line_once(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    count = 400_000
    source.write_text("".join(f"{number}\n" for number in range(count)))
    command = [sys.executable, "-m", "unistream", "put", "outbox", "in.txt", "--to", "file:out.log", "--json"]
    kills = 0
    for pause in (0.2, 0.25, 0.3, 0.35, 0.4):
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
            time.sleep(pause)
            process.kill()
        kills += process.returncode == -signal.SIGKILL
    assert kills > 0
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(result.stdout)["left"] == 0
    delivered = (tmp_path / "out.log").read_bytes()
    # A run that got to the end forgets the file: then it is put a second time, whole.
    times = delivered.count(b"\n") / count
    assert times == int(times)
    assert delivered == source.read_bytes() * int(times)


def test_looking_at_a_buffer_in_use(cli: Cli, tmp_path: Path) -> None:
    with Producer(tmp_path / "outbox", mode="manual") as producer:
        producer.put(b"\xff\x00", key=b"\xfe")
        producer.put("text")
        [stat] = lines(cli("stat", "outbox", "--json"))
        assert (stat["pending_records"], stat["pending_bytes"], stat["next_seq"]) == (2, 6, 3)
        assert stat["owner_pid"] == os.getpid()
        assert cli("cat", "outbox", "-n", "1", "--json").stdout.count("\n") == 1
        first = json.loads(cli("cat", "outbox", "--json").stdout.splitlines()[0])
        assert (first["data_base64"], first["key_base64"]) == ("/wA=", "/g==")
        assert cli("cat", "outbox", "-n", "0").stdout == ""
        assert "pending records  2\n" in cli("stat", "outbox").stdout
        assert lines(cli("verify", "outbox", "--json")) == [
            {"records": 2, "bytes": 6, "lost_records": 0, "corrupt": []}
        ]
        in_use = cli("put", "outbox", stdin="x\n")
        assert (in_use.returncode, f"pid {os.getpid()}" in in_use.stderr) == (5, True)
        assert producer.stats().pending_records == 2


def test_damage_is_found(cli: Cli, tmp_path: Path) -> None:
    cli("put", "outbox", stdin="".join(f"record {number}\n" for number in range(100)))
    [segment] = (tmp_path / "outbox").glob("*.seg")
    content = bytearray(segment.read_bytes())
    content[content.index(b"record 50")] ^= 1
    segment.write_bytes(content)
    result = cli("verify", "outbox", "--json")
    assert result.returncode == 4
    found = json.loads(result.stdout)
    assert found["records"] < 100
    assert found["corrupt"][0]["file"] == segment.name
    assert "record 50" not in cli("cat", "outbox").stdout


def test_dead_letters(cli: Cli, tmp_path: Path) -> None:
    def send(batch: unistream.Batch) -> None:
        raise ConnectionError("refused")

    schedule = Schedule(multiplier=0, max=0, max_attempts=2, jitter="none")
    with Producer(tmp_path / "outbox", send, schedule=schedule, max_records=2) as producer:
        producer.put_many([b"1", b"\xff", b"3", b"4", b"5"])
        producer.flush(30)
        # Listing and showing need not wait for the owner.
        listed = lines(cli("dead-letters", "list", "outbox", "--json"))
        assert [letter["records"] for letter in listed] == [2, 2, 1]
        in_use = cli("dead-letters", "replay", "outbox", "--all")
        assert in_use.returncode == 5
    first, second, third = (letter["id"] for letter in listed)
    assert "ConnectionError: refused" in cli("dead-letters", "list", "outbox").stdout
    shown = lines(cli("dead-letters", "show", "outbox", first, "--json"))
    assert [entry["record"].get("data") for entry in shown] == ["1", None]
    assert shown[1]["record"]["data_base64"] == "/w=="
    assert "Traceback" in cli("dead-letters", "show", "outbox", first).stdout
    assert lines(cli("dead-letters", "replay", "outbox", first, "--json")) == [{"id": first, "replayed": 2}]
    assert cli("dead-letters", "delete", "outbox", second).stdout == f"{second}: deleted\n"
    assert cli("dead-letters", "show", "outbox", second).returncode == 6
    assert cli("dead-letters", "delete", "outbox", "--all").stdout == f"{third}: deleted\n"
    assert cli("dead-letters", "list", "outbox").stdout == ""
    assert [record["seq"] for record in lines(cli("cat", "outbox", "--json"))] == [6, 7]


def test_delivery_that_does_not_come_about(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mysinks.py").write_text("def refuse(batch):\n    raise ConnectionError('refused')\n")
    arguments = ("put", "outbox", "--to", "python:mysinks:refuse", "--timeout", "0.2", "-o", "schedule_min=5")
    result = cli(*arguments, "--json", stdin="x\n")
    assert result.returncode == 3
    assert json.loads(result.stdout)["left"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["stat", "missing"], 6, "no buffer"),
        (["cat", "missing"], 6, "no buffer"),
        (["dead-letters", "replay", "missing", "--all"], 6, "no buffer"),
        (["dead-letters", "replay", "missing"], 6, "no buffer"),
        (["dead-letters", "delete", "missing"], 2, "--all"),
        (["put", "outbox", "missing.txt"], 1, "missing.txt"),
        (["put", "outbox", "--to", "nonsense"], 2, "no such sink"),
        (["put", "outbox", "--to", "python:nowhere:x"], 2, "nowhere"),
        (["put", "outbox", "-o", "nonsense=1"], 2, "unistream options"),
        (["put", "outbox", "-o", "max_records=0"], 1, "max_records"),
        (["put", "outbox", "--id", "x"], 2, "ndjson"),
        (["nonsense"], 2, "invalid choice"),
    ],
)
def test_exit_codes(cli: Cli, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    result = cli(*arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "missing").exists()


def test_options_and_version(cli: Cli) -> None:
    assert lines(cli("options", "--json")) == unistream.options()
    assert "max_records (count: 1 to 1000000; default 500)" in cli("options").stdout
    assert cli("--version").stdout == f"unistream {unistream.__version__}\n"


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    with unistream.Buffer(tmp_path / "outbox") as buffer:
        for number in range(50_000):
            buffer.put(f"record {number}")
    command = f"{sys.executable} -m unistream cat outbox | head -n 2"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("record 0\nrecord 1\n", "")


def test_progress_on_a_terminal_and_ctrl_c(tmp_path: Path) -> None:
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "unistream", "put", "outbox", "--to", "null:"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=secondary) as process:
        assert process.stdin is not None
        os.close(secondary)
        shown = b""
        while b"put (" not in shown:
            process.stdin.write(b"line\n" * 20_000)
            process.stdin.flush()
            if b"put (" not in shown and _readable(primary):
                shown += os.read(primary, 4096)
        process.send_signal(signal.SIGINT)
        process.wait(30)
        while b"interrupted" not in shown:
            shown += os.read(primary, 4096)
    os.close(primary)
    assert process.returncode == 130
    assert b"delivered" in shown


def _readable(handle: int) -> bool:
    import select

    return bool(select.select([handle], [], [], 0.05)[0])
