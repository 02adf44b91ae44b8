"""The engine's events as log records of the logger `unistream`.

They are told by a thread of their own, so that a handler may be slow, may hold its lock while it waits in `put`, and
may put into the very producer that the event is of.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import traceback

from . import _green, _native
from ._console import printable

logger = logging.getLogger("unistream")

DRAIN_TIMEOUT = 0.5
"""Seconds that closing waits for handlers."""

_events: _native.Events | None = None
_teller = 0


def events() -> _native.Events:
    """Return where events go; start the thread that tells them, if this process has none."""
    global _events  # noqa: PLW0603
    if _events is None:
        green = _green.library()
        _events = started = _native.Events(green is not None)
        if green is None:
            # At the interpreter's end no thread starts any more, and nothing is told.
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=_tell, args=(started,), name="unistream-log", daemon=True).start()
        else:
            green.spawn(_tell_green, started, green.bell(started))
    return _events


def drain() -> None:
    """Wait until what happened so far is told, for a moment: a handler may hang."""
    if _events is None or threading.get_ident() == _teller:
        return
    deadline = time.monotonic() + DRAIN_TIMEOUT
    while not _events.idle and time.monotonic() < deadline:
        time.sleep(0.001)


def end() -> None:
    """Tell what is left and end the thread: an interpreter that has gone must not be called."""
    drain()
    if _events is not None:
        _events.close()


def _tell(events: _native.Events) -> None:
    global _teller  # noqa: PLW0603
    _teller = threading.get_ident()
    while True:
        try:
            while (event := events.next(wait=True)) is not None:
                log(*event)
        except BaseException:  # noqa: BLE001 somebody sent this thread an exception
            continue
        return


def _tell_green(events: _native.Events, bell: _green.Bell) -> None:
    global _teller  # noqa: PLW0603
    _teller = threading.get_ident()
    while bell.wait():
        while (event := events.next(wait=False)) is not None:
            log(*event)


def log(level: int, message: str, error: BaseException | None) -> None:
    """Log an event. What a filter of the program raises is the program's to see, and stops nothing."""
    try:
        logger.log(level, "%s", message, exc_info=error)
    except Exception as failure:  # noqa: BLE001
        print(f"unistream: logging raised {failure!r} at: {message}", file=sys.stderr)


def _forget() -> None:
    """Leave the parent's events to the parent, whose thread is not here."""
    global _events  # noqa: PLW0603
    _events = None


os.register_at_fork(after_in_child=_forget)


def _escape(record: logging.LogRecord) -> bool:
    """Make a message one line, and indent a traceback: what a service says must not look like another message."""
    record.msg, record.args = printable(record.getMessage()), ()
    if record.exc_info:
        lines = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n").split("\n")
        record.exc_text = "\n".join(f"  | {printable(line)}" for line in lines)
    return True


logger.addFilter(_escape)
