"""The command line: put lines into a buffer and on to a sink; look at buffers and at dead letters."""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib
import json
import logging
import math
import os
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, NoReturn, TextIO

from . import __version__
from ._console import printable
from ._errors import InUse, InvalidArgument, NotFound, Timeout, UnistreamError
from ._intake import MOST, Fields, Intake
from ._native import DeadLetter, DeadLetters, Inspection, NativeSink, NullSink, Record, options
from ._options import Stats
from ._producer import Producer
from ._sink import Sink, is_async, send_of

OK, FAILED, USAGE, LEFT, DAMAGED, IN_USE, NOT_FOUND, DEAD = range(8)
BAD_LINE = 65
STOPPED = 128

EPILOG = """\
exit codes:
  0     done
  1     an error, see the message
  2     the command line, an option or a sink's URL is wrong
  3     records are left in the buffer (put --to); the same command again goes on
  4     the buffer is damaged (verify)
  5     the buffer is in use by another process
  6     there is no such buffer or dead letter
  7     all is sent, but there are records in the dead letters (put --to)
  65    a line of the input is no record (put)
  128+N stopped by signal N, such as 130 for Ctrl-C and 143 for SIGTERM; what was put is safe

Whatever a person reads has control characters escaped; --json is exact. UNISTREAM_TRACEBACK=1 shows where an error
comes from.
"""

PUT = """\
sinks:
  file:PATH                         appends to a file, each batch exactly once
  kinesis://STREAM                  Amazon Kinesis Data Streams
  cloudwatch-logs://GROUP/STREAM    Amazon CloudWatch Logs
  null:                             takes everything and keeps nothing
  python:MODULE:NAME                a callable that takes a batch; the module is installed or, unless Python runs with
                                    -P, in the current directory
  URLs take options as ?KEY=VALUE&KEY=VALUE; reserved characters are percent-encoded.

run again:
  Until a run ends with 0 or 7, the buffer remembers how many lines of each FILE are in it, and the same command goes
  on behind them, whatever killed it and whatever else was put in between. A file is known by its device and inode and
  by its contents up to there; it may have grown; if it is another, all of it is put. Lines that were delivered in the
  instant of the kill may be put twice, with the same ids. Standard input and pipes cannot be read again: a run that
  stops says how many of their lines are in.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    _prepare()
    try:
        parsed = _parser().parse_args(arguments)
        run: Callable[[argparse.Namespace], int] = parsed.run
        code = run(parsed)
        if sys.stdout is not None:
            with _output() as out:
                out.flush()
    except _Stopped as stopped:
        _screen.complain(stopped)
        code = STOPPED + stopped.number
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        code = OK
    except Exception as error:  # noqa: BLE001 a traceback is for those who ask
        if os.environ.get("UNISTREAM_TRACEBACK"):
            traceback.print_exc()
        _screen.complain(_sentence(error))
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)
        code = error.code if isinstance(error, _Failure) else code
    _forget_output()
    return code


_CODES = {InUse: IN_USE, NotFound: NOT_FOUND, InvalidArgument: USAGE}


class _Failure(Exception):
    """What a command ends with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Stopped(BaseException):
    """A signal says to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; what was put is safe")
        self.number = number


def _prepare() -> None:
    """Make streams, signals and the log fit for a command."""
    # A closed one of the first three descriptors must not become a file of the engine.
    while (handle := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(handle)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with contextlib.suppress(ValueError):  # not the main thread
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # The first process of a container has no default action. What was told to be ignored stays so.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _stop)
    log = logging.getLogger("unistream")
    log.propagate = False
    log.addHandler(_Log(logging.WARNING))


def _stop(number: int, _: FrameType | None) -> None:
    # A second signal does not wait.
    signal.signal(number, lambda number, _: os._exit(STOPPED + number))
    raise _Stopped(number)


class _Log(logging.Handler):
    """Writes events as sentences; tracebacks are in the dead letters."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write an event."""
        _screen.complain(f"{record.levelname.lower()}: {record.getMessage()}")


class _Screen:
    """Standard error: sentences, and a line of progress that they take the place of."""

    showing = False

    @property
    def shows_progress(self) -> bool:
        """Whether anybody sees progress."""
        return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")

    def progress(self, text: str) -> None:
        """Show how far it is, in one line of the terminal."""
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        except OSError:
            columns = 80
        # ASCII, because the width of other characters is the terminal's secret.
        line = printable(text).encode("ascii", "backslashreplace").decode()[: columns - 1]
        self._write(f"\r\x1b[K{line}")
        self.showing = True

    def clear(self) -> None:
        """Take the progress away."""
        if self.showing:
            self._write("\r\x1b[K")
            self.showing = False

    def complain(self, message: object) -> None:
        """Write a sentence."""
        self.clear()
        self._write(f"unistream: {printable(str(message))}\n")

    def say(self, text: str) -> None:
        """Write a line."""
        self.clear()
        self._write(f"{printable(text)}\n")

    def _write(self, text: str) -> None:
        # Nobody who reads it is no reason to stop.
        with contextlib.suppress(OSError, AttributeError):
            sys.stderr.write(text)
            sys.stderr.flush()


_screen = _Screen()


@contextlib.contextmanager
def _output() -> Iterator[TextIO]:
    """Lend standard output; its errors become failures that name it."""
    if sys.stdout is None:
        raise _Failure(FAILED, "standard output is closed")
    try:
        yield sys.stdout
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _Failure(FAILED, f"standard output: {error.strerror}") from error


def _print(text: str) -> None:
    """Write a line for a person."""
    with _output() as out:
        out.write(f"{printable(text)}\n")


def _print_json(value: object) -> None:
    """Write a value as one line of ASCII, which every locale and terminal takes."""
    with _output() as out:
        out.write(json.dumps(value, default=str) + "\n")


def _forget_output() -> None:
    """Give up what could not be written: nobody may try again at exit."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        named = isinstance(error.filename, (str, bytes))
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if named else error.strerror
    if isinstance(error, (UnistreamError, _Failure, OSError)):
        return str(error)
    return f"{type(error).__name__}: {error}"


class _Parser(argparse.ArgumentParser):
    """Takes no abbreviations, which others of the same beginning would break."""

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **more)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line."""
        self.exit(USAGE, f"{self.format_usage()}{self.prog}: error: {printable(message)}\n")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a count")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="unistream", description=__doc__, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"unistream {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str, **more: Any) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help, **more)
        _buffer_command(added, run)
        return added

    put = command("put", _put, "put lines into a buffer and deliver them; safe to kill and run again", epilog=PUT)
    put.add_argument("files", nargs="*", metavar="FILE", help="files to read; none, or -, is standard input")
    put.add_argument("--to", metavar="SINK", help="where the records go; left out, they wait in the buffer")
    put.add_argument("--format", choices=["lines", "ndjson"], default="lines", help="ndjson: each line must be JSON")
    put.add_argument("--id", metavar="FIELD", help="ndjson: the field that is the record's id")
    put.add_argument("--key", metavar="FIELD", help="ndjson: the field that is the record's key")
    put.add_argument(
        "-o", "--option", action="append", default=[], metavar="KEY=VALUE", help="an option, see 'unistream options'"
    )
    put.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="the most to wait for delivery (default: none)"
    )
    put.add_argument("--quiet", action="store_true", help="no progress, no summary")

    command("stat", _stat, "show what is in a buffer; it may be in use")
    cat = command("cat", _cat, "print the records of a buffer that are not finished; it may be in use")
    cat.add_argument("-n", "--limit", type=_count, metavar="COUNT", help="the most records to print")
    command("verify", _verify, "check the records of a buffer against their checksums; it may be in use")

    letters = commands.add_parser("dead-letters", help="list, show, replay and delete dead letters")
    actions = letters.add_subparsers(required=True, metavar="ACTION")
    for name, run, help in (
        ("list", _list, "list the dead letters of a buffer; it may be in use"),
        ("show", _show, "print a dead letter with its records; the buffer may be in use"),
        ("replay", _replay, "put the records of dead letters back into the buffer, in order; needs the buffer"),
        ("delete", _delete, "delete dead letters with their records"),
    ):
        action = actions.add_parser(name, help=help, description=help)
        _buffer_command(action, run)
        if name == "show":
            action.add_argument("ids", nargs=1, metavar="ID", help="the dead letter's id")
        elif name != "list":
            action.add_argument("ids", nargs="*", metavar="ID", help="the dead letters' ids")
            action.add_argument("--all", action="store_true", help="all of them")

    table = commands.add_parser("options", help="print the options of a producer")
    table.add_argument("--json", action="store_true", help="for machines")
    table.set_defaults(run=_options)
    return parser


def _buffer_command(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("buffer", type=Path, metavar="BUFFER", help="the buffer's directory")
    parser.add_argument("--json", action="store_true", help="for machines: one JSON value a line")
    parser.set_defaults(run=run)


# ------------------------------------------------------------------------------------------------------------- put


def _put(arguments: argparse.Namespace) -> int:
    keywords: dict[str, Any] = {}
    for pair in arguments.option:
        key, equals, value = pair.partition("=")
        if not equals or key not in {row["key"] for row in options()} - {"mode"}:
            raise _Failure(USAGE, f"--option {pair}: KEY=VALUE with a key of 'unistream options'")
        keywords[key] = value
    if arguments.format != "ndjson" and (arguments.id or arguments.key):
        raise _Failure(USAGE, "--id and --key name fields of --format ndjson")
    sink = _sink(arguments.to) if arguments.to is not None else None
    inputs = [(name, None if name == "-" else _regular(name)) for name in arguments.files or ["-"]]
    with contextlib.ExitStack() as stack:
        producer = stack.enter_context(Producer(arguments.buffer, mode="manual", **keywords))
        run = _Run(arguments)
        intake = Intake(producer.path, run.fields, _screen.complain)
        stack.callback(intake.close)
        sources = [(name, found and intake.source(found)) for name, found in inputs]
        for name, source in sources:
            if source:
                run.settle(intake, name, source)
        if sink:
            # Only now may anything be delivered: what is gone cannot be found.
            producer.close(0)
            producer = stack.enter_context(Producer(arguments.buffer, sink, **keywords))
        run.producer = producer
        stopped = None
        try:
            for name, source in sources:
                run.take(intake, name, source)
            if sink:
                with contextlib.suppress(Timeout):
                    run.deliver()
        except _Stopped as error:
            stopped = error
        left = producer.close(0)
        stats = producer.stats()
        with contextlib.suppress(BrokenPipeError):
            run.summary(stats, left)
        if not stopped and not (sink and left):
            # The last of all: who is killed behind it has put the files, but could not say so.
            intake.forget()
    if stopped:
        _screen.complain(f"{stopped}; {left} records are left in {arguments.buffer}")
        return STOPPED + stopped.number
    if sink and left:
        _screen.complain(f"{left} records are left in {arguments.buffer}; the same command again goes on")
        return LEFT
    if sink and stats.dead_letters:
        _screen.complain(f"there are {stats.dead_letters} dead letters: unistream dead-letters list {arguments.buffer}")
        return DEAD
    return OK


def _regular(name: str) -> os.stat_result | None:
    """Look at an input; one that is no file, but a pipe or a device, can be read only once."""
    found = os.stat(name)  # noqa: PTH116 the result is what counts
    if stat.S_ISDIR(found.st_mode):
        raise _Failure(FAILED, f"{name}: it is a directory")
    return found if stat.S_ISREG(found.st_mode) else None


class _Run:
    """Reads inputs into a producer and shows how far it is."""

    producer: Producer

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.taken = self.bytes = self.already_in = 0
        self.began = self.shown = time.monotonic()
        self.shows = _screen.shows_progress and not arguments.quiet

    def settle(self, intake: Intake, name: str, source: str) -> None:
        with Path(name).open("rb") as file:
            lines = intake.settle(file, source, name)
        if lines:
            self.already_in += lines
            _screen.complain(f"{name}: {lines} lines are in from a run that did not end; going on behind them")

    def take(self, intake: Intake, name: str, source: str | None) -> None:
        try:
            if source:
                with Path(name).open("rb") as file:
                    intake.take(file, source, self.put, self.producer.sync)
            elif name != "-":
                with Path(name).open("rb") as file:
                    self.take_once(file, name)
            elif sys.stdin is None:
                raise _Failure(FAILED, "standard input is closed")
            else:
                self.take_once(sys.stdin.buffer, "standard input")
        except ValueError as error:
            raise _Failure(BAD_LINE, f"{'standard input' if name == '-' else name}, {error}") from error

    def take_once(self, file: BinaryIO, name: str) -> None:
        """Take what cannot be read again."""
        number = 0
        try:
            while line := file.readline(MOST):
                data = line.removesuffix(b"\n")
                try:
                    fields = self.fields(data, number + 1)
                except ValueError as error:
                    raise ValueError(f"line {number + 1}: {error}") from error
                self.put(data, number + 1, fields)
                number += 1
        except BaseException:
            _screen.complain(f"{number} lines of {name} are in; it cannot be read again: give only the rest to a rerun")
            raise

    def put(self, line: bytes, number: int, fields: Fields) -> int:
        try:
            seq = self.producer.put(line, id=fields.get("id"), key=fields.get("key"))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        self.taken += 1
        self.bytes += len(line)
        if self.shows and self.taken % 1024 == 0:
            self.show()
        return seq

    def fields(self, line: bytes, _: int) -> Fields:
        if self.arguments.format != "ndjson":
            return {}
        try:
            value = json.loads(line.decode(), parse_constant=_refuse)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        fields = {}
        for name, field in (("id", self.arguments.id), ("key", self.arguments.key)):
            if field:
                if not isinstance(value, dict) or field not in value:
                    raise ValueError(f"there is no field {field!r}")
                fields[name] = value[field] if isinstance(value[field], str) else json.dumps(value[field])
        return fields

    def deliver(self) -> None:
        deadline = None if self.arguments.timeout is None else time.monotonic() + self.arguments.timeout
        while True:
            left = 0.2 if deadline is None else min(0.2, max(0.0, deadline - time.monotonic()))
            try:
                return self.producer.flush(left)
            except Timeout:
                if self.shows:
                    self.show()
                if deadline is not None and time.monotonic() >= deadline:
                    raise

    def show(self) -> None:
        now = time.monotonic()
        if now - self.shown < 0.2:
            return
        self.shown = now
        stats = self.producer.stats()
        rate = self.taken / max(now - self.began, 1e-9)
        text = (
            f"{self.taken:,} put ({rate:,.0f}/s), {stats.delivered_records:,} delivered, {stats.pending_records:,} left"
        )
        _screen.progress(text if stats.state == "running" else f"{text}, {stats.state}: {stats.last_error}")

    def summary(self, stats: Stats, left: int) -> None:
        _screen.clear()
        summary = {
            "put": self.taken,
            "bytes": self.bytes,
            "already_in": self.already_in,
            "delivered": stats.delivered_records,
            "left": left,
            "dead_letters": stats.dead_letters,
        }
        if self.arguments.json:
            _print_json(summary)
        elif not self.arguments.quiet:
            _screen.say(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in summary.items()))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _sink(url: str) -> Sink:
    if url == "null:":
        return NullSink()
    # What stands behind the ? may be a secret.
    shown = url.partition("?")[0]
    scheme, _, rest = url.partition(":")
    if scheme == "python":
        module, _, name = rest.rpartition(":")
        return _callable(url, module, name)
    try:
        return NativeSink.from_url(url)
    except (InvalidArgument, UnicodeError) as error:
        raise _Failure(USAGE, f"--to {shown}: {error}; also null: and python:MODULE:NAME") from error


def _callable(url: str, module: str, name: str) -> Sink:
    if not module or not name:
        raise _Failure(USAGE, f"--to {url}: it is python:MODULE:NAME")
    here = []
    if not sys.flags.safe_path:
        with contextlib.suppress(OSError):
            here.append(os.getcwd())  # noqa: PTH109 sys.path holds text
    # Behind all else, and for this import only: a file that lies about must not be taken for a module of the library.
    sys.path.extend(here)
    try:
        sink: Sink = getattr(importlib.import_module(module), name)
        needs_loop = is_async(send_of(sink))
    except (Exception, SystemExit) as error:
        raise _Failure(USAGE, f"--to {url}: {type(error).__name__}: {error}") from error
    finally:
        sys.path[:] = [entry for entry in sys.path if not any(entry is added for added in here)]
    if needs_loop:
        raise _Failure(USAGE, f"--to {url}: an async sink needs a program with an event loop")
    return sink


# ------------------------------------------------------------------------------------------------------ look at it


def _stat(arguments: argparse.Namespace) -> int:
    stats = Inspection(arguments.buffer).stats()
    if "dead_letters" not in stats:
        stats["dead_letters"] = len(DeadLetters(arguments.buffer).list())
    _print_values(stats, arguments.json)
    return OK


def _cat(arguments: argparse.Namespace) -> int:
    left = -1 if arguments.limit is None else arguments.limit

    def each(seq: int, id: str, key: bytes | None, created_at: datetime, data: bytes) -> bool:
        nonlocal left
        if left == 0:
            return False
        left -= 1
        if arguments.json:
            described = {"seq": seq, "id": id, "created_at": created_at.isoformat()}
            _print_json(described | _content("key", key) | _content("data", data))
        elif is_terminal:
            out.write(printable(data.decode(errors="backslashreplace")) + "\n")
        else:
            out.buffer.write(data + b"\n")
        return True

    with _output() as out:
        is_terminal = out.isatty()
        Inspection(arguments.buffer).for_each(each)
        out.buffer.flush()
    return OK


def _content(name: str, value: bytes | None) -> dict[str, str]:
    """Bytes in JSON: text if they are."""
    if value is None:
        return {}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def _verify(arguments: argparse.Namespace) -> int:
    found = Inspection(arguments.buffer).verify()
    found["corrupt"] = [{"file": file, "offset": offset, "bytes": size} for file, offset, size in found["corrupt"]]
    _print_values(found, arguments.json)
    return DAMAGED if found["corrupt"] else OK


def _options(arguments: argparse.Namespace) -> int:
    for row in options():
        if arguments.json:
            _print_json(row)
        else:
            _print(f"{row['key']} ({row['kind']}: {row['range']}; default {row['default'] or 'empty'})")
            _print(f"    {row['doc']}")
    return OK


# ---------------------------------------------------------------------------------------------------- dead letters


def _letters(arguments: argparse.Namespace) -> DeadLetters:
    Inspection(arguments.buffer)  # says so if there is no buffer
    return DeadLetters(arguments.buffer)


def _list(arguments: argparse.Namespace) -> int:
    for letter in (found := _letters(arguments).list()):
        if arguments.json:
            _print_json(_summary(letter))
        else:
            when = letter.created_at.isoformat(timespec="seconds")
            reasons = [error.partition("\n")[0] for error in letter.errors[-1:]] or [
                r.reason for r in letter.records[:1]
            ]
            _print(
                f"{letter.id}  {when}  {len(letter.records)} records, {letter.attempts} attempts: {''.join(reasons)}"
            )
    if not found:
        _screen.complain(f"there are no dead letters in {arguments.buffer}")
    return OK


def _show(arguments: argparse.Namespace) -> int:
    letter = _letters(arguments).read(arguments.ids[0])
    batch: dict[int, Record] = {record.seq: record for record in letter.batch()}
    if not arguments.json:
        _print_values(_summary(letter), as_json=False)
    for entry in letter.records:
        data = batch[entry.seq].data
        if arguments.json:
            described = {"seq": entry.seq, "id": entry.id, "reason": entry.reason, "rejected": entry.rejected}
            _print_json(_summary(letter) | {"record": described | _content("data", data)})
        else:
            _print(f"record {entry.seq} ({entry.id}): {entry.reason}")
            _print(f"  {data!r}")
    return OK


def _summary(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "sink": letter.sink,
        "attempts": letter.attempts,
        "first_attempt": letter.first_attempt.isoformat(),
        "last_attempt": letter.last_attempt.isoformat(),
        "created_at": letter.created_at.isoformat(),
        "records": len(letter.records),
        "bytes": letter.bytes,
        "errors": letter.errors,
    }


def _replay(arguments: argparse.Namespace) -> int:
    _check_ids(arguments)
    _letters(arguments)  # opening a producer would make a buffer where there is none
    with Producer(arguments.buffer, mode="manual") as producer:
        for id in _ids(arguments):
            _done(arguments, id, "replayed", producer.dead_letters.replay(id))
    return OK


def _delete(arguments: argparse.Namespace) -> int:
    _check_ids(arguments)
    letters = _letters(arguments)
    for id in _ids(arguments):
        letters.delete(id)
        _done(arguments, id, "deleted", True)
    return OK


def _check_ids(arguments: argparse.Namespace) -> None:
    if bool(arguments.ids) == arguments.all:
        raise _Failure(USAGE, "name dead letters, or say --all")


def _ids(arguments: argparse.Namespace) -> list[str]:
    ids: list[str] = [letter.id for letter in _letters(arguments).list()] if arguments.all else arguments.ids
    if not ids:
        _screen.complain(f"there are no dead letters in {arguments.buffer}")
    return ids


def _done(arguments: argparse.Namespace, id: str, what: str, value: int | bool) -> None:
    if arguments.json:
        _print_json({"id": id, what: value})
    else:
        _print(f"{id}: {what}" + ("" if value is True else f" {value} records"))


def _print_values(values: dict[str, Any], as_json: bool) -> None:
    """Print what there is by name, whatever it is; of a list, each on a line of its own."""
    if as_json:
        _print_json(values)
        return
    width = max(map(len, values))
    for name, value in values.items():
        rows = value if isinstance(value, list) else [value]
        lines = [line for row in rows for line in str("" if row is None else row).split("\n")]
        _print(f"{name.replace('_', ' '):{width}}  {lines[0] if lines and lines[0] else '-'}")
        for line in lines[1:]:
            _print(f"{'':{width}}  {line}")
