"""A checkpoint in local files."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from func_args.api import REQ

from . import durable
from .abstraction import AbcRecord
from .checkpoint import T_POINTER, BaseCheckPoint, Tracker
from .published import at


@at("unistream.checkpoints.simple")
@dataclasses.dataclass
class SimpleCheckpoint(BaseCheckPoint):
    """A checkpoint in a file of JSON, with the records of its batch in a second one. Use `load`."""

    checkpoint_file: str = dataclasses.field(default=REQ)
    records_file: str = dataclasses.field(default=REQ)

    @property
    def path_checkpoint(self) -> Path:
        """The file."""
        return Path(self.checkpoint_file)

    @property
    def path_records(self) -> Path:
        """The file of the batch's records."""
        return Path(self.records_file)

    def dump(self) -> None:
        """Store the checkpoint."""
        durable.write(self.path_checkpoint, json.dumps(self.to_dict(), indent=4))

    @classmethod
    def load(
        cls,
        checkpoint_file: str,
        records_file: str,
        lock_expire: int = 900,
        max_attempts: int = 3,
        initial_pointer: T_POINTER = 0,
        start_pointer: T_POINTER = 0,
        next_pointer: T_POINTER | None = None,
        batch_sequence: int = 0,
        batch: dict[str, Tracker] | None = None,
    ) -> Self:
        """Return the checkpoint that a file holds; if there is none, make it, with what is given here.

        Raises:
            ValueError: the file is no checkpoint. Nothing is changed: repair it, or move it away to begin anew.
        """
        path = Path(checkpoint_file)
        if not path.exists():
            checkpoint = cls(
                checkpoint_file=str(checkpoint_file),
                records_file=str(records_file),
                lock_expire=lock_expire,
                max_attempts=max_attempts,
                initial_pointer=initial_pointer,
                start_pointer=start_pointer,
                next_pointer=next_pointer,
                batch_sequence=batch_sequence,
                batch={} if batch is None else batch,
            )
            checkpoint.dump()
            return checkpoint
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            # The files may have been moved since.
            files = {"checkpoint_file": str(checkpoint_file), "records_file": str(records_file)}
            found = cls.from_dict({**stored, **files})
        except Exception as error:
            raise ValueError(f"{path} is no checkpoint, or a torn one; repair it or move it away: {error!r}") from error
        assert found is not None
        return found

    def dump_records(self, records: Iterable[AbcRecord]) -> None:
        """Store the records of a batch."""
        text = "\n".join(record.serialize() for record in records)
        # A power loss may take the last steps of a batch, which is then repeated, but mixes it with no other.
        durable.settle(self.path_checkpoint)
        durable.write(self.path_records, text)
        durable.settle(self.path_records)

    def load_records(self, record_class: type[Any], **kwargs: Any) -> list[Any]:
        """Return the records of the batch that was stored last. A last line that 0.1.2 has torn is left out."""
        try:
            lines = self.path_records.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        records = [record_class.deserialize(line.decode()) for line in lines[:-1]]
        with contextlib.suppress(Exception):
            records.append(record_class.deserialize(lines[-1].decode()))
        return records

    def dump_as_in_progress(self, record: AbcRecord) -> None:
        """Store the checkpoint."""
        self.dump()

    def dump_as_failed_or_exhausted(self, record: AbcRecord) -> None:
        """Store the checkpoint."""
        self.dump()

    def dump_as_succeeded(self, record: AbcRecord) -> None:
        """Store the checkpoint."""
        self.dump()
