"""How a Python object becomes a sink of the engine.

In background mode the engine's own thread never runs Python code. It hands each batch through a channel to a daemon
thread of the interpreter and waits for the answer: so a sink that hangs keeps neither `close()` nor the interpreter's
exit waiting.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

from ._errors import SinkUnavailable
from ._green import Bell, Library
from ._native import Batch, Channel, Job, NativeSink, Report

if TYPE_CHECKING:
    import asyncio

Answer: TypeAlias = Report | None
"""What a sink returns: `None` if it took every record of the batch, else a report."""
Send: TypeAlias = Callable[[Batch], Answer]
AsyncSend: TypeAlias = Callable[[Batch], Awaitable[Answer]]


Prepare: TypeAlias = Callable[[Batch], bytes | None]
"""The method `prepare` of a sink: what to keep with a batch before its first attempt, at most 4,096 bytes."""
AsyncPrepare: TypeAlias = Callable[[Batch], Awaitable[bytes | None]]
_T = TypeVar("_T")


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


def prepare_of(sink: object, loop: asyncio.AbstractEventLoop | None) -> Prepare | None:
    """Return what says what to keep with a batch, if the sink has it; `loop` runs an async sink's, if it is async."""
    prepare: Any = None if inspect.isfunction(sink) else getattr(sink, "prepare", None)
    if prepare is None or not is_async(prepare):
        return cast("Prepare | None", prepare)
    if loop is None:
        raise TypeError(f"prepare of {name_of(sink)} is async, so its send must be too")
    return on_loop(cast("AsyncPrepare", prepare), loop)


def name_of(sink: object) -> str:
    """Return the name of a sink for messages and dead letters."""
    named = sink if hasattr(sink, "__qualname__") else type(sink)
    return f"{named.__module__}.{named.__qualname__}"


def is_async(send: Callable[[Batch], object]) -> bool:
    """Whether calling it makes a coroutine."""
    return inspect.iscoroutinefunction(send) or inspect.iscoroutinefunction(getattr(send, "__call__", None))  # noqa: B004


def on_loop(send: Callable[[Batch], Awaitable[_T]], loop: asyncio.AbstractEventLoop) -> Callable[[Batch], _T]:
    """Return a callable for other threads that runs `send` on the loop and waits for it."""
    import asyncio

    async def run(batch: Batch) -> _T:
        return await send(batch)

    def call(batch: Batch) -> _T:
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


def check_arity(send: Send | AsyncSend) -> None:
    """Refuse a callable that cannot be called with one batch, before the first batch finds out."""
    try:
        signature = inspect.signature(send)
    except (TypeError, ValueError):
        # Built in, without a signature.
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise TypeError(f"a sink is called with one argument, the batch; {name_of(send)}{signature}: {error}") from None


def start_workers(channel: Channel, send: Send, count: int, green: Library | None) -> None:
    """Start what calls `send` with what comes through the channel, until it is closed."""
    if green is not None:
        green.spawn(_serve, channel, send, green, green.bell(channel))
        return
    for _ in range(count):
        threading.Thread(target=_work, args=(channel, send), name="unistream-sink", daemon=True).start()


def start_crew(channel: Channel, send: Send) -> None:
    """Start as many threads as there are batches at once, for an engine that does not say how many that may be."""
    idle: list[SimpleQueue[Job | None]] = []

    def dispatch() -> None:
        while (job := channel.receive()) is not None:
            # The last one that was busy: one batch at a time is always the same thread's.
            jobs = idle.pop() if idle else start()
            jobs.put(job)
            # A batch keeps its part of the log from being reused.
            del job
        for jobs in idle:
            jobs.put(None)

    def start() -> SimpleQueue[Job | None]:
        jobs: SimpleQueue[Job | None] = SimpleQueue()
        threading.Thread(target=work, args=(jobs,), name="unistream-sink", daemon=True).start()
        return jobs

    def work(jobs: SimpleQueue[Job | None]) -> None:
        while not channel.closed and (job := jobs.get()) is not None:
            # Idle before the answer is given, behind which the next batch comes.
            _run(job, send, lambda: idle.append(jobs))
            if job.is_forked:
                return
            del job

    threading.Thread(target=dispatch, name="unistream-sinks", daemon=True).start()


def _work(channel: Channel, send: Send) -> None:
    while not channel.closed:
        try:
            while (job := channel.receive()) is not None:
                _run(job, send)
                if job.is_forked:
                    # The sink has forked, and came back in the child too, which has no part in this.
                    return
                # A batch keeps its part of the log from being reused.
                del job
        except BaseException:  # noqa: BLE001 somebody sent this thread an exception; the job says so
            continue


def _serve(channel: Channel, send: Send, green: Library, bell: Bell) -> None:
    """Spawn a greenlet for each batch; the engine hands out no more than may be in flight."""
    while bell.wait() and not channel.closed:
        while (job := channel.take()) is not None:
            green.spawn(_run, job, send)
            del job
    bell.close()


def _run(job: Job, send: Send, answering: Callable[[], object] | None = None) -> None:
    try:
        if (batch := job.begin()) is None:
            return
        prepare = job.prepare
        answer = send(batch) if prepare is None else prepare(batch)
    except BaseException as error:  # noqa: BLE001 the engine judges it
        if answering:
            answering()
        job.raised(error)
    else:
        if answering:
            answering()
        job.returned(answer)
