"""What a command of the command line has to do with its terminal: streams, signals, sentences and exit codes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TextIO

from ._console import printable
from ._errors import UnistreamError

# The exit codes; `unistream --help` says what each means.
OK, FAILED, USAGE, LEFT, DAMAGED, IN_USE, NOT_FOUND, DEAD = range(8)
BAD_LINE = 65
STOPPED = 128

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Failure(Exception):
    """What a command ends with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Stopped(BaseException):
    """A signal says to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; what was put is safe")
        self.number = number


def prepare() -> None:
    """Make streams, signals and the log fit for a command."""
    # A closed one of the first three descriptors must not become a file of the engine.
    while (handle := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(handle)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with contextlib.suppress(ValueError):  # not the main thread
        for number in SIGNALS:
            # The first process of a container has no default action. What was told to be ignored stays so.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _stop)
    log = logging.getLogger("unistream")
    log.propagate = False
    log.addHandler(_Log(logging.WARNING))


def _stop(number: int, _: FrameType | None) -> None:
    # A second signal does not wait.
    signal.signal(number, _exit)
    raise Stopped(number)


def _exit(number: int, _: FrameType | None) -> None:
    os._exit(STOPPED + number)


def end() -> None:
    """Leave nothing to the interpreter's end that would end in a traceback."""
    with contextlib.suppress(ValueError):  # not the main thread
        for number in SIGNALS:
            if signal.getsignal(number) == _stop:
                signal.signal(number, _exit)
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Log(logging.Handler):
    """Writes events as sentences; tracebacks are in the dead letters."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write an event."""
        screen.complain(f"{record.levelname.lower()}: {record.getMessage()}")


class Screen:
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


screen = Screen()


@contextlib.contextmanager
def output() -> Iterator[TextIO]:
    """Lend standard output; its errors become failures that name it."""
    if sys.stdout is None:
        raise Failure(FAILED, "standard output is closed")
    try:
        yield sys.stdout
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failure(FAILED, f"standard output: {error.strerror}") from error


def print_line(text: str) -> None:
    """Write a line for a person."""
    with output() as out:
        out.write(f"{printable(text)}\n")


def print_json(value: object) -> None:
    """Write a value as one line of ASCII, which every locale and terminal takes."""
    with output() as out:
        out.write(json.dumps(value, default=str) + "\n")


def sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        named = isinstance(error.filename, (str, bytes))
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if named else error.strerror
    if isinstance(error, (UnistreamError, Failure, OSError)):
        return str(error)
    return f"{type(error).__name__}: {error}"
