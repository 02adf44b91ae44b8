"""The forms in JSON of what JSON itself has no form for, beside what orjson makes of it."""

import dataclasses
import enum
import json
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import numpy as np
import orjson
import pandas as pd
import pydantic
import pytest
import unistream
from hypothesis import given
from hypothesis import strategies as st
from unistream._native import encode


def by_orjson(value: object) -> bytes:
    """Say what orjson writes."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


class Color(enum.Enum):
    """Text that is no `str`."""

    RED = "red"


class Day(enum.Enum):
    """Members whose values have forms of their own."""

    FIRST = date(2024, 1, 7)
    PAIR = (1, "x")


offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(
    lambda offset: timezone(timedelta(seconds=int(offset.total_seconds())))
)
zones = st.sampled_from([zoneinfo.ZoneInfo("Europe/Berlin"), zoneinfo.ZoneInfo("Asia/Kolkata")])
moments = st.datetimes() | st.datetimes(timezones=st.just(UTC) | offsets | zones)
# orjson writes a time of day without the zeros after its point: 00:00:00.010000 as 00:00:00.10000.
times = st.times().filter(lambda value: value.microsecond == 0 or value.microsecond >= 100_000)
texts = moments | st.dates() | times | st.uuids()


@given(texts)
def test_dates_times_and_uuids_are_written_as_orjson_writes_them(value: date | time | UUID) -> None:
    assert encode({"a": [value]})[0] == by_orjson({"a": [value]})
    assert encode(value)[0] == by_orjson(value)
    assert encode({value: 1})[0] == by_orjson({value: 1})


@given(st.times())
def test_times_of_day_are_written_as_python_writes_them(value: time) -> None:
    assert encode([value])[0] == f'["{value.isoformat()}"]'.encode()


@given(
    st.recursive(
        texts | st.sampled_from([*Color, *Day]), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_they_are_found_wherever_they_are(value: object) -> None:
    assert encode([value])[0] == by_orjson([value])


DTYPES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 100), max_size=12), st.integers(-3, 3))
def test_numpy_is_written_as_orjson_writes_it(dtype: str, numbers: list[int], exponent: int) -> None:
    array = (np.array(numbers, "float64") * 1.1**exponent).astype(dtype)
    for value in (array, array.reshape(-1, 1), *array[:3]):
        # orjson lays exponents out in another way.
        assert json.loads(encode([value])[0]) == json.loads(by_orjson([value]))


def test_the_digits_of_a_float32_are_its_own() -> None:
    assert encode(np.array([0.1, 1e20, 1e-7], "float32"))[0] == b"[0.1,1e+20,1e-07]"
    assert encode({"x": np.float32(0.1), "y": np.float16(0.1)})[0] == b'{"x":0.1,"y":0.099975586}'


def test_what_is_masked_is_null() -> None:
    for dtype in ("float16", "float32", "float64"):
        mask = np.array([[False, True], [False, True]])
        numbers: Any = np.ma.array([[0.5, np.nan], [0.25, 2]], mask=mask, dtype=dtype)
        assert encode(numbers)[0] == b"[[0.5,null],[0.25,null]]"
        assert encode([np.ma.array(0.5, mask=True, dtype=dtype), np.ma.masked])[0] == b"[null,null]"
    assert encode(np.ma.array([0.1, 1e20], "float32"))[0] == b"[0.1,1e+20]"


def test_numpy_beyond_orjson() -> None:
    """What orjson refuses and Python has a value for."""
    assert encode(np.arange(10)[::3])[0] == b"[0,3,6,9]"
    assert encode(np.array([[1.5, 2], [3, 4]], "float32").T)[0] == b"[[1.5,3.0],[2.0,4.0]]"
    assert encode([np.array(5), np.array("x"), np.bool_(True), np.longdouble(1.5)])[0] == b'[5,"x",true,1.5]'
    assert encode(np.array([{1}, None, "x"], object))[0] == b'[[1],null,"x"]'
    moments = np.array(["2021-01-01T00:00:00.172999999", "NaT"], "datetime64[ns]")
    assert encode(moments)[0] == b'["2021-01-01T00:00:00.172999",null]'
    assert encode({np.int64(5): np.datetime64("2021")})[0] == b'{"5":"2021-01-01T00:00:00"}'


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)), st.sampled_from(["s", "ms", "us", "ns"]))
def test_moments_of_numpy(moment: datetime, unit: str) -> None:
    value = np.datetime64(moment).astype(f"datetime64[{unit}]")
    assert encode([value])[0] == by_orjson([value])


def test_pandas() -> None:
    stamp = pd.Timestamp("2024-01-07 07:31:41.000000001", tz="UTC")
    assert encode({"a": stamp, "b": pd.NaT})[0] == b'{"a":"2024-01-07T07:31:41.000000001+00:00","b":null}'
    assert encode(pd.Timestamp("2024-01-07"))[0] == b'"2024-01-07T00:00:00"'


@dataclasses.dataclass
class Inner:
    """A dataclass."""

    day: date
    _private: int = 2


class Pair(NamedTuple):
    """A tuple whose places have names."""

    x: int
    y: str


@attrs.define
class Point:
    """A class of attrs, with slots."""

    x: int
    inner: Inner
    tags: set[str] = attrs.field(factory=set)


class Model(pydantic.BaseModel):
    """A model of pydantic."""

    id: UUID
    when: datetime
    price: Decimal


@pydantic.dataclasses.dataclass
class Checked:
    """A dataclass of pydantic."""

    when: datetime


def test_classes_with_fields() -> None:
    point = Point(1, Inner(date(2024, 1, 7)), {"t"})
    written = b'{"x":1,"inner":{"day":"2024-01-07","_private":2},"tags":["t"]}'
    assert encode(point)[0] == written
    assert encode([point])[0] == b"[" + written + b"]"
    model = Model(id=UUID(int=7), when=datetime(2024, 1, 7, tzinfo=UTC), price=Decimal("1.10"))
    written = b'{"id":"00000000-0000-0000-0000-000000000007","when":"2024-01-07T00:00:00Z","price":"1.10"}'
    assert encode(model)[0] == written
    assert encode({"model": model})[0] == b'{"model":' + written + b"}"
    assert encode(Checked(when=datetime(2024, 1, 7)))[0] == b'{"when":"2024-01-07T00:00:00"}'
    assert encode(Pair(1, "z"))[0] == b'[1,"z"]'


def test_decimals_paths_and_sets() -> None:
    assert encode({"d": Decimal("1.10"), "p": Path("a/b"), "q": PurePosixPath("/c")})[0] == (
        b'{"d":"1.10","p":"a/b","q":"/c"}'
    )
    assert encode({Decimal("1.10"): 1, Path("a"): 2, Color.RED: 3})[0] == b'{"1.10":1,"a":2,"red":3}'
    assert encode({"s": {7}, "f": frozenset("a")})[0] == b'{"s":[7],"f":["a"]}'
    assert sorted(json.loads(encode({1, 2, 3})[0])) == [1, 2, 3]
    assert encode(Day.PAIR)[0] == b'[1,"x"]'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"user": {"tags": [1, 2, 3, 1j]}}, r"^\$\.user\.tags\[3\]: a value of type complex has no form"),
        ({"x": [np.array([1, np.nan], "float32")]}, r"^\$\.x\[0\]\[1\]: NaN has no form"),
        ({"x": np.array([[1, np.inf]])}, r"^\$\.x\[0\]\[1\]: inf has no form"),
        ([np.timedelta64(5, "ns")], r"^\$\[0\]: a value of type timedelta64"),
        ({"t": time(1, tzinfo=UTC)}, r"^\$\.t: a time of day with a time zone"),
        ([np.array(["2024", "9999999"], "datetime64[D]")], r"^\$\[0\]\[1\]: a date before the year 1 or after 9999"),
        ({"a b": {"c": {(1, 2): 3}}}, r'^\$\["a b"\]\.c: a key of type tuple'),
        ({"s": {b"x"}}, r"^\$\.s\[0\]: a value of type bytes"),
        (Point(1, Inner({})), r"^\$\.inner\.day\.x: a value of type object"),  # type: ignore[arg-type]
    ],
)
def test_errors_name_the_path_to_the_value(value: Any, message: str) -> None:
    if isinstance(value, Point):
        value.inner.day = {"x": object()}  # type: ignore[assignment]
    with pytest.raises((TypeError, ValueError), match=message):
        encode(value)


def test_default_is_asked_for_what_has_no_form(path: Path) -> None:
    asked: list[object] = []

    def default(value: object) -> object:
        asked.append(value)
        if isinstance(value, complex):
            return [value.real, Decimal("0.5")]
        if isinstance(value, bytes):
            return value
        raise LookupError("what is that?")

    with unistream.Producer(path, mode="manual", default=default) as producer:
        producer.put({"z": [1j], "when": date(2024, 1, 7)})
        producer.put(1j)  # type: ignore[arg-type]
        assert asked == [1j, 1j]
        with pytest.raises(LookupError, match="what is that") as caught:
            producer.put({"a": [object()]})
        assert caught.value.__notes__ == ["in $.a[0]"]
        with pytest.raises(ValueError, match="a default that returns what it is given"):
            producer.put([b"same"])
        with pytest.raises(TypeError, match="cannot put an object of type int"):
            producer.put(5)  # type: ignore[arg-type]
        assert producer.stats().put_records == 2
    with unistream.Buffer(path, default=default) as buffer:
        buffer.put([1j])
        buffer.seal()
        batch = buffer.emit()
        assert batch is not None
        assert [record.text for record in batch][:2] == ['{"z":[[0.0,"0.5"]],"when":"2024-01-07"}', '[0.0,"0.5"]']


def test_a_serializer_gets_everything_but_text_bytes_and_who_knows_its_own_form(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Own:
        id = "own"

        def serialize(self) -> str:
            return "own form"

    given: list[object] = []

    def serializer(value: object) -> bytes:
        given.append(value)
        return b"<" + type(value).__name__.encode() + b">"

    values: list[Any] = ["text", b"bytes", bytearray(b"array"), memoryview(b"view"), Own()]
    others: list[Any] = [{"a": 1}, [1], 5, None, Inner(date(2024, 1, 7)), np.arange(3)]
    with unistream.Producer(path, mode="manual", serializer=serializer, max_records=100, linger=0) as producer:
        producer.put_many(values + others)
        producer.put({"a": 1}, verbose=True)
        batch = producer.next_batch()
        assert batch is not None
        assert [record.text for record in batch[:5]] == ["text", "bytes", "array", "view", "own form"]
    assert len(given) == len(others) + 1
    assert all(was is other for was, other in zip(given, others, strict=False))
    assert "record = <dict>" in capsys.readouterr().out


def test_hooks_that_cannot_be_are_refused(path: Path) -> None:
    with pytest.raises(TypeError, match="serializer must be callable, and str is not"):
        unistream.Producer(path, mode="manual", serializer="json")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="default must be callable"):
        unistream.Buffer(path, default=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give one of them"):
        unistream.Producer(path, mode="manual", serializer=orjson.dumps, default=str)
    with unistream.Producer(path, mode="manual", serializer=lambda value: 5) as producer:  # type: ignore[arg-type,return-value]
        with pytest.raises(TypeError, match="the serializer returned int, not bytes or str"):
            producer.put([])
        assert producer.stats().put_records == 0
