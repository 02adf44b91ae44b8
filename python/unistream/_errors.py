"""Every exception, and the one place where the engine's errors become them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class UnistreamError(Exception):
    """The parent of every error that unistream raises itself.

    Attributes:
        kind: the error's name in the engine, the same in every language.
        retryable: whether the same call can succeed later with nothing changed by the caller.
        record_accepted: whether the record of the `put` that raised this is in the log nevertheless.
        accepted: how many items are in the log, where `put_many` raised this; all that comes out of it has that.
    """

    kind: str = "unistream"
    retryable: bool = False
    record_accepted: bool = False
    accepted: int | None = None


class InvalidArgument(UnistreamError, ValueError):
    """An argument or option is out of its range. Correct the call."""


class RecordTooLarge(UnistreamError, ValueError):
    """The record is larger than `max_record_bytes`, a batch, or the sink allows."""


class BufferFull(UnistreamError):
    """The log has reached `max_buffer_bytes`. Retry when the sink has caught up, or raise the cap."""


class DiskFull(UnistreamError):
    """The filesystem has no space. Retry when there is some; nothing that was accepted is touched."""


class DiskError(UnistreamError):
    """The disk failed. The buffer refuses further puts; close it and open it again."""


class PermissionDenied(DiskError, PermissionError):
    """The operating system does not let this user read or write a file, or its directory.

    A `DiskError` (`kind` is `"io"`) and a `PermissionError`, with its `errno`.
    """


class InUse(UnistreamError):
    """Another producer, of this or another process, has the buffer. Retry when it is closed."""


class Closed(UnistreamError):
    """The producer, buffer or file is closed. Open a new one."""


class Forked(UnistreamError):
    """This process is a fork of the one that opened the producer. Open one after the fork."""


class UnsupportedFormat(UnistreamError):
    """The log was written by an unknown version. Nothing was touched; use that version."""


class RetriesExhausted(UnistreamError):
    """A batch failed `max_attempts` times under `on_exhausted="raise"`.

    `__cause__` is the exception that the sink raised last. The backlog is on disk; `resume()` or reopening starts a
    fresh round.
    """


class DeadLettersFull(UnistreamError):
    """The dead letters have reached `max_dead_letter_bytes`. Replay or delete some, then `resume()`."""


class Timeout(UnistreamError, TimeoutError):
    """The time given was over first. What was not sent stays on disk; call again to wait longer."""


class NotFound(UnistreamError, LookupError):
    """There is no such dead letter, batch or file."""


class Reentrant(UnistreamError, RuntimeError):
    """A call from inside a sink of the same producer. Make it from elsewhere."""


class WrongMode(UnistreamError, RuntimeError):
    """The call does not fit the mode that the producer was opened in."""


class Unsupported(UnistreamError):
    """This build lacks what was asked for."""


class SendFailed(UnistreamError):
    """What a sink said of an attempt that failed."""


class ResourceExhausted(UnistreamError):
    """A limit of the process or the system was reached: open files, memory, mappings, threads.

    Retry when some are free, or raise the limit that the message names; nothing that was accepted is touched.
    """


class NotTrusted(UnistreamError, PermissionError):
    """The buffer's directory or a file in it belongs to another user, or others can write to it.

    Nothing was touched. Correct the owner or the mode, use a directory of your own, or set the option `trust`.
    """


class InternalError(UnistreamError):
    """A defect of unistream. The producer refuses further work."""


BY_KIND: dict[str, type[UnistreamError]] = {
    "invalid_argument": InvalidArgument,
    "record_too_large": RecordTooLarge,
    "buffer_full": BufferFull,
    "disk_full": DiskFull,
    "io": DiskError,
    "in_use": InUse,
    "closed": Closed,
    "forked": Forked,
    "unsupported_format": UnsupportedFormat,
    "retries_exhausted": RetriesExhausted,
    "dead_letters_full": DeadLettersFull,
    "timeout": Timeout,
    "not_found": NotFound,
    "reentrant": Reentrant,
    "wrong_mode": WrongMode,
    "unsupported": Unsupported,
    "internal": InternalError,
    "send_failed": SendFailed,
    "resource_exhausted": ResourceExhausted,
    "not_trusted": NotTrusted,
}


def from_native(
    kind: str, message: str, retryable: bool, record_accepted: bool, os_error: int | None = None
) -> UnistreamError:
    """Return the exception that stands for an error of the engine, and of the system if one is behind it."""
    error: UnistreamError
    if kind == "io" and os_error in (errno.EACCES, errno.EPERM):
        error = denied = PermissionDenied(message)
        denied.errno = os_error
    else:
        error = BY_KIND.get(kind, UnistreamError)(message)
    error.kind = kind
    error.retryable = retryable
    error.record_accepted = record_accepted
    return error


class SinkUnavailable(UnistreamError):
    """Raise it in a sink: the target cannot be reached now, through no fault of the batch.

    The batch is tried again on the producer's schedule and no attempt is used up, so that an outage never turns the
    backlog into dead letters.

    Args:
        message: why.
        retry_after: seconds or a `timedelta` before which the target asks not to be tried; `None` leaves it to the
            schedule.
    """

    kind = "sink_unavailable"
    retryable = True

    def __init__(
        self, message: str = "the sink is unavailable", *, retry_after: float | timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BatchRejected(UnistreamError):
    """Raise it in a sink: the target will never take any record of this batch. Into the dead letters with it."""

    kind = "batch_rejected"
