"""Processes whose threads are greenlets: patched by gevent or eventlet.

There a thread that waits as the engine waits would stop the whole process. So the sink runs on a greenlet of the hub in
which the producer was opened, which waits for a socket; and who waits for the sink sleeps as a greenlet does.
"""

from __future__ import annotations

import importlib
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol


class Rung(Protocol):
    """What of the engine rings a bell."""

    def detach_bell(self) -> int | None:
        """Return the descriptor to wait on."""


class Bell:
    """Waits for the engine as greenlets wait."""

    def __init__(self, socket: Any) -> None:
        """Wait on this socket."""
        self._socket = socket
        self._descriptor = socket.fileno()
        _bells.add(self)

    def wait(self) -> bool:
        """Wait until it rang; other greenlets run meanwhile. `False`: it will not ring again."""
        try:
            return bool(self._socket.recv(4096))
        except OSError:
            return False

    def leave_to_parent(self) -> None:
        """Hear nothing in a forked child: what is read here the parent does not hear."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, self._descriptor, inheritable=False)
        os.close(null)

    def close(self) -> None:
        """Wait no more."""
        _bells.discard(self)
        self._socket.close()


_bells: weakref.WeakSet[Bell] = weakref.WeakSet()


def _forget() -> None:
    for bell in list(_bells):
        bell.leave_to_parent()
    _bells.clear()


os.register_at_fork(after_in_child=_forget)


class Library(NamedTuple):
    """What is needed of the library, whatever else of the process it has patched."""

    name: str
    spawn: Callable[..., object]
    sleep: Callable[[float], None]
    current: Callable[[], object]
    socket: Callable[..., Any]

    def bell(self, rung: Rung) -> Bell:
        """Return what waits for `rung`."""
        return Bell(self.socket(fileno=rung.detach_bell()))


def library() -> Library | None:
    """Return the library that has replaced the threads of this process; `None` if threads are threads."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        package = importlib.import_module("gevent")
        socket = importlib.import_module("gevent.socket").socket
        return Library("gevent", package.spawn, package.sleep, package.getcurrent, socket)
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        package = importlib.import_module("eventlet")
        socket = importlib.import_module("eventlet.green.socket").socket
        return Library("eventlet", package.spawn, package.sleep, package.getcurrent, socket)
    return None
