"""Records: what they look like, compare like, refuse, and become."""

import dataclasses
import pickle

from func_args.api import OPT, REQ, BaseModel, ParamError
from unistream.abstraction import AbcRecord
from unistream.api import BaseRecord, DataClassRecord
from unistream.records.dataclass import create_at_factory, id_factory

NOON = "2024-01-07T12:00:00+00:00"


@dataclasses.dataclass(frozen=True)
class Order(DataClassRecord):
    item: str = dataclasses.field(default=REQ)
    note: str = dataclasses.field(default=OPT)
    tags: list[str] = dataclasses.field(default_factory=list)


class Line(BaseRecord):
    def __init__(self, text: str) -> None:
        self.id, self.create_at, self.text = text, NOON, text

    def serialize(self) -> str:
        return self.text

    @classmethod
    def deserialize(cls, data: str) -> "Line":
        return cls(data)


record = DataClassRecord(id="1", create_at=NOON)
print(record, record.serialize(), record.to_dict(), record.create_at_datetime)
print(record == DataClassRecord.deserialize(record.serialize()), hash(record) == hash(DataClassRecord("1", NOON)))
print(len(id_factory()), create_at_factory().endswith("+00:00"), DataClassRecord().id != DataClassRecord().id)
print(pickle.dumps(record, 4))
order = Order(id="2", create_at=NOON, item="ä\u2028\n")
print(order.to_dict(), order.to_kwargs(), isinstance(order, AbcRecord), isinstance(order, BaseModel))
print(repr(Order(id="3", create_at=NOON, item="x", note="", tags=["a"]).serialize()))
for wrong in (
    lambda: Order(),
    lambda: BaseRecord(),
    lambda: DataClassRecord.deserialize("no json"),
    lambda: DataClassRecord.deserialize('{"other": 1}'),
    lambda: setattr(record, "id", "2"),
    lambda: DataClassRecord("1", "yesterday").create_at_datetime,
):
    try:
        print(wrong())
    except Exception as error:
        print(type(error).__mro__, str(error).replace("__main__.", ""))
print(isinstance(ParamError("x"), Exception), Line("a b").create_at_datetime, Line.deserialize("c").text)
