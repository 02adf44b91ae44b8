"""Producers."""

import dataclasses
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from func_args.api import REQ, BaseModel

from .._console import console as logger
from .._console import printable
from .._verbose import tell
from .abstraction import AbcBuffer, AbcProducer, AbcRecord
from .published import at
from .utils import get_utc_now


def _default_exp_backoff() -> list[float]:
    return [1, 2, 4, 8, 15, 30, 60]


@at("unistream.producer")
@dataclasses.dataclass
class RetryConfig(BaseModel):
    """When to try again: the n-th wait of `exp_backoff`, in seconds, after the n-th failed attempt; the last repeats.

    The other fields keep count.
    """

    exp_backoff: Sequence[float] = dataclasses.field(default_factory=_default_exp_backoff)
    attempts: int = 0
    first_attempt_time: datetime | None = None
    last_attempt_time: datetime | None = None
    last_error: Exception | None = None

    def shall_we_retry(self, now: datetime) -> bool:
        """Whether an attempt may be made now."""
        if self.last_attempt_time is None:
            return True
        wait = self.exp_backoff[min(self.attempts, len(self.exp_backoff)) - 1]
        return (now - self.last_attempt_time).total_seconds() >= wait

    def mark_start_retry(self, now: datetime) -> None:
        """Count an attempt that begins now."""
        self.attempts += 1
        self.first_attempt_time = self.first_attempt_time or now
        self.last_attempt_time = now

    def mark_retry_failed(self, error: Exception) -> None:
        """Remember why the attempt failed."""
        self.last_error = error

    def reset_tracker(self) -> None:
        """Begin to count anew."""
        self.attempts = 0
        self.first_attempt_time = self.last_attempt_time = self.last_error = None

    def show(self) -> None:
        """Print the state."""
        logger.info("current retry config:")
        with logger.indent():
            for field in dataclasses.fields(self):
                logger.info(f"{field.name} = {getattr(self, field.name)}")


@at("unistream.producer")
@dataclasses.dataclass
class BaseProducer(AbcProducer, BaseModel):
    """Puts records into a buffer and, when a batch is full and its time has come, sends it. Subclasses say how."""

    buffer: AbcBuffer = dataclasses.field(default=REQ)
    retry_config: RetryConfig = dataclasses.field(default=REQ)

    # The parameter is named so since 0.1.0; that of `AbcProducer` is not.
    def put(self, record: AbcRecord, skip_error: bool = True, verbose: bool = False) -> None:
        """Put a record, then send a batch if one is full and may be tried.

        Args:
            record: the record.
            skip_error: whether an error of sending is kept in `retry_config.last_error` only; else it is raised. The
                record is in the buffer either way.
            verbose: print what happens.
        """
        with logger.disabled(not verbose):
            self._put(record, skip_error)

    @logger.emoji_block(msg="put record", emoji="📤")
    def _put(self, record: AbcRecord, skip_error: bool = True) -> None:
        if logger.enabled:
            logger.info(f"record = {printable(record.serialize())}")
        self.buffer.put(record)
        now = get_utc_now()
        if not self.retry_config.shall_we_retry(now=now):
            tell("on_hold")
            return
        if not self.buffer.should_i_emit():
            tell("should_not_emit")
            return
        self.retry_config.mark_start_retry(now=now)
        try:
            records = self.buffer.emit()
            tell("send_started", [record.id for record in records])
            self.send(records)
            tell("send_succeeded")
            self.buffer.commit()
        except Exception as error:
            tell("send_failed", error)
            self.retry_config.mark_retry_failed(error=error)
            # The wait is measured from the end of the attempt.
            self.retry_config.last_attempt_time = get_utc_now()
            if not skip_error:
                raise
        else:
            self.retry_config.reset_tracker()


@at("unistream.producers.simple")
@dataclasses.dataclass
class SimpleProducer(BaseProducer):
    """Appends records to a local file, one a line. Use `new`."""

    path_sink: Path = dataclasses.field(default=REQ)

    @classmethod
    def new(cls, buffer: AbcBuffer, retry_config: RetryConfig, path_sink: Path) -> Self:
        """Make a producer.

        Args:
            buffer: where records wait.
            retry_config: when to try again.
            path_sink: the file to append to.
        """
        return cls(buffer=buffer, retry_config=retry_config, path_sink=path_sink)

    def send(self, records: list[Any]) -> None:
        """Append the records to the file."""
        path = Path(self.path_sink)
        # A line that an earlier run has torn takes no record with it: its own come again.
        begin = "\n" if _is_torn(path) else ""
        with path.open("a", encoding="utf-8") as file:
            file.write(begin + "".join(f"{record.serialize()}\n" for record in records))


def _is_torn(path: Path) -> bool:
    """Whether a file's last line has no end. A pipe or a device has no last line."""
    if not (path.is_file() and path.stat().st_size and os.access(path, os.R_OK)):
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
