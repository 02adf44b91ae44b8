"""Python's `logging` into a durable buffer: what is logged survives the process, and is sent when it can be.

>>> import logging, unistream.logging
>>> handler = unistream.logging.Handler("logs-outbox", "file:app.log")
>>> log = logging.getLogger("shop")
>>> log.addHandler(handler)
>>> log.warning("order %s is late", 17, extra={"user": "u-7"})
>>> handler.close()

`dictConfig` and `fileConfig` make it by name, `unistream.logging.Handler`. docs/logging.md has recipes.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Unpack

from . import _ending, _native, _registry
from ._errors import Closed, Forked, InvalidArgument, UnistreamError
from ._options import Options, Seconds
from ._producer import Producer
from ._quiet import is_quiet, quiet
from ._sink import Sink, name_of

__all__ = ["FIELDS", "Handler", "JsonFormatter"]

FIELDS = ("time", "level", "logger", "message", "file", "line", "function", "process", "thread", "task")
"""The fields of a JSON record, beside `exception`, `stack` and `extra`, which are there when the record has them."""

_RETRY = 1.0
"""Seconds after a buffer could not be opened in which it is not tried again."""
_TRIES = 100
"""How often a record is put while other threads close what it was to be put into."""
_TELL = 60.0
"""Seconds between two lines on standard error about records that could not be put."""
_DEPTH = 4
"""How deep records may be logged while a record is formatted, where a handler comes to itself again."""
_DEEPEST_HANDLERS = 8
"""How deep, where each is another handler."""
# Not by `makeLogRecord`, which asks a factory of the program's.
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
_DEEPEST = 100
"""How deep a value is looked through for what has no form, before the rest of it is text."""

_lock = threading.RLock()
"""Guards the table of outlets, and which producer each of them has."""
_outlets: dict[str, _Outlet] = {}
"""By absolute path: handlers of one process share what only one of them could own."""
_late: dict[str, Producer] = {}
"""By absolute path: what takes records when the end of the interpreter has closed all else."""
_counting = threading.RLock()
"""Guards the counters of handlers, each time for an instant; a signal's handler that logs may come in between."""
_nesting = threading.local()


class JsonFormatter(logging.Formatter):
    """Makes one line of JSON of a record.

    `time` is UTC to the microsecond, `level` and `logger` are names, `message` is the text, `file`, `line` and
    `function` say where it was logged, `process` (a number), `thread` and `task` (names) by whom. `exception` has
    `type`, `message` and `traceback`, `stack` is text, `extra` holds what was passed as `extra`.

    Values have the forms that `put` gives them. What has none there is text, as `repr` has it: a record is never lost
    for what is in it.

    `fileConfig` and `dictConfig` make it by `class`: `format` has the fields, divided by commas or spaces, and
    `defaults` is `constant`.

    Args:
        fields: which of `FIELDS` there are, and in which order; a text is divided at commas and spaces.
        datefmt: nothing, because the form of `time` is fixed.
        style: nothing, because there are no place holders.
        validate: nothing, because fields are always checked.
        constant: fields with the same value in every record, such as the name of the service.
        defaults: the same, under the name that `logging.config` has for it.
        default: makes something else of a value without a form; `repr` unless given.

    Raises:
        InvalidArgument: there is no such field, or a `datefmt`.
    """

    def __init__(
        self,
        fields: Iterable[str] | None = FIELDS,
        datefmt: str | None = None,
        style: str = "%",  # noqa: ARG002 as `logging.config` passes it
        validate: bool = True,  # noqa: ARG002
        *,
        constant: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        default: Callable[[Any], Any] = repr,
    ) -> None:
        super().__init__()
        if isinstance(fields, str):
            fields = fields.replace(",", " ").split()
        self._fields = tuple(fields or FIELDS)
        if unknown := set(self._fields).difference(FIELDS):
            raise InvalidArgument(f"there is no field {min(unknown)!r}: they are {', '.join(FIELDS)}")
        if datefmt:
            raise InvalidArgument("the form of time is fixed: leave datefmt out")
        self._constant = {**(defaults or {}), **(constant or {})}
        self._default = default

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        document = {name: value for name in self._fields if (value := _FIELDS[name](record)) is not None}
        if (failure := self._exception(record)) is not None:
            document["exception"] = failure
        if record.stack_info:
            document["stack"] = self.formatStack(record.stack_info)
        if extra := {name: value for name, value in vars(record).items() if name not in _STANDARD}:
            document["extra"] = extra
        document |= self._constant
        try:
            return self._json(document)
        except Exception:  # noqa: BLE001 a value's own code may raise anything
            pass
        try:
            return self._json(self._plain(document))
        except Exception:  # noqa: BLE001 what has a form by itself may be too deep in here
            return self._json({name: _shown(value, repr) for name, value in document.items()})

    def _exception(self, record: logging.LogRecord) -> dict[str, str] | None:
        if not record.exc_info or record.exc_info[1] is None:
            # A queue's handler has made text of it.
            return {"traceback": record.exc_text} if record.exc_text else None
        error = record.exc_info[1]
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return {"type": name, "message": _shown(error, str), "traceback": self.formatException(record.exc_info)}

    def _json(self, value: Any) -> str:
        return _native.encode([value], self._default)[0][1:-1].decode()

    def _plain(self, value: Any, depth: int = 0) -> Any:
        """Return a value that has a form: the parts that have none, and what is too deep, as text."""
        if type(value) is str:
            return value.encode(errors="backslashreplace").decode()
        if type(value) is dict and depth < _DEEPEST:
            document: dict[str, Any] = {}
            for name, inner in value.items():
                key = _shown(name, str)
                # Different keys may look alike: 1 and "1", or what cannot be shown.
                while key in document:
                    key += "'"
                document[key] = self._plain(inner, depth + 1)
            return document
        try:
            self._json(value)
        except Exception:  # noqa: BLE001
            return _shown(value, repr)
        return value


def _shown(value: object, shown: Callable[[object], str]) -> str:
    try:
        return shown(value).encode(errors="backslashreplace").decode()
    except Exception:  # noqa: BLE001
        return f"<{type(value).__name__} that cannot be shown>"


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


_FIELDS: dict[str, Callable[[logging.LogRecord], Any]] = {
    "time": _time,
    "level": lambda record: record.levelname,
    "logger": lambda record: record.name,
    "message": lambda record: record.getMessage(),
    "file": lambda record: record.pathname,
    "line": lambda record: record.lineno,
    "function": lambda record: record.funcName,
    "process": lambda record: record.process,
    "thread": lambda record: record.threadName,
    "task": lambda record: getattr(record, "taskName", None),
}


class Handler(logging.Handler):
    """Puts what is logged into a durable buffer, which is sent in the background.

    When a call such as `log.info()` returns, the record survives the death of the process. A record is JSON as
    `JsonFormatter` makes it, or what a formatter of the program makes. Its `created_at` is the time at which it was
    logged.

    It never logs in a circle: records of unistream's own loggers are left out, and so is what the sink logs while it
    runs. What a client of a sink of your own logs on threads of its own is left out if `ignore` names its logger.

    It never waits for the sink. With a full buffer it waits as the options `when_full` and `full_timeout` say: not at
    all unless they say something. A record that cannot be put counts in `lost`, and a line on standard error says why,
    at most one a minute.

    Handlers of one process with the same path share one producer; their `to` and options must be the same. In a forked
    child the buffer is the parent's; with the option `shared` the child has its own place in it. Records that are
    logged after the handler was closed, at the end of the interpreter as well, are put all the same and sent by the
    next process.

    All methods may be called from any thread, at the same time; no lock is held while a record is put.

    Args:
        path: the buffer's directory; created if it does not exist.
        to: where records go: the URL of a sink, or a sink.
        level: the lowest level that it handles.
        to_options: options of the sink beside those in the URL, such as secrets, which a URL must not have.
        ignore: names of loggers that are left out, with the loggers below them.
        close_timeout: seconds or a `timedelta` that `close()` spends on delivering what is left; it stays on disk
            otherwise. The end of the interpreter spends at most a second.
        options: those of a `Producer`; `when_full` is `"error"` here unless it or `full_timeout` is given, and
            `full_timeout` is 0 unless it is given or `when_full` is `"block"`.

    Raises:
        InUse: another process has the buffer, and it is not `shared`.
        InvalidArgument: a handler of this process has the path with another `to` or other options.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        to: str | Sink,
        level: int | str = logging.NOTSET,
        *,
        to_options: Mapping[str, Any] | None = None,
        ignore: Iterable[str] = (),
        close_timeout: Seconds = 1.0,
        **options: Unpack[Options],
    ) -> None:
        if "full_timeout" not in options:
            options.setdefault("when_full", "error")
            if options["when_full"] != "block":
                # Also what drops the oldest records waits, while these are on their way.
                options["full_timeout"] = 0
        names = [ignore] if isinstance(ignore, str) else ignore
        self._ignored = ("unistream.", *(f"{name}." for name in names))
        self._close_timeout = close_timeout
        self._released = False
        self._lost = 0
        self._told = float("-inf")
        # A dict of logging.config resolves what is in it only when it is asked for one key.
        to_options = {name: to_options[name] for name in to_options or {}} if to_options else {}
        self._outlet = _Outlet.acquire(os.path.abspath(os.fspath(path)), to, to_options, options)  # noqa: PTH100
        # Last, because logging closes what it knows of, also a handler that could not be made.
        try:
            super().__init__(level)
        except BaseException:
            self._outlet.release(0)
            raise
        # Without one `basicConfig` would set its own.
        self.setFormatter(JsonFormatter())

    @property
    def producer(self) -> Producer:
        """The producer, to flush it or to look at its statistics; handlers with the same path share it.

        Raises:
            Closed: the handler is closed.
        """
        if self._released:
            raise Closed("the handler is closed")
        return self._outlet.producer()

    @property
    def lost(self) -> int:
        """How many records could not be put."""
        return self._lost

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """Put a record unless a filter drops it or it is one that would come from itself."""
        if is_quiet() or f"{record.name}.".startswith(self._ignored):
            return False
        passed: bool | logging.LogRecord = self.filter(record)
        if passed:
            # Without the lock of logging: a producer needs none, and who waits for space keeps nobody waiting.
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record; what goes wrong goes to `handleError`."""
        outer: tuple[Handler, ...] = getattr(_nesting, "handlers", ())
        if len(outer) >= (_DEPTH if self in outer else _DEEPEST_HANDLERS):
            self._lose(f"records are logged {len(outer)} deep while a record is formatted")
            return
        _nesting.handlers = (*outer, self)
        try:
            payload = self.format(record).encode(errors="backslashreplace")
            try:
                self._outlet.put(payload, record.created)
            except InvalidArgument:
                # Files of lines, and what else takes one line a record.
                if b"\n" not in payload:
                    raise
                self._outlet.put(payload.replace(b"\r", rb"\r").replace(b"\n", rb"\n"), record.created)
        except Exception:  # noqa: BLE001 as the documentation of logging has it
            self.handleError(record)
        finally:
            _nesting.handlers = outer

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Count a record that could not be put, and say so on standard error, not more often than once a minute."""
        error = sys.exception()
        if isinstance(error, UnistreamError):
            self._lose(f"{error.kind}: {error}")
            return
        self._count()
        # A mistake in the call or in a formatter; logging shows where.
        super().handleError(record)

    def _count(self) -> int:
        with _counting:
            self._lost += 1
            return self._lost

    def _lose(self, reason: str) -> None:
        lost = self._count()
        now = time.monotonic()
        if not logging.raiseExceptions or sys.stderr is None or now < self._told + _TELL:
            return
        self._told = now
        with contextlib.suppress(OSError, ValueError):
            print(f"unistream.logging: {self._outlet.path}: {lost} log records not put; {reason}", file=sys.stderr)

    def flush(self) -> None:
        """Do nothing: what was handled is on disk already. `handler.producer.flush()` waits for the sink."""

    def close(self) -> None:
        """Deliver for at most `close_timeout`, unless other handlers have the path. Idempotent."""
        super().close()
        with _lock:
            released, self._released = self._released, True
        if not released:
            self._outlet.release(self._close_timeout)

    def __repr__(self) -> str:
        """Name the directory, the sink and the level."""
        return f"<Handler {self._outlet.path!r} to {self._outlet.shown} ({logging.getLevelName(self.level)})>"


class _Outlet:
    """A buffer for the handlers of this process that have its path."""

    def __init__(self, path: str, to: str | Sink, to_options: dict[str, Any], options: Options) -> None:
        self.path = path
        self._settings = (to, to_options, options)
        self._holders = 0
        self._producer: Producer | None = None
        self._refused: tuple[float, UnistreamError] | None = None
        self._file = _file_from_here(to, to_options)

    @staticmethod
    def acquire(path: str, to: str | Sink, to_options: dict[str, Any], options: Options) -> _Outlet:
        """Return the outlet of a path, open, for one more handler."""
        if "mode" in options:
            raise TypeError("a handler has no mode: it puts, and a thread of the producer sends")
        key = os.path.realpath(path)
        with _lock:
            outlet = _outlets.get(key)
            if outlet is None:
                outlet = _Outlet(path, to, to_options, options)
                if (late := _late.pop(key, None)) is not None:
                    late.close(0)
                outlet._open()
                _outlets[key] = outlet
            elif outlet._settings != (to, to_options, options):
                raise InvalidArgument(
                    f"another handler of this process has {path}, to another sink or with other options"
                )
            outlet._holders += 1
        return outlet

    def release(self, timeout: Seconds) -> None:
        """Close for the last handler. Threads that log meanwhile are not kept waiting."""
        with _lock:
            self._holders -= 1
            producer = self._idle_producer()
        if producer is None:
            return
        with contextlib.suppress(UnistreamError):
            producer.flush(timeout)
        with _lock:
            if self._idle_producer() is not producer:
                return
            with contextlib.suppress(UnistreamError):
                producer.close(0)
            self._producer = None
            for key in [key for key, outlet in _outlets.items() if outlet is self]:
                del _outlets[key]

    def _idle_producer(self) -> Producer | None:
        return None if self._holders else self._producer

    def put(self, payload: bytes, created_at: float) -> None:
        """Put, whatever has become of the producer."""
        producer = self._producer
        try:
            if producer is not None:
                producer.put(payload, created_at=created_at)
                return
        except (Closed, Forked):
            pass
        for left in reversed(range(_TRIES)):
            with self._opened(producer) as producer:
                try:
                    producer.put(payload, created_at=created_at)
                except Closed:
                    # Another thread has configured logging anew in between.
                    if not left:
                        raise
                else:
                    return

    def producer(self) -> Producer:
        """Return the producer, of this process."""
        with _lock:
            producer = self._producer
            if producer is None or producer.closed:
                producer = self._open()
        return producer

    @contextlib.contextmanager
    def _opened(self, stale: Producer | None) -> Iterator[Producer]:
        """Lend a producer after `stale` has refused."""
        with _lock:
            outlet = self if self._holders else _outlets.get(os.path.realpath(self.path), self)
            producer = outlet._producer
            if producer is None or producer is stale or producer.closed:
                # Where nobody sends any more: into the buffer with it, for the next process.
                if _ending.is_closing():
                    # It stays open, because more may come and each opening takes a while: until the process ends.
                    outlet._producer = _late[os.path.realpath(self.path)] = producer = outlet._open_late()
                elif not outlet._holders:
                    with outlet._open_late() as producer:
                        yield producer
                    return
                else:
                    producer = outlet._open()
        yield producer

    def _open_late(self) -> Producer:
        return Producer(self.path, mode="manual", **self._settings[2])

    def _open(self) -> Producer:
        if self._refused is not None and time.monotonic() < self._refused[0] + _RETRY:
            # A copy: the traceback of an exception that is raised again and again grows.
            raise copy.copy(self._refused[1])
        try:
            self._producer = producer = Producer(self.path, quiet(self._make_sink()), **self._settings[2])
        except UnistreamError as error:
            # Without its frames, in which a sink would live on that has its file.
            self._refused = (time.monotonic(), copy.copy(error).with_traceback(None))
            raise
        self._refused = None
        return producer

    def _make_sink(self) -> Sink:
        to, to_options, _ = self._settings
        if not isinstance(to, str):
            return to
        if self._file is not None:
            return _registry.sink("file", **self._file)
        return _registry.sink(to, **to_options)

    @property
    def shown(self) -> str:
        """The sink, for people."""
        to = self._settings[0]
        return to if isinstance(to, str) else to.name if isinstance(to, _native.NativeSink) else name_of(to)


def _file_from_here(to: str | Sink, to_options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the options of a sink that is a file, wherever the process goes later; `None` for other sinks."""
    if not isinstance(to, str) or to.partition(":")[0] != "file":
        return None
    named: dict[str, Any] = dict(_native.sink_options(to))
    if twice := named.keys() & to_options.keys():
        raise InvalidArgument(f"option {min(twice)} is given twice")
    named |= to_options
    if "path" in named:
        named["path"] = os.path.abspath(os.fspath(named["path"]))  # noqa: PTH100
    return named


def _forget() -> None:
    """Leave the parent's locks to the parent: the threads that may hold them are not here."""
    global _lock, _counting
    _lock, _counting = threading.RLock(), threading.RLock()


os.register_at_fork(after_in_child=_forget)
