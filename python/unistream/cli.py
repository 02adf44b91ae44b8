"""The command line: put lines into a buffer and on to a sink; look at buffers and at dead letters."""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from . import __version__
from ._errors import InUse, NotFound, Timeout, UnistreamError
from ._intake import forget, take_in
from ._native import DeadLetter, DeadLetters, FileSink, Inspection, NativeSink, NullSink, Record, options
from ._producer import Producer
from ._sink import Sink

OK, FAILED, USAGE, LEFT, DAMAGED, IN_USE, NOT_FOUND = 0, 1, 2, 3, 4, 5, 6
BAD_LINE = 65
INTERRUPTED = 130

EPILOG = """\
exit codes:
  0    done
  1    an error, see the message
  2    the command line is wrong
  3    done, but records are left in the buffer (put) for the next run
  4    the buffer is damaged (verify)
  5    the buffer is in use by another process
  6    there is no such buffer or dead letter
  65   a line of the input is no record (put)
  130  interrupted; what was put is safe
"""

SINKS = """\
sinks:
  file:PATH              appends to a file, each batch exactly once
  null:                  takes everything and keeps nothing
  python:MODULE:NAME     a callable that takes a batch, from the current directory or installed
  SCHEME://...           the other sinks of this build, see the documentation
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    parsed = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except KeyboardInterrupt:
        _complain("interrupted; what was put is safe")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except InUse as error:
        _complain(error)
        return IN_USE
    except NotFound as error:
        _complain(error)
        return NOT_FOUND
    except _BadLine as error:
        _complain(error)
        return BAD_LINE
    except (UnistreamError, OSError, _Usage) as error:
        _complain(error)
        return USAGE if isinstance(error, _Usage) else FAILED


class _Usage(Exception):
    """An argument that argparse cannot judge."""


class _BadLine(Exception):
    """A line of the input that is no record."""


def _complain(message: object) -> None:
    print(f"unistream: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unistream", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"unistream {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str, **more: Any) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            name, help=help, description=help, formatter_class=argparse.RawDescriptionHelpFormatter, **more
        )
        _buffer_command(added, run)
        return added

    put = command("put", _put, "put lines into a buffer and deliver them; safe to kill and run again", epilog=SINKS)
    put.add_argument("files", nargs="*", metavar="FILE", help="files to read; none, or -, is standard input")
    put.add_argument("--to", metavar="SINK", help="where the records go; left out, they wait in the buffer")
    put.add_argument("--format", choices=["lines", "ndjson"], default="lines", help="ndjson: each line must be JSON")
    put.add_argument("--id", metavar="FIELD", help="ndjson: the field that is the record's id")
    put.add_argument("--key", metavar="FIELD", help="ndjson: the field that is the record's key")
    put.add_argument(
        "-o", "--option", action="append", default=[], metavar="KEY=VALUE", help="an option, see 'unistream options'"
    )
    put.add_argument("--timeout", type=float, metavar="SECONDS", help="the most to wait for delivery (default: none)")
    put.add_argument("--quiet", action="store_true", help="no progress, no summary")

    command("stat", _stat, "show what is in a buffer; it may be in use")
    cat = command("cat", _cat, "print the records of a buffer that are not finished; it may be in use")
    cat.add_argument("-n", "--limit", type=int, metavar="COUNT", help="the most records to print")
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
            raise _Usage(f"--option {pair}: KEY=VALUE with a key of 'unistream options'")
        keywords[key] = value
    if arguments.format != "ndjson" and (arguments.id or arguments.key):
        raise _Usage("--id and --key name fields of --format ndjson")
    sink = _sink(arguments.to) if arguments.to else None
    producer = Producer(arguments.buffer, sink, mode="background" if sink else "manual", **keywords)
    intake = _Intake(producer, arguments)
    with producer:
        for name in arguments.files or ["-"]:
            intake.read(name)
        if sink:
            with contextlib.suppress(Timeout):
                intake.deliver()
        left = producer.stats().pending_records
        intake.summary(left)
        producer.close(0)
    return LEFT if sink and left else OK


class _Intake:
    """Reads inputs into a producer and shows how far it is."""

    def __init__(self, producer: Producer, arguments: argparse.Namespace) -> None:
        self.producer, self.arguments = producer, arguments
        self.taken = self.bytes = 0
        self.began = self.shown = time.monotonic()
        self.shows = sys.stderr.isatty() and not arguments.quiet and not arguments.json

    def read(self, name: str) -> None:
        if name == "-":
            for number, line in enumerate(sys.stdin.buffer, 1):
                self.put(line.removesuffix(b"\n"), number, "standard input")
            return
        take_in(Path(name), self.producer.path, lambda line, number: self.put(line, number, name), self.producer.sync)
        forget(self.producer.path)

    def put(self, line: bytes, number: int, name: str) -> int:
        try:
            seq = self.producer.put(line, **self.fields(line))
        except ValueError as error:
            raise _BadLine(f"{name}, line {number}: {error}") from error
        self.taken += 1
        self.bytes += len(line)
        if self.shows and self.taken % 1024 == 0:
            self.show()
        return seq

    def fields(self, line: bytes) -> dict[str, Any]:
        if self.arguments.format != "ndjson":
            return {}
        value = json.loads(line)
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
        state = "" if stats.state == "running" else f", {stats.state}: {stats.last_error}"
        print(f"\r\x1b[K{text}{state[:60]}", end="", file=sys.stderr, flush=True)

    def summary(self, left: int) -> None:
        stats = self.producer.stats()
        if self.shows:
            print("\r\x1b[K", end="", file=sys.stderr)
        summary = {"put": self.taken, "bytes": self.bytes, "delivered": stats.delivered_records, "left": left}
        summary["dead_letters"] = stats.dead_letters
        if self.arguments.json:
            print(json.dumps(summary))
        elif not self.arguments.quiet:
            print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in summary.items()), file=sys.stderr)


def _sink(text: str) -> Sink:
    scheme, _, rest = text.partition(":")
    if scheme == "file" and rest and not rest.startswith("//"):
        return FileSink(rest)
    if text == "null:":
        return NullSink()
    if scheme == "python" and rest.count(":") == 1:
        module, name = rest.split(":")
        sys.path.insert(0, "")
        try:
            sink: Sink = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise _Usage(f"--to {text}: {error}") from error
        return sink
    if rest.startswith("//"):
        return NativeSink.from_url(text)
    raise _Usage(f"--to {text}: there is no such sink; see 'unistream put --help'")


# ------------------------------------------------------------------------------------------------------ look at it


def _stat(arguments: argparse.Namespace) -> int:
    stats = Inspection(arguments.buffer).stats()
    stats["dead_letters"] = len(DeadLetters(arguments.buffer).list())
    _print(stats, arguments.json)
    return OK


def _cat(arguments: argparse.Namespace) -> int:
    left = -1 if arguments.limit is None else arguments.limit
    out = sys.stdout.buffer

    def each(seq: int, id: str, key: bytes | None, created_at: datetime, data: bytes) -> bool:
        nonlocal left
        if left == 0:
            return False
        left -= 1
        _write_record(out, arguments.json, seq, id, key, created_at, data)
        return True

    Inspection(arguments.buffer).for_each(each)
    out.flush()
    return OK


def _write_record(
    out: BinaryIO, as_json: bool, seq: int, id: str, key: bytes | None, created_at: datetime, data: bytes
) -> None:
    if not as_json:
        out.write(data + b"\n")
        return
    record: dict[str, Any] = {"seq": seq, "id": id, "created_at": created_at.isoformat()}
    for name, value in (("key", key), ("data", data)):
        if value is not None:
            try:
                record[name] = value.decode()
            except UnicodeDecodeError:
                record[f"{name}_base64"] = base64.b64encode(value).decode()
    out.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def _verify(arguments: argparse.Namespace) -> int:
    found = Inspection(arguments.buffer).verify()
    found["corrupt"] = [{"file": file, "offset": offset, "bytes": size} for file, offset, size in found["corrupt"]]
    _print(found, arguments.json)
    return DAMAGED if found["corrupt"] else OK


def _options(arguments: argparse.Namespace) -> int:
    for row in options():
        if arguments.json:
            print(json.dumps(row))
        else:
            print(
                f"{row['key']} ({row['kind']}: {row['range']}; default {row['default'] or 'empty'})\n    {row['doc']}"
            )
    return OK


# ---------------------------------------------------------------------------------------------------- dead letters


def _list(arguments: argparse.Namespace) -> int:
    for letter in DeadLetters(arguments.buffer).list():
        if arguments.json:
            print(json.dumps(_summary(letter)))
        else:
            when = letter.created_at.isoformat(timespec="seconds")
            error = letter.errors[-1].splitlines()[0] if letter.errors else letter.records[0].reason
            print(f"{letter.id}  {when}  {len(letter.records)} records, {letter.attempts} attempts: {error}")
    return OK


def _show(arguments: argparse.Namespace) -> int:
    letter = DeadLetters(arguments.buffer).read(arguments.ids[0])
    batch: dict[int, Record] = {record.seq: record for record in letter.batch()}
    if not arguments.json:
        _print({key: value for key, value in _summary(letter).items() if key != "errors"}, as_json=False)
        for error in letter.errors:
            print("error:", error.replace("\n", "\n  "))
    for entry in letter.records:
        record = batch[entry.seq]
        if arguments.json:
            described = {"seq": entry.seq, "id": entry.id, "reason": entry.reason, "rejected": entry.rejected}
            try:
                described["data"] = record.text
            except UnicodeDecodeError:
                described["data_base64"] = base64.b64encode(record.data).decode()
            print(json.dumps(_summary(letter) | {"record": described}, ensure_ascii=False))
        else:
            print(f"record {entry.seq} ({entry.id}): {entry.reason}\n  {record.data!r}")
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
    Inspection(arguments.buffer)  # opening a producer would make a buffer where there is none
    with Producer(arguments.buffer, mode="manual") as producer:
        for id in _ids(arguments):
            _done(arguments, id, replayed=producer.dead_letters.replay(id))
    return OK


def _delete(arguments: argparse.Namespace) -> int:
    for id in _ids(arguments):
        DeadLetters(arguments.buffer).delete(id)
        _done(arguments, id, deleted=True)
    return OK


def _ids(arguments: argparse.Namespace) -> Iterator[str]:
    if bool(arguments.ids) == arguments.all:
        raise _Usage("name dead letters, or say --all")
    yield from [letter.id for letter in DeadLetters(arguments.buffer).list()] if arguments.all else arguments.ids


def _done(arguments: argparse.Namespace, id: str, **what: Any) -> None:
    name, value = next(iter(what.items()))
    print(
        json.dumps({"id": id, **what})
        if arguments.json
        else f"{id}: {name}" + ("" if value is True else f" {value} records")
    )


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(values))
        return
    width = max(map(len, values))
    for name, value in values.items():
        print(f"{name.replace('_', ' '):{width}}  {'-' if value in (None, [], '') else value}")
