"""Records."""

import base64
import dataclasses
import json
import uuid
from typing import Any, Self, TypeVar

from func_args.api import BaseFrozenModel, BaseModel

from .abstraction import AbcRecord
from .published import at
from .utils import get_utc_now


@at("unistream.record")
class BaseRecord(AbcRecord):
    """The base of records: an `id`, `create_at`, `serialize` and `deserialize`."""


def id_factory() -> str:
    """Return an id of its own."""
    return str(uuid.uuid4())


def create_at_factory() -> str:
    """Return the time as records have it."""
    return get_utc_now().isoformat()


class _JsonRecord(BaseRecord):
    """A dataclass as JSON."""

    def serialize(self) -> str:
        """Return the fields as JSON."""
        fields: Any = self
        return json.dumps(dataclasses.asdict(fields))

    @classmethod
    def deserialize(cls, data: str) -> Self:
        """Return the record of a JSON object."""
        return cls(**json.loads(data))


@at("unistream.records.dataclass")
@dataclasses.dataclass(frozen=True)
class DataClassRecord(_JsonRecord, BaseFrozenModel):
    """A record made of a dataclass, stored as JSON. Subclass it to add fields."""

    id: str = dataclasses.field(default_factory=id_factory)
    create_at: str = dataclasses.field(default_factory=create_at_factory)


T_DATA_CLASS_RECORD = TypeVar("T_DATA_CLASS_RECORD", bound=DataClassRecord)


@at("unistream.api")
@dataclasses.dataclass
class KinesisRecord(_JsonRecord, BaseModel):
    """As `DataClassRecord`, but not frozen, for streams of Kinesis. Its data goes there as it is.

    0.1.1 encoded it in Base64 though the API does so too; `from_get_record_data` reads both.
    """

    id: str = dataclasses.field(default_factory=id_factory)
    create_at: str = dataclasses.field(default_factory=create_at_factory)

    def to_put_record_data(self) -> bytes:
        """Return the data for `put_records`."""
        return self.serialize().encode()

    @classmethod
    def from_get_record_data(cls, data: bytes) -> Self:
        """Return the record of data from `get_records`."""
        return cls.deserialize((data if data.startswith(b"{") else base64.b64decode(data)).decode())


T_KINESIS_RECORD = TypeVar("T_KINESIS_RECORD", bound=KinesisRecord)
