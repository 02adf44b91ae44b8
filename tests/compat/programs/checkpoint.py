"""Checkpoints: what is noted in memory, at times that are given, and what is on disk."""

import dataclasses
import json
import pickle
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from func_args.api import REQ
from unistream.abstraction import AbcCheckPoint
from unistream.api import BaseCheckPoint, DataClassRecord, SimpleCheckpoint, StatusEnum, Tracker
from unistream.checkpoint import BetterIntEnum, DataClass

NOW = datetime(2024, 1, 7, 12, tzinfo=UTC)
records = [DataClassRecord(id=f"id-{number}", create_at=NOW.isoformat()) for number in range(1, 5)]
first, second, third, fourth = records


def show(tracker: Tracker) -> str:
    text = re.sub(r"'[0-9a-f]{32}'", "LOCK", repr(tracker))
    # Days became seconds.
    return re.sub(r"lock_expire_time='20[^']*'", "EXPIRES", re.sub(r"File .*?, line \d+, in \S+", "FILE", text))


print(list(StatusEnum), [repr(StatusEnum.failed), str(StatusEnum.failed), StatusEnum.failed == 20, StatusEnum(40)])
print(StatusEnum.get_by_name("ignored"), StatusEnum.get_by_value(30), StatusEnum.get_names(), StatusEnum.get_values())
for value in (0, 20, "pending", "FAILED", StatusEnum.failed, 21, None, 20.0):
    print(value, StatusEnum.is_valid_value(value), end=" ")
    try:
        StatusEnum.ensure_is_valid_value(value)
        print(StatusEnum.ensure_int(value), type(StatusEnum.ensure_int(value)).__name__)
    except ValueError as error:
        print(error)
print(StatusEnum.is_valid_name("pending"), StatusEnum.is_valid_name("PENDING"), issubclass(StatusEnum, BetterIntEnum))
print(pickle.dumps(StatusEnum.succeeded, 4))


def base(**more: object) -> BaseCheckPoint:
    given = dict(
        lock_expire=60,
        max_attempts=3,
        initial_pointer=0,
        start_pointer=0,
        next_pointer=None,
        batch_sequence=0,
        batch={},
    )
    return BaseCheckPoint(**{**given, **more})


checkpoint = base()
print(checkpoint, checkpoint.is_ready_for_next_batch(), isinstance(checkpoint, (DataClass, AbcCheckPoint)))
checkpoint.update_for_new_batch(records, next_pointer="next")
print(checkpoint.next_pointer, checkpoint.batch_sequence, list(checkpoint.batch), checkpoint.is_ready_for_next_batch())
checkpoint.update_for_new_batch(records)
print(checkpoint.next_pointer, checkpoint.batch_sequence)
for tracker in checkpoint.batch.values():
    tracker.create_time = tracker.update_time = NOW.isoformat()
print(show(checkpoint.get_tracker(first)), checkpoint.is_record_locked(first))
checkpoint.mark_as_in_progress(first, now=NOW)
tracker = checkpoint.get_tracker(first)
print(show(tracker), tracker.create_datetime, tracker.update_datetime, tracker.lock_datetime)
print(tracker.lock_expire_datetime > tracker.lock_datetime)
for lock in (None, "other", tracker.lock):
    print(checkpoint.is_record_locked(first, lock, now=NOW + timedelta(seconds=59)), end=" ")
    print(checkpoint.is_record_locked(first, lock=lock, now=NOW + timedelta(days=61)))
checkpoint.mark_as_succeeded(first, now=NOW + timedelta(seconds=1), more="ignored")
checkpoint.mark_as_in_progress(second, NOW, 5)
checkpoint.mark_as_failed_or_exhausted(second, ValueError("no"), now=NOW)
print(show(checkpoint.batch["id-2"]))
checkpoint.mark_as_in_progress(third, now=NOW)
try:
    raise KeyError("for good")
except KeyError as error:
    checkpoint.mark_as_failed_or_exhausted(third, error, NOW, 1)
print(show(checkpoint.batch["id-3"]), checkpoint.is_ready_for_next_batch())
print([record.id for record in checkpoint.get_not_succeeded_records(DataClassRecord, records=records)])
checkpoint.batch["id-2"].status = StatusEnum.exhausted.value
checkpoint.batch["id-4"].status = StatusEnum.ignored.value
print(checkpoint.is_ready_for_next_batch())
stored = checkpoint.to_dict()
again = BaseCheckPoint.from_dict(json.loads(json.dumps(stored)))
print(
    again == checkpoint,
    type(again.batch["id-1"]).__name__,
    BaseCheckPoint.from_dict(None),
    again is BaseCheckPoint.from_dict(again),
)
print(BaseCheckPoint.from_list([stored, None, again])[0] == checkpoint, BaseCheckPoint.from_list(None))
print(sorted(Tracker.get_fields()), pickle.loads(pickle.dumps(again)) == checkpoint)
for wrong in (
    lambda: base(lock_expire=REQ),
    lambda: BaseCheckPoint.from_dict({"nonsense": 1}),
    lambda: BaseCheckPoint.from_dict(3),
    lambda: BaseCheckPoint.from_list({}),
    lambda: checkpoint.get_tracker(DataClassRecord(id="unknown")),
    lambda: checkpoint.dump(),
    lambda: BaseCheckPoint.load(),
    lambda: checkpoint.dump_records([]),
    lambda: checkpoint.load_records(DataClassRecord),
    lambda: checkpoint.dump_as_in_progress(first),
    lambda: checkpoint.dump_as_failed_or_exhausted(first),
    lambda: checkpoint.dump_as_succeeded(first),
    lambda: AbcCheckPoint().mark_as_succeeded(first, now=NOW),
):
    try:
        print(wrong())
    except Exception as error:
        # Whatever a TypeError says.
        print(type(error).__mro__[0], "" if isinstance(error, TypeError) else error)


@dataclasses.dataclass
class Team(DataClass):
    name: str
    lead: Tracker = Tracker.nested_field(default=None)
    members: list[Tracker] = Tracker.list_of_nested_field(default_factory=list, metadata={"own": 1}, compare=False)


team = Team("t", lead=checkpoint.batch["id-1"], members=[checkpoint.batch["id-2"]])
print(
    Team.from_dict(team.to_dict()) == team, Team.from_dict({"name": "u"}), Team.get_fields()["members"].metadata["own"]
)

for file in (Path("checkpoint.json"), Path("records.json")):
    file.unlink(missing_ok=True)
simple = SimpleCheckpoint.load("checkpoint.json", "records.json", lock_expire=7, max_attempts=2, start_pointer=5)
print(simple, Path("checkpoint.json").read_text(), simple.path_checkpoint, simple.path_records)
print(simple.load_records(DataClassRecord))
simple.update_for_new_batch(records, 9)
for tracker in simple.batch.values():
    tracker.create_time = tracker.update_time = NOW.isoformat()
simple.dump()
simple.dump_records(iter(records))
print(Path("checkpoint.json").read_text(), Path("records.json").read_text())
print(SimpleCheckpoint.load("checkpoint.json", "records.json", lock_expire=1, max_attempts=1) == simple)
print(simple.load_records(record_class=DataClassRecord, more="ignored") == records)
simple.mark_as_in_progress(first)
simple.dump_as_in_progress(first)
print(SimpleCheckpoint.load("checkpoint.json", "records.json") == simple)
simple.mark_as_failed_or_exhausted(first, ValueError("x"))
simple.dump_as_failed_or_exhausted(first)
simple.mark_as_succeeded(second)
simple.dump_as_succeeded(second)
print(SimpleCheckpoint.load("checkpoint.json", "records.json") == simple)
print([record.id for record in simple.get_not_succeeded_records(record_class=DataClassRecord)])
simple.dump_records([])
print(repr(Path("records.json").read_text()), simple.load_records(DataClassRecord))
