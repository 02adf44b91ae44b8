"""How far a consumer is: which records of its batch are processed, and where the next batch begins."""

import dataclasses
import traceback
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from func_args.api import REQ, BaseModel

from .abstraction import AbcCheckPoint, AbcRecord
from .models import BetterIntEnum, DataClass
from .published import at
from .utils import EPOCH_STR, get_utc_now

T_POINTER = str | int
"""Where a batch begins in its stream: a number of a line, an iterator of a shard."""


@at("unistream.checkpoint")
class StatusEnum(BetterIntEnum):
    """What became of a record: not begun, begun, failed and to be tried again, failed for good, processed, left out."""

    pending = 0
    in_progress = 10
    failed = 20
    exhausted = 30
    succeeded = 40
    ignored = 50


@at("unistream.checkpoint")
@dataclasses.dataclass
class Tracker(DataClass, BaseModel):
    """What is known about a record of the batch. Times are texts in ISO 8601.

    While it is being processed it has a `lock`, which nobody else respects after `lock_expire_time`.
    """

    record_id: str = dataclasses.field(default=REQ)
    status: int = dataclasses.field(default=REQ)
    attempts: int = dataclasses.field(default=REQ)
    create_time: str = dataclasses.field(default=REQ)
    update_time: str = dataclasses.field(default=REQ)
    lock: str | None = None
    lock_time: str = EPOCH_STR
    lock_expire_time: str = EPOCH_STR
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    errors: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def create_datetime(self) -> datetime:
        """When the batch was begun."""
        return datetime.fromisoformat(self.create_time)

    @property
    def update_datetime(self) -> datetime:
        """When the status last changed."""
        return datetime.fromisoformat(self.update_time)

    @property
    def lock_datetime(self) -> datetime:
        """When it was locked."""
        return datetime.fromisoformat(self.lock_time)

    @property
    def lock_expire_datetime(self) -> datetime:
        """When the lock expires."""
        return datetime.fromisoformat(self.lock_expire_time)


T_TRACKER = TypeVar("T_TRACKER", bound=Tracker)


def is_finished(tracker: Tracker) -> bool:
    """Whether nothing is left to be done about a record."""
    return tracker.status in (StatusEnum.exhausted, StatusEnum.succeeded, StatusEnum.ignored)


@at("unistream.checkpoint")
@dataclasses.dataclass
class BaseCheckPoint(DataClass, AbcCheckPoint, BaseModel):
    """How far a consumer is. A subclass stores it: `dump`, `load`, `dump_records`, `load_records`, `dump_as_...`.

    Args:
        lock_expire: seconds after which the lock of a record expires.
        max_attempts: how often a record is tried.
        initial_pointer: where the stream begins.
        start_pointer: where the batch begins.
        next_pointer: where the next batch begins; `None` if that is not known.
        batch_sequence: the number of the batch, from 1.
        batch: the records of the batch, by id.
    """

    lock_expire: int = dataclasses.field(default=REQ)
    max_attempts: int = dataclasses.field(default=REQ)
    initial_pointer: T_POINTER = dataclasses.field(default=REQ)
    start_pointer: T_POINTER = dataclasses.field(default=REQ)
    next_pointer: T_POINTER | None = dataclasses.field(default=REQ)
    batch_sequence: int = dataclasses.field(default=REQ)
    batch: dict[str, Tracker] = Tracker.map_of_nested_field(default=REQ)  # noqa: RUF009 it makes a field

    def get_tracker(self, record: AbcRecord) -> Tracker:
        """Return what is known about a record of the batch."""
        return self.batch[record.id]

    def is_record_locked(self, record: AbcRecord, lock: str | None = None, now: datetime | None = None) -> bool:
        """Whether somebody else processes the record: it has a lock that is not `lock` and has not expired."""
        tracker = self.get_tracker(record)
        if tracker.lock is None or tracker.lock == lock:
            return False
        expires = tracker.lock_expire_datetime
        # 0.1.2 took the seconds for days. That is read as it was meant, also if `lock_expire` has changed.
        held = expires - tracker.lock_datetime
        is_in_days = held >= timedelta(days=30) and held % timedelta(days=1) == timedelta(0)
        if held == timedelta(days=self.lock_expire) or (is_in_days and held != timedelta(seconds=self.lock_expire)):
            expires = tracker.lock_datetime + timedelta(seconds=held.days)
        return (now or get_utc_now()) < expires

    def mark_as_in_progress(self, record: AbcRecord, now: datetime | None = None, expire: int | None = None) -> None:
        """Count an attempt at the record and lock it, for `expire` or else `lock_expire` seconds."""
        now = now or get_utc_now()
        tracker = self.get_tracker(record)
        tracker.status = StatusEnum.in_progress.value
        tracker.attempts += 1
        tracker.lock = uuid.uuid4().hex
        tracker.update_time = tracker.lock_time = now.isoformat()
        expires = now + timedelta(seconds=self.lock_expire if expire is None else expire)
        tracker.lock_expire_time = expires.isoformat()

    def mark_as_failed_or_exhausted(
        self, record: AbcRecord, e: Exception, now: datetime | None = None, max_attempts: int | None = None
    ) -> None:
        """Keep why an attempt at the record failed, and unlock it. After `max_attempts` it is not tried again."""
        most = self.max_attempts if max_attempts is None else max_attempts
        is_last = self.get_tracker(record).attempts >= most
        error = {"error": repr(e), "traceback": traceback.format_exc(limit=10)}
        self._end_attempt(record, StatusEnum.exhausted if is_last else StatusEnum.failed, now, error)

    def mark_as_succeeded(self, record: AbcRecord, now: datetime | None = None, **kwargs: Any) -> None:
        """Note that the record is processed, and unlock it."""
        self._end_attempt(record, StatusEnum.succeeded, now, {})

    def _end_attempt(self, record: AbcRecord, status: StatusEnum, now: datetime | None, errors: dict[str, Any]) -> None:
        tracker = self.get_tracker(record)
        tracker.status = status.value
        tracker.update_time = (now or get_utc_now()).isoformat()
        tracker.lock = None
        tracker.errors = errors

    def is_ready_for_next_batch(self) -> bool:
        """Whether no record of the batch is left to be processed."""
        return all(map(is_finished, self.batch.values()))

    def update_for_new_batch(self, records: Iterable[AbcRecord], next_pointer: T_POINTER | None = None) -> None:
        """Begin a batch, in memory."""
        if next_pointer is not None:
            self.next_pointer = next_pointer
        self.batch_sequence += 1
        self.batch.clear()
        now = get_utc_now().isoformat()
        for record in records:
            self.batch[record.id] = Tracker(
                record_id=record.id,
                status=StatusEnum.pending.value,
                attempts=0,
                create_time=now,
                update_time=now,
            )

    def get_not_succeeded_records(
        self, record_class: type[Any], records: Iterable[Any] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Return those of `records`, or else of the batch that is stored, that are not processed."""
        if records is None:
            records = self.load_records(record_class=record_class, **kwargs)
        return [record for record in records if self.get_tracker(record).status != StatusEnum.succeeded]
