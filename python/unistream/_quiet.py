"""Sinks whose own records are left out of the logs that they send, lest every batch make the next one."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from ._native import Batch, NativeSink
from ._sink import AsyncSend, Send, Sink, check_arity, is_async, send_of

R = TypeVar("R")

_quiet: contextvars.ContextVar[bool] = contextvars.ContextVar("unistream_quiet", default=False)


def is_quiet() -> bool:
    """Whether what is logged here and now is of a sink that sends logs."""
    return _quiet.get()


@contextmanager
def _quietly() -> Iterator[None]:
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def call(function: Callable[[], R]) -> R:
    """Call what a native sink asks for keys and tokens."""
    with _quietly():
        return function()


class _Quiet:
    """A sink written in Python, under its own name."""

    def __init__(self, sink: object, send: Send | AsyncSend) -> None:
        named: Any = sink if hasattr(sink, "__qualname__") else type(sink)
        self.__module__, self.__qualname__ = named.__module__, named.__qualname__
        self.send = _around(send)
        prepare: Any = None if inspect.isfunction(sink) else getattr(sink, "prepare", None)
        if prepare is not None:
            self.prepare = _around(prepare)


def quiet(sink: Sink) -> Sink:
    """Return a sink that does what `sink` does, quietly. Native ones are quiet."""
    if isinstance(sink, NativeSink):
        return sink
    send = send_of(sink)
    check_arity(send)
    return cast("Sink", _Quiet(sink, send))


def _around(function: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
    def call(batch: Batch) -> Any:
        with _quietly():
            return function(batch)

    async def run(batch: Batch) -> Any:
        with _quietly():
            return await function(batch)

    return run if is_async(function) else call
