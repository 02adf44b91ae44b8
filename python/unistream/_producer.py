"""`Producer` and `Buffer`: the engine with Python's manners."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import types
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, cast

from . import _delivery, _ending, _green, _logging, _native, _outage
from ._errors import Reentrant, Timeout, WrongMode
from ._logging import logger
from ._options import BufferOptions, Options, Schedule, Seconds, Stats
from ._payload import Default, Serializer, check_hooks
from ._sink import AsyncSend, Send, Sink, check_arity, is_async, name_of, on_loop, prepare_of, send_of, start_workers

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures
    from collections.abc import Callable
    from types import TracebackType

    from ._delivery import DeliveryReport
    from ._outage import Unavailable
    from ._payload import Payload, PutExtras

CLOSE_TIMEOUT = 30.0
"""Seconds that `close()` and the end of a `with` block spend on delivering what is left, unless told otherwise."""
ERROR_TIMEOUT = 1.0
"""The most seconds that a `with` block that an exception leaves spends on the same."""
_SLICE = 0.1


class Producer(_native.Producer):
    """Puts records into a durable buffer and sends them, in batches and in order, to a sink.

    When `put` has returned, the record survives the death of the process; it is delivered at least once, or it is in
    the dead letters with the reason, or it is still in the buffer, and the next producer on the same path goes on.

    All methods may be called from any thread, at the same time. With `shared=True` any number of processes may use one
    path, and a forked child may use what its parent has opened. Without it a forked child gets `Forked`: open producers
    after the fork, one path each.

    Args:
        path: the buffer's directory; created if it does not exist. One producer at a time owns it, unless it is opened
            with `shared=True`: then each process has a slot in it, and those that live send what the others have left.
        sink: where batches go: `FileSink` and the other sinks of unistream, a callable that takes a `Batch`, or an
            object with `send`. It returns `None`, or a `Report` to answer per record; it raises if the batch failed,
            `SinkUnavailable` to pause without using up an attempt. Async callables run on the event loop that is
            running now; `put` then never blocks, and a full buffer raises `BufferFull` at once unless `when_full` is
            given.
        mode: `"background"`: a thread sends, and `put` never waits for the sink. `"inline"`: `put` itself sends, at
            most one batch a call, and nothing happens between calls. `"manual"`: the program asks for `next_batch`,
            sends it its own way and says `commit` or `failed`; there is no sink.
        schedule: the waits between attempts, and when to give up; the `schedule_*` options in one value.
        unavailable: what else is an outage, which uses up no attempt: exception classes, or a function that is given
            the exception and returns `True` or the seconds to wait, `False` for a failure, `None` for what the table
            says. The table, with what the usual clients raise when nobody answers, is in the guide.
        default: is called with a value that JSON has no form for, and returns another one in its place.
        serializer: is called with everything but text, bytes-like objects and objects with `serialize()`, and returns
            the payload, bytes or text: `msgpack.packb`, `orjson.dumps`.
        close_timeout: seconds or a `timedelta` that `close()` and the end of a `with` block spend on delivering what is
            left; `None` waits for ever. A block that an exception leaves spends at most a second, one that Ctrl-C
            leaves nothing. What is left stays on disk.
        options: see `Options` and `unistream.options()`.

    Raises:
        InUse: another producer has the buffer; the message names its process.

    >>> with Producer(path, send, max_records=2, schedule=Schedule(max=4, max_attempts=4)) as producer:
    ...     for data in (b"raw bytes", "text", {"id": "1", "value": 90}):
    ...         producer.put(data)
    1
    2
    3
    """

    __slots__ = ("__weakref__", "_close_timeout", "_loops", "_mode")

    _close_timeout: Seconds | None
    _loops: list[asyncio.AbstractEventLoop | None]
    _mode: str

    def __new__(
        cls,
        path: str | os.PathLike[str],
        sink: Sink | None = None,
        *,
        mode: Literal["background", "inline", "manual"] = "background",
        schedule: Schedule | None = None,
        unavailable: Unavailable = (),
        default: Default | None = None,
        serializer: Serializer | None = None,
        close_timeout: Seconds | None = CLOSE_TIMEOUT,
        **options: Unpack[Options],
    ) -> Self:
        """Open the buffer, create it if there is none, and start to send."""
        keywords = cast("dict[str, Any]", options)
        if close_timeout is not None and not _seconds(close_timeout) >= 0:
            raise ValueError(f"close_timeout is {close_timeout}; it must be a span of time in seconds, or None")
        added = _outage.check(unavailable)
        check_hooks(default, serializer)
        if schedule is not None:
            twice = keywords.keys() & schedule.options().keys()
            if twice:
                raise TypeError(f"{', '.join(sorted(twice))}: given as an option and in the schedule")
            keywords |= schedule.options()
        if (sink is None) != (mode == "manual"):
            raise TypeError("manual mode takes no sink; the other modes need one")
        keywords |= {"mode": mode}
        path = os.fspath(path)
        # A forked child may be in another directory.
        paths = [path]
        with contextlib.suppress(OSError):
            paths.append(str(Path(path).absolute()))
        loops: list[asyncio.AbstractEventLoop | None] = []
        made: list[weakref.ref[Producer]] = []

        def start(opener: _native.Opener) -> None:
            with _turn:
                if not opener.needed:
                    return
                loops[:] = [_open(opener, paths[-1] if made else path, sink, added, keywords)]
                if made and (producer := made[0]()) is not None:
                    _ending.opened(producer)

        self = super().__new__(cls, start, default, serializer)
        made.append(weakref.ref(self))
        self._loops, self._mode, self._close_timeout = loops, mode, close_timeout
        _ending.opened(self)
        return self

    def flush(self, timeout: Seconds | None = None) -> None:
        """Wait until every record put before is delivered or in the dead letters.

        Other threads run meanwhile, and Ctrl-C interrupts it.

        Args:
            timeout: seconds or a `timedelta`; `None` waits for ever.

        Raises:
            Timeout: the time was over first; what was not sent stays on disk.
            RetriesExhausted: the producer has stopped.
        """
        self._refuse_on_loop("aflush")
        self._wait_flushed(self._begin_flush(), timeout)

    def close(self, timeout: Seconds | types.EllipsisType | None = ...) -> int:
        """Flush for at most `timeout`, then close. Idempotent.

        Args:
            timeout: seconds or a `timedelta`; `None` waits for ever. Left out, it is the producer's `close_timeout`.
                Manual mode waits for nothing: it is the program itself that sends.

        Returns:
            How many records are left; they stay on disk and are sent by the next producer on this path.

        Raises:
            RetriesExhausted: the producer had stopped; it is closed all the same.
            SendFailed: the sink gave an answer that nobody understood; the producer is closed all the same.
        """
        if timeout is ...:
            timeout = self._close_timeout
        if timeout != 0:
            self._refuse_on_loop("aclose")
        try:
            return super().close(0 if self._mode == "manual" else timeout)
        finally:
            if self.closed:
                _ending.closed(self)
                _logging.drain()

    @property
    def closed(self) -> bool:
        """Whether it takes no more calls."""
        return bool(self._stats()["state"] == "closed")

    async def aflush(self, timeout: Seconds | None = None) -> None:
        """Do as `flush`, without blocking the event loop. It can be cancelled."""
        import asyncio

        point = self._begin_flush()
        deadline = None if timeout is None else time.monotonic() + _seconds(timeout)
        while True:
            left = _SLICE if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                # In slices, so that a cancelled flush leaves no thread behind that waits for ever.
                return await asyncio.to_thread(self._wait_flushed, point, min(left, _SLICE))
            except Timeout:
                if deadline is not None and left <= _SLICE:
                    raise

    async def aclose(self, timeout: Seconds | types.EllipsisType | None = ...) -> int:
        """Do as `close`, without blocking the event loop."""
        import asyncio

        if timeout is ...:
            timeout = self._close_timeout
        if self._mode == "manual":
            timeout = 0
        try:
            # What is wrong, closing says again.
            with contextlib.suppress(Exception):
                await self.aflush(timeout)
        except BaseException:
            self.close(0)
            raise
        return await asyncio.to_thread(self.close, 0)

    def drain(self, timeout: Seconds | None = None) -> None:
        """Flush, and wait besides until no slot of the outbox has records whose process has ended.

        Those of processes that live are theirs to send. Without `shared=True` it is `flush`.

        Args:
            timeout: seconds or a `timedelta`; `None` waits for ever.

        Raises:
            Timeout: the time was over first; what was not sent stays on disk.
            RetriesExhausted: the producer has stopped.
        """
        self._refuse_on_loop("aflush")
        self._drain(timeout)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop | None:
        return self._loops[0]

    def put_reported(
        self, data: Payload, on_report: Callable[[DeliveryReport], object] | None = None, **extras: Unpack[PutExtras]
    ) -> concurrent.futures.Future[DeliveryReport]:
        """Put a record as `put` does, and return a future of what becomes of it.

        The future cannot be cancelled, since the record is in the log. It lives as long as the process: after a crash,
        in a forked child, and while a stopped producer is not resumed nobody is told; when the producer is closed it is
        `"closed"` of what is left. Puts without a report cost nothing for it.

        Args:
            data: as of `put`, and so are the keywords.
            on_report: is called with the report, too, on the thread that finds out, which may be this one. It must not
                call this producer.
            **extras: `id`, `key`, `created_at`, `headers`, `topic`, `expires_at`, `max_age`.
        """
        return _delivery.put_reported(self, data, on_report, dict(extras))

    async def put_confirmed(self, data: Payload, **extras: Unpack[PutExtras]) -> DeliveryReport:
        """Put a record as `put` does, and wait on the running loop until it is known what became of it.

        A batch that is not full waits for its `linger` first. Cancelling the wait changes nothing for the record.
        """
        return await _delivery.confirmed(self.put_reported(data, **extras))

    def stats(self) -> Stats:
        """Return what the producer has done and what it is doing. May be called from anywhere, sinks included."""
        return Stats(**self._stats())

    def _flush_at_exit(self, timeout: float) -> None:
        """Flush without closing; an async sink's loop is not waited for, it does not run any more."""
        if self._mode == "background" and self._loop is None:
            self._wait_flushed(self._begin_flush(), timeout)

    def _refuse_on_loop(self, instead: str) -> None:
        if self._loop is not None and _running_loop() is self._loop:
            raise Reentrant(f"waiting here would block the event loop that the sink runs on; await {instead}()")

    def __enter__(self) -> Self:
        """Return the producer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close, and deliver until `close_timeout` is over; an exception of the block goes on whatever closing says."""
        try:
            self._left(self.close(self._exit_timeout(error)))
        except Exception:
            if error is None:
                raise
            logger.exception("closing failed under another exception")

    async def __aenter__(self) -> Self:
        """Return the producer itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close, and deliver until `close_timeout` is over; an exception of the block goes on whatever closing says."""
        try:
            self._left(await self.aclose(self._exit_timeout(error)))
        except Exception:
            if error is None:
                raise
            logger.exception("closing failed under another exception")

    def _exit_timeout(self, error: BaseException | None) -> Seconds | None:
        if error is None:
            return self._close_timeout
        if not isinstance(error, Exception):
            # Who pressed Ctrl-C wants to leave, not to deliver.
            return 0.0
        # The traceback should not keep anybody waiting either.
        return ERROR_TIMEOUT if self._close_timeout is None else min(_seconds(self._close_timeout), ERROR_TIMEOUT)

    def _left(self, records: int) -> None:
        if records and self._mode != "manual":
            logger.warning("%d records are left in %s for the next producer", records, self.path)

    def __del__(self) -> None:
        """Close a producer that nobody closed; what is left stays on disk."""
        # What a forked child has not used is its parent's to close.
        if not self.closed and not self.is_forked:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close(0)

    def __repr__(self) -> str:
        """Name the directory and the mode."""
        state = " closed" if self.closed else ""
        return f"<Producer {os.fspath(self.path)!r} {self._mode}{state}>"


def _open(
    opener: _native.Opener,
    path: str,
    sink: Sink | None,
    added: Callable[[BaseException], object] | None,
    keywords: dict[str, Any],
) -> asyncio.AbstractEventLoop | None:
    """Open a producer in this process. Returns the loop that its sink runs on, if it is async."""
    green = _green.library()
    mode, keywords = keywords["mode"], dict(keywords)
    native: object = sink
    loop = send = None
    name, prepare = "", None
    if sink is not None and not isinstance(sink, _native.NativeSink):
        name, native = name_of(sink), send_of(sink)
        check_arity(native)
        if is_async(native):
            if mode != "background":
                raise TypeError("an async sink needs background mode")
            loop = _running_loop()
            if loop is None:
                raise RuntimeError(
                    "no running event loop: an async sink runs on the loop in which its producer is made; make the "
                    "producer inside a coroutine, or give it a sink that is not async"
                )
            native = on_loop(cast("AsyncSend", native), loop)
            keywords.setdefault("when_full", "error")
        prepare = prepare_of(sink, loop)
        if mode == "background":
            current = None if green is None else green.current
            send, native = cast("Send", native), _native.Channel(name, added, current, prepare)
        elif green is not None:
            raise WrongMode(
                f"this process is patched by {green.name}: in inline mode other greenlets would be refused while "
                "the sink runs; use background mode, where the sink runs on a greenlet of its own"
            )
    level = min(logger.getEffectiveLevel(), logging.CRITICAL)
    pause = None if green is None else green.sleep
    opener.open(path, native, name, added, prepare, keywords, _logging.events(), level, pause)
    if send is not None:
        start_workers(cast("_native.Channel", native), send, opener.max_in_flight, green)
    return loop


def _renew_turn() -> None:
    global _turn  # noqa: PLW0603
    _turn = threading.RLock()


# Another thread of the parent may have had it at the fork.
_turn = threading.RLock()
os.register_at_fork(after_in_child=_renew_turn)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    # Importing it takes as long as the rest of the package; where nobody has, no loop runs.
    asyncio = sys.modules.get("asyncio")
    try:
        return None if asyncio is None else asyncio.get_running_loop()
    except RuntimeError:
        return None


def _seconds(span: Seconds) -> float:
    return span if isinstance(span, int | float) else span.total_seconds()


class Buffer(_native.Buffer):
    """The durable FIFO alone: records in, batches out, in put order, until they are committed.

    All methods may be called from any thread, at the same time.

    Args:
        path: the buffer's directory; created if it does not exist. One buffer or producer at a time owns it.
        default: as for `Producer`.
        serializer: as for `Producer`.
        options: see `BufferOptions` and `unistream.options()`.

    >>> with Buffer(path, max_records=2) as buffer:
    ...     for data in ("a", "b", "c"):
    ...         _ = buffer.put(data)
    ...     batch = buffer.emit()
    ...     print([record.data for record in batch])
    ...     buffer.commit(batch)
    ...     print(len(buffer))
    [b'a', b'b']
    1
    """

    __slots__ = ()

    def __new__(
        cls,
        path: str | os.PathLike[str],
        *,
        default: Default | None = None,
        serializer: Serializer | None = None,
        **options: Unpack[BufferOptions],
    ) -> Self:
        """Open the buffer; create it if there is none."""
        check_hooks(default, serializer)
        return super().__new__(cls, os.fspath(path), default, serializer, cast("dict[str, Any]", options))

    def __enter__(self) -> Self:
        """Return the buffer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; what is in it stays on disk."""
        self.close()
