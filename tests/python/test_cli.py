"""The command line, but for putting files: see `test_cli_put.py`."""

import contextlib
import fcntl
import functools
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unistream
from command import UNISTREAM, Completed, environment, lines, run, shell
from conftest import wait_until
from unistream import Producer, Schedule

Cli = Callable[..., Completed]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return a function that runs a command."""
    return functools.partial(run, tmp_path)


def test_lines_from_files_and_stdin_into_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\n2\n\n")
    (tmp_path / "b.txt").write_text("no end of line")
    result = cli("put", "outbox", "a.txt", "b.txt", "-", "--to", "file:out.log", stdin="from stdin\n")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "put: 5, bytes: 26, already in: 0, delivered: 5, left: 0, dead letters: 0\n"
    assert (tmp_path / "out.log").read_text() == "1\n2\n\nno end of line\nfrom stdin\n"
    # The same file can be put once more.
    again = cli("put", "outbox", "a.txt", "--json", "--to", "null:")
    assert lines(again) == [
        {"put": 3, "bytes": 2, "already_in": 0, "delivered": 3, "left": 0, "dead_letters": 0},
    ]


def test_ndjson_with_ids_and_keys(cli: Cli, tmp_path: Path) -> None:
    stdin = '{"n": 1, "user": "u"}\n{"n": 2, "user": 7}\n'
    result = cli("put", "outbox", "--format", "ndjson", "--id", "n", "--key", "user", "--quiet", stdin=stdin)
    assert (result.returncode, result.stderr) == (0, "")
    shown = lines(cli("cat", "outbox", "--json"))
    assert [(record["seq"], record["id"], record["key"]) for record in shown] == [(1, "1", "u"), (2, "2", "7")]
    assert shown[0]["data"] == '{"n": 1, "user": "u"}'
    for line, why in (
        ("{nonsense", "line 2: it is not JSON: key must be a string at column 2"),
        ("[NaN]", "it is not JSON: expected value at column 2"),
        ("[" * 100_000, "it is not JSON: EOF"),
        ('{"n": 3}', 'no field "user"'),
        ('{"n": "\\ud800", "user": ""}', "it is not JSON"),
        ("5", 'no field "n"'),
    ):
        arguments = ("put", "other", "--format", "ndjson", "--id", "n", "--key", "user")
        bad = cli(*arguments, stdin=f'{{"n": 3, "user": 1}}\n{line}\n')
        assert (bad.returncode, "standard input, line 2: " in bad.stderr) == (65, True)
        assert why in bad.stderr


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
        assert re.search(r"^pending records +2$", cli("stat", "outbox").stdout, re.MULTILINE)
        assert lines(cli("verify", "outbox", "--json")) == [
            {"records": 2, "bytes": 6, "lost_records": 0, "corrupt": [], "missing": []}
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
        raise RuntimeError("refused")

    schedule = Schedule(multiplier=0, max=0, max_attempts=2, jitter="none")
    with Producer(tmp_path / "outbox", send, schedule=schedule, max_records=2) as producer:
        producer.put_many([b"1", b"\xff", b"3", b"4", b"5"])
        producer.flush(30)
        # Listing and showing need not wait for the owner.
        listed = lines(cli("dead-letters", "list", "outbox", "--json"))
        assert [letter["records"] for letter in listed] == [2, 2, 1]
    first, second, third = (letter["id"] for letter in listed)
    assert "RuntimeError: refused" in cli("dead-letters", "list", "outbox").stdout
    shown = lines(cli("dead-letters", "show", "outbox", first, "--json"))
    assert [entry["record"].get("data") for entry in shown] == ["1", None]
    assert shown[1]["record"]["data_base64"] == "/w=="
    assert "Traceback" in cli("dead-letters", "show", "outbox", first).stdout
    assert lines(cli("dead-letters", "replay", "outbox", first, "--json")) == [{"id": first, "replayed": 2}]
    assert cli("dead-letters", "delete", "outbox", second).stdout == f"{second}: deleted\n"
    assert cli("dead-letters", "show", "outbox", second).returncode == 6
    assert cli("dead-letters", "delete", "outbox", "--all").stdout == f"{third}: deleted\n"
    nothing = cli("dead-letters", "list", "outbox")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == "unistream: there are no dead letters in outbox\n"
    assert cli("dead-letters", "delete", "outbox", "--all").stderr == nothing.stderr
    assert [record["seq"] for record in lines(cli("cat", "outbox", "--json"))] == [6, 7]


def test_a_replay_takes_the_options_that_the_buffer_needs(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    path.mkdir()
    path.chmod(0o775)
    with Producer(path, lambda batch: unistream.Report().rejected(0, "no"), trust="group") as producer:
        producer.put("x")
        producer.flush(30)
    refused = cli("dead-letters", "replay", "outbox", "--all")
    assert refused.returncode == 1
    assert "set the option trust to group" in refused.stderr
    assert cli("dead-letters", "replay", "outbox", "--all", "-o", "trust=group").returncode == 0
    assert cli("dead-letters", "replay", "outbox", "--all", "-o", "nothing=1").returncode == 2


def test_delivery_that_does_not_come_about(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mysinks.py").write_text("def refuse(batch):\n    raise RuntimeError('refused')\n")
    arguments = ("put", "outbox", "--to", "python:mysinks:refuse", "--timeout", "0.2", "-o", "schedule_min=5")
    result = cli(*arguments, "--json", stdin="x\n")
    assert result.returncode == 3
    assert json.loads(result.stdout)["left"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["stat", "missing"], 6, "no buffer in missing"),
        (["cat", "missing"], 6, "no buffer in missing"),
        (["verify", "missing"], 6, "no buffer in missing"),
        (["dead-letters", "list", "missing"], 6, "no buffer in missing"),
        (["dead-letters", "show", "missing", "1"], 6, "no buffer in missing"),
        (["dead-letters", "replay", "missing", "--all"], 6, "no buffer in missing"),
        (["dead-letters", "replay", "missing", "1"], 6, "no buffer in missing"),
        (["dead-letters", "delete", "missing", "--all"], 6, "no buffer in missing"),
        (["dead-letters", "delete", "missing", "1"], 6, "no buffer in missing"),
        (["dead-letters", "delete", "missing"], 2, "--all"),
        (["put", "missing", "missing.txt"], 1, "missing.txt: No such file or directory"),
        (["put", "missing", "."], 1, ".: it is a directory"),
        (["put", "missing", "--to", ""], 2, "there is no kind of sink"),
        (["put", "missing", "--to", "nonsense"], 2, "there are file, null, "),
        (["put", "missing", "--to", "nonsense:x"], 2, "there are file, "),
        (["put", "missing", "--to", "kinesis://stream?region=eu-central-1&nonsense=1"], 2, "nonsense"),
        (["put", "missing", "--to", "file:x?framing=nonsense"], 2, "framing"),
        (["put", "missing", "--to", "file:\udcff"], 2, "file:\\xff: it is not UTF-8"),
        (["put", "missing", "--to", "file:no/such/folder"], 1, "no/such/folder"),
        (["put", "missing", "--to", "python:nowhere:x"], 2, "ModuleNotFoundError: No module named 'nowhere'"),
        (["put", "missing", "--to", "python:os:nowhere"], 2, "nowhere"),
        (["put", "missing", "--to", "python:os:sep"], 2, "a sink is a callable"),
        (["put", "missing", "--to", "python:os"], 2, "python:MODULE:NAME"),
        (["put", "missing", "--to", "python:antigravity2:x\x1b[2J"], 2, "antigravity2"),
        (["put", "missing", "-o", "nonsense=1"], 2, "unistream options"),
        (["put", "missing", "-o", "max_records=0"], 2, "max_records"),
        (["put", "missing", "-o", "max_records=\x1b"], 2, "max_records"),
        (["put", "missing", "--id", "x"], 2, "ndjson"),
        (["put", "missing", "--timeout", "nan"], 2, "seconds"),
        (["put", "missing", "--timeout", "-1"], 2, "seconds"),
        (["put", "missing", "--time", "1"], 2, "--time"),
        (["cat", "missing", "-n", "-1"], 2, "count"),
        (["nonsense\x1b[2J"], 2, "unrecognized subcommand"),
        (["stat", "missing", "--no\x1b[2J\udcff"], 2, "unexpected argument '--no\\x1b[2J\\xff'"),
        ([], 2, "COMMAND"),
    ],
)
def test_exit_codes(cli: Cli, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    result = cli(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert "\x1b" not in result.stderr
    assert result.stderr.endswith("\n")
    assert not (tmp_path / "missing").exists()


def test_the_exit_codes_are_written_down(cli: Cli) -> None:
    shown = cli("--help").stdout
    readme = (Path(__file__).parents[2] / "python" / "README.md").read_text()
    for code in ("0", "1", "2", "3", "4", "5", "6", "7", "65", "128"):
        assert re.search(rf"^  {code}\b", shown, re.MULTILINE)
        assert re.search(rf"^\| {code}\b", readme, re.MULTILINE)


def test_files_that_are_no_buffer(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cli("stat", "file").returncode == 6
    result = cli("put", "file", stdin="x\n")
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert "file" in result.stderr


def test_a_sink_is_what_a_url_says(cli: Cli, tmp_path: Path) -> None:
    # Options were part of the file's name.
    assert cli("put", "outbox", "--to", "file:out.log?framing=length-prefixed&sync=true", stdin="x\n").returncode == 0
    assert (tmp_path / "out.log").read_bytes().endswith(b"x")
    assert cli("put", "outbox", "--to", f"file://{tmp_path}/a%20b.log", stdin="y\n").returncode == 0
    assert (tmp_path / "a b.log").read_text() == "y\n"
    secret = cli("put", "outbox", "--to", "kinesis://x?secret_access_key=hush&nonsense=1")
    assert (secret.returncode, "hush" in secret.stderr) == (2, False)


def test_modules_of_the_current_directory(cli: Cli, tmp_path: Path) -> None:
    # The current directory was in front of everything, for good.
    (tmp_path / "mine.py").write_text(
        "import sys, os\nimport colorsys\nat_import = sys.path.index(os.getcwd())\n"
        "last = len(sys.path) - 1\n"
        "def send(batch):\n"
        "    assert at_import == last and os.getcwd() not in sys.path and '' not in sys.path\n"
        "    assert colorsys.ONE_THIRD\n"
    )
    (tmp_path / "colorsys.py").write_text("ONE_THIRD = None\n")
    put = ("put", "outbox", "--to", "python:mine:send", "-o", "max_attempts=1", "--json")
    assert lines(cli(*put, stdin="x\n"))[0]["delivered"] == 1
    unsafe = cli(*put, stdin="x\n", PYTHONSAFEPATH="1")
    assert (unsafe.returncode, "No module named 'mine'" in unsafe.stderr) == (2, True)
    for text, what in (("1 +", "SyntaxError"), ("raise SystemExit(0)", "SystemExit"), ("1 / 0", "ZeroDivisionError")):
        (tmp_path / "mine.py").write_text(text)
        result = cli(*put, stdin="x\n")
        assert (result.returncode, what in result.stderr, "Traceback" in result.stderr) == (2, True, False)
        assert "Traceback" in cli(*put, stdin="x\n", UNISTREAM_TRACEBACK="1").stderr
    (tmp_path / "mine.py").write_text("async def send(batch): pass\n")
    assert "event loop" in cli(*put).stderr


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("unistream put outbox <&-", 1, "standard input is closed"),
        ("echo x | unistream put outbox --to file:out.log >&-", 0, "put: 1"),
        ("echo x | unistream put outbox --json >&-", 1, "standard output is closed"),
        ("echo x | unistream put outbox --to file:out.log 2>&-", 0, ""),
        ("unistream put outbox in.txt --to file:out.log <&- >&- 2>&-", 0, ""),
        ("unistream stat full >&-", 1, "standard output is closed"),
        ("unistream cat full >&-", 1, "standard output is closed"),
        ("unistream stat full --json >/dev/full", 1, "standard output: No space left on device"),
        ("unistream cat full >/dev/full", 1, "standard output: No space left on device"),
        ("unistream options >/dev/full", 1, "standard output: No space left on device"),
        ("unistream put --help | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("unistream stat missing 2>&-", 6, ""),
        ("unistream nonsense 2>&-", 2, ""),
        ("unistream stat missing 2>/dev/full", 6, ""),
        ("unistream stat full | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("unistream cat full | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}", 0, ""),
        ("unistream put outbox in.txt --json | true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_streams_that_are_closed_or_broken(tmp_path: Path, script: str, code: int, said: str) -> None:
    with unistream.Buffer(tmp_path / "full") as buffer:
        for number in range(30_000):
            buffer.put(f"record {number}")
    (tmp_path / "in.txt").write_text("x\n")
    result = shell(tmp_path, script)
    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    if "out.log" in script:
        # The engine's files were given the number of a closed stream.
        assert (tmp_path / "out.log").read_text() == "x\n"


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "latin-1:strict"},
        {"PYTHONIOENCODING": "utf-8:strict"},
    ],
)
def test_any_locale(tmp_path: Path, locale: dict[str, str]) -> None:
    name = os.fsdecode("бü".encode() + b"\xff")
    (tmp_path / name).write_text("snow ☃ \x1b[2J\n")
    cli = functools.partial(run, tmp_path, **locale)
    assert cli("put", name + ".box", name, "--to", "file:out.log", "--quiet").returncode == 0
    assert (tmp_path / "out.log").read_text() == "snow ☃ \x1b[2J\n"
    assert cli("put", name + ".box", name).returncode == 0
    [shown] = lines(cli("cat", name + ".box", "--json"))
    assert shown["data"] == "snow ☃ \x1b[2J"
    assert cli("cat", name + ".box").stdout == "snow ☃ \x1b[2J\n"
    missing = cli("put", name + ".box", name + "2")
    assert (missing.returncode, "Traceback" in missing.stderr) == (1, False)
    assert "\\xff2: No such file" in missing.stderr
    assert cli("stat", name).returncode == 6
    assert cli("stat", name + ".box").returncode == 0


def test_what_a_person_reads_has_no_control_characters(cli: Cli, tmp_path: Path) -> None:
    evil = "\x1b]0;x\x07\r\n\x9b2J\u202e"

    def send(batch: unistream.Batch) -> unistream.Report:
        report = unistream.Report()
        match batch[0].seq:
            case 1:
                return report.rejected(0, f"no {evil}")
            case 2:
                return report.failed(0, RuntimeError(f"bad {evil}"))
            case _:
                return report.unavailable(0, f"away {evil}")

    schedule = Schedule(multiplier=0, max=0, max_attempts=1, jitter="none")
    send.__qualname__ = f"send{evil}"
    with Producer(tmp_path / "outbox", send, schedule=schedule, max_records=1) as producer:
        for _ in range(3):
            producer.put(f"data {evil}", id=f"id {evil}", key=f"key {evil}")
        wait_until(lambda: producer.stats().unavailable_attempts > 0)
        producer.close(0)
    listed, second = lines(cli("dead-letters", "list", "outbox", "--json"))
    [stat] = lines(cli("stat", "outbox", "--json"))
    [left] = lines(cli("cat", "outbox", "--json"))
    assert left["data"] == f"data {evil}"
    assert left["id"] == f"id {evil}"
    shown = lines(cli("dead-letters", "show", "outbox", listed["id"], "--json"))
    assert shown[0]["record"]["reason"] == f"no {evil}"
    assert stat["pending_records"] == 1
    results = [
        cli("dead-letters", "list", "outbox"),
        cli("dead-letters", "show", "outbox", listed["id"]),
        cli("dead-letters", "show", "outbox", second["id"]),
        cli("stat", "outbox"),
        cli("stat", f"missing {evil}"),
        cli("put", "outbox", f"missing {evil}"),
        cli("dead-letters", "show", "outbox", evil),
        cli("put", "outbox", "--to", f"file:{evil}/x"),
    ]
    for result in results:
        assert all(c == "\n" or c.isprintable() for c in result.stdout + result.stderr), result
    assert results[0].stdout.count("\n") == 2
    # What cat writes into a pipe is the data, and to a person what can be seen.
    assert cli("cat", "outbox").stdout == f"data {evil}\n".replace("\r\n", "\n")
    assert on_terminal(tmp_path, "cat", "outbox")[1].count("\\x1b") == 1


def test_logged_errors_are_one_line_each(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def send(batch):\n    raise ValueError('a\\nfake: line\\x1b[2J')\n")
    result = cli("put", "outbox", "--to", "python:mine:send", "-o", "max_attempts=1", stdin="x\n")
    assert result.returncode == 7
    assert all(line.startswith(("unistream: ", "put: ")) for line in result.stderr.splitlines()), result.stderr
    assert "a\\nfake: line\\x1b[2J" in result.stderr


def test_options_and_version(cli: Cli) -> None:
    assert lines(cli("options", "--json")) == unistream.options()
    assert "max_records (count: 1 to 1000000; default 500)" in cli("options").stdout
    assert cli("--version").stdout == f"unistream {unistream.__version__}\n"


def on_terminal(folder: Path, *arguments: object, columns: int = 80, term: str = "xterm") -> tuple[int, str]:
    """Run a command whose output and errors are a terminal; return the code and what is on it."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": secondary, "stderr": secondary}
    command = [UNISTREAM, *map(str, arguments)]
    with subprocess.Popen(command, cwd=folder, env=environment(TERM=term), **streams) as process:
        os.close(secondary)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while read := os.read(primary, 4096):
                shown += read
    os.close(primary)
    return process.returncode, shown.decode()


def test_progress_fits_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import unistream\ndef send(batch):\n    raise unistream.SinkUnavailable('nobody ☃ there\\x1b[2J' * 20)\n"
    )
    (tmp_path / "in.txt").write_text("x\n")
    put = ("put", "outbox", "in.txt", "--to", "python:mine:send", "--timeout", "1")
    code, shown = on_terminal(tmp_path, *put, columns=50)
    assert code == 3
    # Without what moves the cursor, a line is what is drawn before the next return of it.
    drawn = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))
    progress = [line for line in drawn if " left" in line and not line.startswith(("unistream: ", "put: "))]
    assert progress
    assert all(len(line.rstrip()) <= 49 and line.isascii() and line.isprintable() for line in progress)
    for term, more in (("dumb", ()), ("", ()), ("xterm", ("--quiet",))):
        assert "\x1b" not in on_terminal(tmp_path, *put, *more, term=term)[1]


@pytest.mark.parametrize("columns", [80, 40, 25])
def test_top_fits_the_terminal_and_gives_it_back(tmp_path: Path, columns: int) -> None:
    def send(batch: unistream.Batch) -> unistream.Report:
        report = unistream.Report()
        if batch[0].seq == 1:
            return report.rejected(0, "no such field\x1b[2J " * 20)
        return report.unavailable(0, "nobody ☃ there " * 20)

    with Producer(tmp_path / "outbox", send, max_records=1, schedule=Schedule(multiplier=60)) as producer:
        producer.put_many([b"1", b"2", b"3"])
        wait_until(lambda: producer.stats().unavailable_attempts > 0)
        top = ("top", "outbox", "-i", "0.1", "-n", "2")
        code, shown = on_terminal(tmp_path, *top, columns=columns)
        plain = on_terminal(tmp_path, *top, columns=columns, term="dumb")[1]
        producer.close(0)
    assert code == 0
    assert shown.startswith("\x1b[?1049h\x1b[?25l")
    assert shown.endswith("\x1b[?25h\x1b[?1049l")
    drawn = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", shown))
    assert all(len(line) <= columns and line.isprintable() for line in drawn)
    assert "2 records" in shown
    assert "unavailable" in shown
    assert "\\x1b[2J" in shown or columns < 80
    # Elsewhere it is a line for each look.
    assert plain.count("\n") == 2
    assert "\x1b" not in plain


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("first", [False, True])
def test_signals_end_it_in_order(tmp_path: Path, number: signal.Signals, first: bool) -> None:
    # The first process of a container, for whom nothing has a default action, could not be ended.
    (tmp_path / "mine.py").write_text("import time\ndef send(batch):\n    time.sleep(600)\n")
    command = [UNISTREAM, "put", "outbox", "--to", "python:mine:send"]
    if first:
        command = ["unshare", "--pid", "--fork", "--kill-child", *command]
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), **streams) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"1\n2\n")
        process.stdin.flush()
        wait_until(lambda: run(tmp_path, "cat", "outbox").stdout == "1\n2\n")
        child = process.pid
        if first:
            [child] = map(int, Path(f"/proc/{child}/task/{child}/children").read_text().split())
        os.kill(child, number)
        said = process.stderr.read().decode()
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}; what was put is safe; 2 records are left in outbox" in said
    assert "Traceback" not in said
    assert run(tmp_path, "put", "outbox", "--to", "file:out.log", stdin="3\n").returncode == 0
    assert (tmp_path / "out.log").read_text() == "1\n2\n3\n"


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    script = "trap '' HUP; (echo 1; sleep 1; echo 2) | unistream put outbox --quiet & sleep 0.5; kill -HUP $!; wait $!"
    assert shell(tmp_path, script).returncode == 0
    assert run(tmp_path, "cat", "outbox").stdout == "1\n2\n"
