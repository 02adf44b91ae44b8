"""The end of the interpreter: what is still open then, and what an attempt that is cut short means."""

from __future__ import annotations

import atexit
import concurrent.futures.thread
import contextlib
import os
import re
import sys
import threading
import time
import weakref
from typing import Protocol

from . import _logging

EXIT_TIMEOUT = 1.0
"""Seconds that the exit of the interpreter spends on delivering for producers that nobody closed."""


class Ends(Protocol):
    """What must not be forgotten at the end: a producer."""

    def _flush_at_exit(self, timeout: float) -> None:
        """Deliver for at most so many seconds, and stay open."""

    def close(self, timeout: float) -> int:
        """Deliver for at most so many seconds, and close."""


_open: weakref.WeakSet[Ends] = weakref.WeakSet()
# What an interpreter says that starts no more threads, and a pool that takes no more calls.
_REFUSED = re.compile(r"shut ?down|after interpreter|finalizing")


class _Phase:
    main_ended = False
    """The main thread has ended, others may go on for long; pools of threads are shut."""
    closing = False
    """The functions of `atexit` run: whatever a sink needs may be gone."""
    deadline = 0.0


def opened(producer: Ends) -> None:
    """Remember a producer until it is closed."""
    _open.add(producer)


def closed(producer: Ends) -> None:
    """Forget a producer."""
    _open.discard(producer)


def interrupted(error: BaseException) -> bool:
    """Whether an attempt was cut short, which says nothing of the batch or of the target: it counts nothing.

    So are Ctrl-C, a cancelled task and a killed greenlet or thread. A sink that calls `exit()` does so every time: that
    is a failure.
    """
    if not isinstance(error, Exception):
        return not isinstance(error, SystemExit)
    if is_closing():
        return True
    return _Phase.main_ended and isinstance(error, RuntimeError) and _REFUSED.search(_text(error)) is not None


def is_closing() -> bool:
    """Whether the end has come so far that nothing is sent any more."""
    return _Phase.closing or sys.is_finalizing()


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 the exception's own code
        return ""


def _flush_all() -> None:
    """Deliver what is there while sinks can still use pools of threads. Nothing is closed: other threads may put."""
    _Phase.deadline = time.monotonic() + EXIT_TIMEOUT
    for producer in list(_open):
        with contextlib.suppress(Exception):
            producer._flush_at_exit(max(0.0, _Phase.deadline - time.monotonic()))
    _Phase.main_ended = True


def _close_all() -> None:
    """Close what is still open. Failures count nothing from here on."""
    if not _Phase.main_ended:
        # Nothing ran before the threads were joined: eventlet does that its own way.
        _flush_all()
    _Phase.closing = True
    # What the flush left of the time, or a little for what was put after it.
    deadline = max(_Phase.deadline, time.monotonic() + EXIT_TIMEOUT / 4)
    for producer in list(_open):
        with contextlib.suppress(Exception):
            producer.close(max(0.0, deadline - time.monotonic()))
    _logging.end()


def _forget() -> None:
    """Leave the parent's producers alone: they are none of a forked child's business."""
    _open.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget)
# The functions of this list run before threads are joined, the last one first: so before the pools of
# `concurrent.futures` are shut, which was imported here for that. Without the list, closing does it all.
_before_threads = getattr(threading, "_register_atexit", None)
if _before_threads is not None:
    with contextlib.suppress(RuntimeError):  # Imported while the interpreter ends.
        _before_threads(_flush_all)
assert concurrent.futures.thread
