"""How a Python object becomes a sink of the engine.

In background mode the engine's own thread never runs Python code. It hands each batch through a channel to a daemon
thread of the interpreter and waits for the answer: so a sink that hangs keeps neither `close()` nor the interpreter's
exit waiting.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import Any, Protocol, TypeAlias, cast

from ._errors import SinkUnavailable
from ._native import Batch, Channel, NativeSink, Report

Answer: TypeAlias = Report | None
"""What a sink returns: `None` if it took every record of the batch, else a report."""
Send: TypeAlias = Callable[[Batch], Answer]
AsyncSend: TypeAlias = Callable[[Batch], Awaitable[Answer]]


class Sender(Protocol):
    """An object with a `send` method."""

    def send(self, batch: Batch, /) -> Answer:
        """Send the batch; raise if that failed."""


class AsyncSender(Protocol):
    """An object with a `send` coroutine method."""

    async def send(self, batch: Batch, /) -> Answer:
        """Send the batch; raise if that failed."""


Sink: TypeAlias = NativeSink | Send | AsyncSend | Sender | AsyncSender
"""What a producer takes: a sink of unistream, a callable, or an object with `send`; plain or async."""


def send_of(sink: object) -> Send | AsyncSend:
    """Return the callable behind a sink that is written in Python."""
    send: Any = getattr(sink, "send", sink)
    if not callable(send):
        raise TypeError(f"a sink is a callable or has a send method; {type(sink).__name__} is neither")
    return cast("Send | AsyncSend", send)


def name_of(sink: object) -> str:
    """Return the name of a sink for messages and dead letters."""
    named = sink if hasattr(sink, "__qualname__") else type(sink)
    return f"{named.__module__}.{named.__qualname__}"


def is_async(send: Send | AsyncSend) -> bool:
    """Whether calling it makes a coroutine."""
    return inspect.iscoroutinefunction(send) or inspect.iscoroutinefunction(getattr(send, "__call__", None))  # noqa: B004


def on_loop(send: AsyncSend, loop: asyncio.AbstractEventLoop) -> Send:
    """Return a callable for other threads that runs `send` on the loop and waits for it."""

    async def run(batch: Batch) -> Answer:
        return await send(batch)

    def call(batch: Batch) -> Answer:
        coroutine = run(batch)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError as error:
            coroutine.close()
            raise SinkUnavailable("the sink's event loop is closed") from error
        try:
            return future.result()
        except CancelledError as error:
            raise SinkUnavailable("the sink was cancelled with its event loop") from error

    return call


def start_workers(channel: Channel, send: Send, count: int) -> None:
    """Start the threads that call `send` with what comes through the channel, until it is closed."""
    for _ in range(count):
        threading.Thread(target=_work, args=(channel, send), name="unistream-sink", daemon=True).start()


def _work(channel: Channel, send: Send) -> None:
    while (job := channel.receive()) is not None:
        try:
            job.returned(send(job.batch))
        except BaseException as error:  # noqa: BLE001 the engine judges it
            job.raised(error)
        if job.is_forked:
            # The sink has forked, and came back in the child too, which has no part in this.
            return
        # A batch keeps its part of the log from being reused.
        del job
