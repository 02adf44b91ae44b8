"""`unistream put`: lines of files and of standard input into a buffer, and on to a sink."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ._errors import InvalidArgument, Timeout
from ._intake import MOST, Fields, Intake
from ._native import NullSink, open_sink, options
from ._options import Stats
from ._producer import Producer
from ._sink import Sink, is_async, send_of
from ._terminal import BAD_LINE, DEAD, FAILED, LEFT, OK, STOPPED, USAGE, Failure, Stopped, print_json, screen

EPILOG = """\
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
  by its contents up to there; it may have grown; if it is another, all of it is put. Lines of which nothing is left in
  the buffer, because they were delivered before the kill, may be put twice, with the same ids: at most the last 4,096,
  or a whole file that was killed after its last line. Standard input and pipes cannot be read again: a run that stops
  says how many of their lines are in.
"""


def keywords_of(pairs: list[str]) -> dict[str, Any]:
    """Make keywords of a producer of KEY=VALUE pairs."""
    keywords: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in {row["key"] for row in options()} - {"mode"}:
            raise Failure(USAGE, f"--option {pair}: KEY=VALUE with a key of 'unistream options'")
        keywords[key] = value
    return keywords


def put(arguments: argparse.Namespace) -> int:
    """Do what `unistream put` is told."""
    keywords = keywords_of(arguments.option)
    if arguments.format != "ndjson" and (arguments.id or arguments.key):
        raise Failure(USAGE, "--id and --key name fields of --format ndjson")
    sink = _sink(arguments.to) if arguments.to is not None else None
    inputs = [(name, None if name == "-" else _regular(name)) for name in arguments.files or ["-"]]
    with contextlib.ExitStack() as stack:
        producer = stack.enter_context(Producer(arguments.buffer, mode="manual", **keywords))
        run = _Run(arguments)
        intake = Intake(producer.path, run.fields, screen.complain)
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
        except Stopped as error:
            stopped = error
        left = producer.close(0)
        stats = producer.stats()
        with contextlib.suppress(BrokenPipeError):
            run.summary(stats, left)
        if not stopped and not (sink and left):
            # The last of all: who is killed behind it has put the files, but could not say so.
            intake.forget()
    if stopped:
        screen.complain(f"{stopped}; {left} records are left in {arguments.buffer}")
        return STOPPED + stopped.number
    if sink and left:
        screen.complain(f"{left} records are left in {arguments.buffer}; the same command again goes on")
        return LEFT
    if sink and stats.dead_letters:
        screen.complain(f"there are {stats.dead_letters} dead letters: unistream dead-letters list {arguments.buffer}")
        return DEAD
    return OK


def _regular(name: str) -> os.stat_result | None:
    """Look at an input; one that is no file, but a pipe or a device, can be read only once."""
    found = os.stat(name)  # noqa: PTH116 the result is what counts
    if stat.S_ISDIR(found.st_mode):
        raise Failure(FAILED, f"{name}: it is a directory")
    return found if stat.S_ISREG(found.st_mode) else None


class _Run:
    """Reads inputs into a producer and shows how far it is."""

    producer: Producer

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.taken = self.bytes = self.already_in = 0
        self.began = self.shown = time.monotonic()
        self.shows = screen.shows_progress and not arguments.quiet

    def settle(self, intake: Intake, name: str, source: str) -> None:
        with Path(name).open("rb") as file:
            lines = intake.settle(file, source, name)
        if lines:
            self.already_in += lines
            screen.complain(f"{name}: {lines} lines are in from a run that did not end; going on behind them")

    def take(self, intake: Intake, name: str, source: str | None) -> None:
        shown = "standard input" if name == "-" else name
        try:
            if source:
                with Path(name).open("rb") as file:
                    intake.take(file, source, self.put, self.producer.sync)
            elif name != "-":
                with Path(name).open("rb") as file:
                    self.take_once(file, shown)
            elif sys.stdin is None:
                raise Failure(FAILED, "standard input is closed")
            else:
                self.take_once(sys.stdin.buffer, shown)
        except ValueError as error:
            raise Failure(BAD_LINE, f"{shown}, {error}") from error
        except OSError as error:
            # Reading does not say what.
            if error.filename is None and error.strerror:
                error.filename = shown
            raise

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
            screen.complain(f"{number} lines of {name} are in; it cannot be read again: give only the rest to a rerun")
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
        screen.progress(text if stats.state == "running" else f"{text}, {stats.state}: {stats.last_error}")

    def summary(self, stats: Stats, left: int) -> None:
        screen.clear()
        summary = {
            "put": self.taken,
            "bytes": self.bytes,
            "already_in": self.already_in,
            "delivered": stats.delivered_records,
            "left": left,
            "dead_letters": stats.dead_letters,
        }
        if self.arguments.json:
            print_json(summary)
        elif not self.arguments.quiet:
            screen.say(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in summary.items()))


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
        return open_sink(url, {})
    except (InvalidArgument, UnicodeError) as error:
        raise Failure(USAGE, f"--to {shown}: {error}; also null: and python:MODULE:NAME") from error


def _callable(url: str, module: str, name: str) -> Sink:
    if not module or not name:
        raise Failure(USAGE, f"--to {url}: it is python:MODULE:NAME")
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
        raise Failure(USAGE, f"--to {url}: {type(error).__name__}: {error}") from error
    finally:
        sys.path[:] = [entry for entry in sys.path if not any(entry is added for added in here)]
    if needs_loop:
        raise Failure(USAGE, f"--to {url}: an async sink needs a program with an event loop")
    return sink
