"""The command line: put lines into a buffer and on to a sink; look at buffers and at dead letters."""

from __future__ import annotations

import argparse
import base64
import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from . import __version__, _put
from ._console import printable
from ._errors import InUse, InvalidArgument, NotFound
from ._native import DeadLetter, DeadLetters, Inspection, Record, options
from ._producer import Producer
from ._terminal import (
    DAMAGED,
    FAILED,
    IN_USE,
    NOT_FOUND,
    OK,
    STOPPED,
    USAGE,
    Failure,
    Stopped,
    end,
    output,
    prepare,
    print_json,
    print_line,
    screen,
    sentence,
)

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        prepare()
        code = _run(arguments)
    except Stopped as stopped:
        screen.complain(stopped)
        code = STOPPED + stopped.number
    end()
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        try:
            parsed = _parser().parse_args(arguments)
            run: Callable[[argparse.Namespace], int] = parsed.run
            code = run(parsed)
        except SystemExit as done:  # --help, or what the command line is wrong in
            code = int(done.code or OK)
        if sys.stdout is not None:
            with output() as out:
                out.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        return OK
    except Exception as error:  # noqa: BLE001 a traceback is for those who ask
        if os.environ.get("UNISTREAM_TRACEBACK"):
            traceback.print_exc()
        screen.complain(sentence(error))
        if isinstance(error, Failure):
            return error.code
        return next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)
    return code


_CODES = {InUse: IN_USE, NotFound: NOT_FOUND, InvalidArgument: USAGE}


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

    put = command(
        "put", _put.put, "put lines into a buffer and deliver them; safe to kill and run again", epilog=_put.EPILOG
    )
    put.add_argument("files", nargs="*", metavar="FILE", help="files to read; none, or -, is standard input")
    put.add_argument("--to", metavar="SINK", help="where the records go; left out, they wait in the buffer")
    put.add_argument("--format", choices=["lines", "ndjson"], default="lines", help="ndjson: each line must be JSON")
    put.add_argument("--id", metavar="FIELD", help="ndjson: the field that is the record's id")
    put.add_argument("--key", metavar="FIELD", help="ndjson: the field that is the record's key")
    _option(put)
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
        if name == "replay":
            _option(action)

    table = commands.add_parser("options", help="print the options of a producer")
    table.add_argument("--json", action="store_true", help="for machines")
    table.set_defaults(run=_options)
    return parser


def _option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--option", action="append", default=[], metavar="KEY=VALUE", help="an option, see 'unistream options'"
    )


def _buffer_command(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("buffer", type=Path, metavar="BUFFER", help="the buffer's directory")
    parser.add_argument("--json", action="store_true", help="for machines: one JSON value a line")
    parser.set_defaults(run=run)


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
            print_json(described | _content("key", key) | _content("data", data))
        elif is_terminal:
            out.write(printable(data.decode(errors="backslashreplace")) + "\n")
        else:
            out.buffer.write(data + b"\n")
        return True

    with output() as out:
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
    found["missing"] = [{"file": file, "files": count, "records": lost} for file, count, lost in found["missing"]]
    _print_values(found, arguments.json)
    return DAMAGED if found["corrupt"] or found["missing"] else OK


def _options(arguments: argparse.Namespace) -> int:
    for row in options():
        if arguments.json:
            print_json(row)
        else:
            print_line(f"{row['key']} ({row['kind']}: {row['range']}; default {row['default'] or 'empty'})")
            print_line(f"    {row['doc']}")
    return OK


# ---------------------------------------------------------------------------------------------------- dead letters


def _letters(arguments: argparse.Namespace) -> DeadLetters:
    Inspection(arguments.buffer)  # says so if there is no buffer
    return DeadLetters(arguments.buffer)


def _list(arguments: argparse.Namespace) -> int:
    for letter in (found := _letters(arguments).list()):
        if arguments.json:
            print_json(_summary(letter))
        else:
            when = letter.created_at.isoformat(timespec="seconds")
            reasons = [error.partition("\n")[0] for error in letter.errors[-1:]] or [
                r.reason for r in letter.records[:1]
            ]
            print_line(
                f"{letter.id}  {when}  {len(letter.records)} records, {letter.attempts} attempts: {''.join(reasons)}"
            )
    if not found:
        screen.complain(f"there are no dead letters in {arguments.buffer}")
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
            print_json(_summary(letter) | {"record": described | _content("data", data)})
        else:
            print_line(f"record {entry.seq} ({entry.id}): {entry.reason}")
            print_line(f"  {data!r}")
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
    with Producer(arguments.buffer, mode="manual", **_put.keywords_of(arguments.option)) as producer:
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
        raise Failure(USAGE, "name dead letters, or say --all")


def _ids(arguments: argparse.Namespace) -> list[str]:
    ids: list[str] = [letter.id for letter in _letters(arguments).list()] if arguments.all else arguments.ids
    if not ids:
        screen.complain(f"there are no dead letters in {arguments.buffer}")
    return ids


def _done(arguments: argparse.Namespace, id: str, what: str, value: int | bool) -> None:
    if arguments.json:
        print_json({"id": id, what: value})
    else:
        print_line(f"{id}: {what}" + ("" if value is True else f" {value} records"))


def _print_values(values: dict[str, Any], as_json: bool) -> None:
    """Print what there is by name, whatever it is; of a list, each on a line of its own."""
    if as_json:
        print_json(values)
        return
    width = max(map(len, values))
    for name, value in values.items():
        rows = value if isinstance(value, list) else [value]
        lines = [line for row in rows for line in str("" if row is None else row).split("\n")]
        print_line(f"{name.replace('_', ' '):{width}}  {lines[0] if lines and lines[0] else '-'}")
        for line in lines[1:]:
            print_line(f"{'':{width}}  {line}")
