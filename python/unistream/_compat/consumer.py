"""Consumers."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Self

from func_args.api import REQ, BaseModel

from .._console import console as logger
from .abstraction import AbcConsumer
from .checkpoint import T_POINTER, BaseCheckPoint, StatusEnum, Tracker, is_finished
from .exc import StreamIsClosedError
from .published import at


@at("unistream.consumer")
class RetryError(Exception):
    """`process_failed_record` failed as often as it is tried; the last error is the `__cause__`."""


_PUT_ASIDE = "put_aside"
"""The key in the `errors` of a record that failed for good: `process_failed_record` has had it."""


def _is_done(tracker: Tracker) -> bool:
    """Whether a record is processed, left out or put aside."""
    return is_finished(tracker) and (tracker.status != StatusEnum.exhausted or _PUT_ASIDE in tracker.errors)


@at("unistream.consumer")
@dataclasses.dataclass
class BaseConsumer(AbcConsumer, BaseModel):
    """Reads batches of a stream and processes each record, in order. Subclasses say how.

    Args:
        record_class: the class of the records.
        limit: how many records a batch has at most.
        checkpoint: how far the consumer is.
        exp_backoff_multiplier: the first wait after a failure, in seconds.
        exp_backoff_base: how many times as long each next one is.
        exp_backoff_min: the shortest wait, in seconds.
        exp_backoff_max: the longest wait, in seconds.
        skip_error: whether a record that failed as often as it is tried is passed over; else its error is raised.
        delay: seconds between batches, in `run`.
    """

    record_class: type[Any] = dataclasses.field(default=REQ)
    limit: int = dataclasses.field(default=REQ)
    checkpoint: BaseCheckPoint = dataclasses.field(default=REQ)
    exp_backoff_multiplier: int = dataclasses.field(default=REQ)
    exp_backoff_base: int = dataclasses.field(default=REQ)
    exp_backoff_min: int = dataclasses.field(default=REQ)
    exp_backoff_max: int = dataclasses.field(default=REQ)
    skip_error: bool = dataclasses.field(default=REQ)
    delay: int | float = dataclasses.field(default=REQ)

    def get_records(self, limit: int | None = None) -> tuple[list[Any], T_POINTER | None]:
        """Return the records from `checkpoint.start_pointer`, and where the next batch begins: `None` if nowhere."""
        raise NotImplementedError

    def process_record(self, record: Any) -> Any:
        """Process a record; raise if that failed."""
        raise NotImplementedError

    def process_failed_record(self, record: Any) -> Any:
        """Put a record aside that could not be processed. By default nothing is done with it."""

    def commit(self) -> None:
        """Go on to the next batch.

        Raises:
            StreamIsClosedError: there is none.
        """
        if self.checkpoint.next_pointer is None:
            self.checkpoint.dump()
            raise StreamIsClosedError
        self.checkpoint.start_pointer = self.checkpoint.next_pointer
        self.checkpoint.next_pointer = None
        self.checkpoint.dump()

    def _process_record_with_checkpoint(self, record: Any) -> Any:
        """Process a record once, and store how that went."""
        self._has_failed = False
        try:
            self.checkpoint.mark_as_in_progress(record)
            self.checkpoint.dump_as_in_progress(record)
        except BaseException:
            self._take_attempt_back(record)
            raise
        try:
            result = self.process_record(record)
        except Exception as error:
            self._has_failed = True
            self.checkpoint.mark_as_failed_or_exhausted(record, error)
            self._store(self.checkpoint.dump_as_failed_or_exhausted, record)
            raise
        except BaseException:
            # The program ends, by Ctrl-C perhaps: the attempt counts nothing, and nobody waits until its lock expires.
            self._take_attempt_back(record)
            raise
        self.checkpoint.mark_as_succeeded(record)
        self._store(self.checkpoint.dump_as_succeeded, record)
        return result

    @staticmethod
    def _store(dump: Callable[[Any], None], record: Any) -> None:
        """Store what is so now. Where that is broken off it is done again, so that no lock is left behind."""
        try:
            dump(record)
        except BaseException:
            with contextlib.suppress(Exception):
                dump(record)
            raise

    def _take_attempt_back(self, record: Any) -> None:
        tracker = self.checkpoint.get_tracker(record)
        tracker.status, tracker.lock = StatusEnum.pending.value, None
        tracker.attempts -= 1
        with contextlib.suppress(Exception):
            self.checkpoint.dump_as_failed_or_exhausted(record)

    def _process_record(self, record: Any) -> tuple[bool | None, Any]:
        """Process a record, as often as it takes. Attempts of earlier runs count.

        Returns:
            Whether it was processed, `None` if there was nothing to do, and what `process_record`, or else
            `process_failed_record`, returned.
        """
        tracker = self.checkpoint.get_tracker(record)
        if _is_done(tracker):
            return None, None
        # Who had begun it is dead if the lock has expired, else somebody to wait for.
        if tracker.status == StatusEnum.in_progress and self.checkpoint.is_record_locked(record):
            return None, None
        while True:
            try:
                return True, self._process_record_with_checkpoint(record)
            except Exception:
                if not self._has_failed:
                    # It is no failure of the record: the checkpoint could not be stored.
                    raise
                tracker = self.checkpoint.get_tracker(record)
                if tracker.status == StatusEnum.exhausted or tracker.attempts >= self.checkpoint.max_attempts:
                    result = self._put_aside(record)
                    if self.skip_error:
                        return False, result
                    raise
            self._back_off(tracker.attempts)

    def _put_aside(self, record: Any) -> Any:
        for failures in itertools.count(1):
            try:
                result = self.process_failed_record(record)
                break
            except Exception as error:
                if failures >= self.checkpoint.max_attempts:
                    raise RetryError(f"the failed record {record.id} could not be put aside") from error
            self._back_off(failures)
        # Until this is stored, the record is not passed over.
        self.checkpoint.get_tracker(record).errors[_PUT_ASIDE] = True
        self.checkpoint.dump_as_failed_or_exhausted(record)
        return result

    def _back_off(self, failures: int) -> None:
        wait = self.exp_backoff_multiplier * self.exp_backoff_base ** (failures - 1)
        time.sleep(max(0, self.exp_backoff_min, min(wait, self.exp_backoff_max)))

    @logger.emoji_block(msg="process batch in sequence", emoji="⏳")
    def _process_batch_in_sequence(self) -> None:
        if self._is_only_to_be_committed():
            self.commit()
        records = self._left_of_batch()
        if records is None:
            records, next_pointer = self.get_records()
            self.checkpoint.update_for_new_batch(records, next_pointer)
            try:
                # The records come first: a checkpoint never stands beside those of another batch.
                self.checkpoint.dump_records(records)
                self.checkpoint.dump()
            except BaseException:
                # What is stored may be half of it: the batch is read again.
                self.checkpoint.batch.clear()
                self.checkpoint.next_pointer = None
                raise
        for record in records:
            self._process_record(record)
        # What is still locked is waited for.
        if self.checkpoint.is_ready_for_next_batch():
            self.commit()

    def _is_only_to_be_committed(self) -> bool:
        """Whether an earlier run has processed its batch and died before it went on."""
        batch = self.checkpoint.batch
        return bool(batch) and all(map(_is_done, batch.values())) and self.checkpoint.next_pointer is not None

    def _left_of_batch(self) -> list[Any] | None:
        """Return the records of the batch that was begun; `None` if it is finished, or is to be read again."""
        if self.checkpoint.is_ready_for_next_batch() and (
            self.checkpoint.next_pointer is None or all(map(_is_done, self.checkpoint.batch.values()))
        ):
            return None
        records = list(self.checkpoint.load_records(record_class=self.record_class))
        stored, batch = {record.id for record in records}, self.checkpoint.batch
        # 0.1.2 stored the checkpoint first: where it died in between, the records are those of the batch before.
        is_whole = stored <= batch.keys() and all(id in stored or _is_done(batch[id]) for id in batch)
        return records if is_whole else None

    def process_batch(self, verbose: bool = False) -> None:
        """Process a batch: what is left of the one that was begun, else the next.

        Args:
            verbose: print what happens.
        """
        with logger.disabled(not verbose):
            self._process_batch_in_sequence()

    def run(self, verbose: bool = False) -> NoReturn:
        """Process batches until something is raised."""
        while True:
            self.process_batch(verbose=verbose)
            # Who holds the lock of a record is not asked for it all the time.
            pause = self.delay or (0 if self.checkpoint.is_ready_for_next_batch() else 1)
            if pause:
                time.sleep(pause)


@at("unistream.consumers.simple")
@dataclasses.dataclass
class SimpleConsumer(BaseConsumer):
    """Reads a local file that has a record a line, such as `SimpleProducer` writes. Use `new`."""

    path_source: Path = dataclasses.field(default=REQ)
    path_dlq: Path = dataclasses.field(default=REQ)

    @classmethod
    def new(
        cls,
        record_class: type[Any],
        path_source: Path,
        path_dlq: Path,
        checkpoint: BaseCheckPoint,
        limit: int = 1000,
        exp_backoff_multiplier: int = 1,
        exp_backoff_base: int = 2,
        exp_backoff_min: int = 1,
        exp_backoff_max: int = 60,
        skip_error: bool = True,
        delay: float = 0,
    ) -> Self:
        """Make a consumer.

        Args:
            record_class: the class of the records.
            path_source: the file to read.
            path_dlq: a file for `process_failed_record` of subclasses.
            checkpoint: how far the consumer is; its pointers are numbers of lines.
            limit: how many records a batch has at most.
            exp_backoff_multiplier: the first wait after a failure, in seconds.
            exp_backoff_base: how many times as long each next one is.
            exp_backoff_min: the shortest wait, in seconds.
            exp_backoff_max: the longest wait, in seconds.
            skip_error: whether a record that failed as often as it is tried is passed over; else its error is raised.
            delay: seconds between batches, in `run`.
        """
        return cls(
            record_class=record_class,
            path_source=path_source,
            path_dlq=path_dlq,
            checkpoint=checkpoint,
            limit=limit,
            exp_backoff_multiplier=exp_backoff_multiplier,
            exp_backoff_base=exp_backoff_base,
            exp_backoff_min=exp_backoff_min,
            exp_backoff_max=exp_backoff_max,
            skip_error=skip_error,
            delay=delay,
        )

    def get_records(self, limit: int | None = None) -> tuple[list[Any], int]:
        """Return the records from line `checkpoint.start_pointer`, and the line behind them.

        Raises:
            ValueError: the file has become shorter than what was read of it.
        """
        start = int(self.checkpoint.start_pointer)
        end = start + (self.limit if limit is None else limit)
        records: list[Any] = []
        lines = 0
        try:
            with self.path_source.open("rb") as file:
                for line in itertools.islice(file, end):
                    lines += 1
                    if lines > start:
                        try:
                            text = line.removesuffix(b"\n").removesuffix(b"\r").decode()
                            records.append(self.record_class.deserialize(text))
                        except Exception as error:
                            if line.endswith(b"\n"):
                                error.add_note(f"line {lines} of {self.path_source} is no record")
                                raise
                            # Its end is still being written.
                            break
        except FileNotFoundError:
            return [], start
        if lines < start:
            raise ValueError(f"{self.path_source} has {lines} lines, but {start} were read of it: is it another file?")
        return records, start + len(records)
