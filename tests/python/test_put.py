"""What put takes, and what it makes of it."""

import array
import collections
import dataclasses
import enum
import json
import math
import types
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import unistream
from hypothesis import given
from hypothesis import strategies as st
from unistream import Buffer, Producer
from unistream._native import encode


def as_json(value: object) -> bytes:
    """Say what the fast writer is to write."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
keys = st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner),
    max_leaves=20,
)


@given(st.dictionaries(keys, values) | st.lists(values))
def test_json_is_what_json_dumps_writes(value: dict[str, object] | list[object]) -> None:
    assert encode(value) == (as_json(value), None)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_written_like_repr(number: float) -> None:
    assert encode([number])[0] == f"[{number!r}]".encode()


@given(st.integers(-(10**12), 10**12), st.integers(0, 12), st.integers(-3, 3))
def test_floats_of_few_digits_are_written_like_repr(digits: int, places: int, steps: int) -> None:
    """And their neighbours, which have many digits."""
    number = digits / 10**places
    for _ in range(abs(steps)):
        number = math.nextafter(number, math.copysign(math.inf, steps))
    assert encode([number, -number])[0] == f"[{number!r},{-number!r}]".encode()


@pytest.mark.parametrize("exponent", range(-8, 20))
def test_floats_change_to_exponents_where_repr_does(exponent: int) -> None:
    for digits in (1.0, -1.0, 1.5, 9.999999999999999, 1.2345678):
        number = digits * 10.0**exponent
        assert encode([number])[0] == f"[{number!r}]".encode()


@given(st.binary())
def test_bytes_like_objects_are_stored_as_they_are(data: bytes) -> None:
    forms: list[Any] = [data, bytearray(data), memoryview(data), memoryview(data + data)[: len(data)]]
    for form in (*forms, array.array("B", data)):
        assert encode(form) == (data, None)


def test_buffers_of_other_shapes_are_stored_in_their_order() -> None:
    numbers: Any = array.array("i", [1, 2])
    assert encode(numbers)[0] == numbers.tobytes()
    assert encode(memoryview(b"abcdef")[::2])[0] == b"ace"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_stored_as_utf8(text: str) -> None:
    assert encode(text) == (text.encode(), None)


class Color(enum.StrEnum):
    """Text that is an enum."""

    RED = "red"


class Level(enum.IntEnum):
    """A number that is an enum."""

    HIGH = 3


@dataclasses.dataclass
class Inner:
    """A dataclass inside another."""

    x: int


@dataclasses.dataclass
class Outer:
    """A dataclass with all kinds of fields."""

    id: str
    inner: Inner
    color: Color = Color.RED


class Own:
    """An object that knows its own form."""

    def __init__(self, form: Any, own_id: object = None) -> None:
        """Take the form and the id."""
        self.form, self.id = form, own_id

    def serialize(self) -> Any:
        """Return the form."""
        return self.form


def test_subclasses_dataclasses_and_other_mappings() -> None:
    assert encode({"c": Color.RED, "l": Level.HIGH, Color.RED: Level.HIGH})[0] == b'{"c":"red","l":3,"red":3}'
    assert encode(Outer("7", Inner(1)))[0] == b'{"id":"7","inner":{"x":1},"color":"red"}'
    assert encode({"nested": Inner(2)})[0] == b'{"nested":{"x":2}}'
    assert encode(types.MappingProxyType({"a": 1}))[0] == b'{"a":1}'
    assert encode(collections.OrderedDict(b=1, a=2))[0] == b'{"b":1,"a":2}'
    assert encode([10**5000 // 10**4990, 2**63, -(2**70)])[0] == as_json([10**10, 2**63, -(2**70)])


def test_an_object_that_serializes_itself_brings_its_id() -> None:
    assert encode(Own("text", "42")) == (b"text", "42")
    assert encode(Own(b"bytes", 42)) == (b"bytes", None)
    with pytest.raises(TypeError, match=r"serialize\(\) returned dict"):
        encode(Own({}))


def cycle() -> list[object]:
    """Return a list that contains itself."""
    inner: list[object] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"x": math.nan}, ValueError),
        ([math.inf], ValueError),
        (["\ud800"], ValueError),
        ("\ud800", ValueError),
        (cycle(), ValueError),
        ({"x": {1j, 2}}, TypeError),
        ({"x": b"bytes"}, TypeError),
        ({(1, 2): 3}, TypeError),
        (5, TypeError),
        (None, TypeError),
        (object(), TypeError),
    ],
)
def test_what_has_no_form_is_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode(value)  # type: ignore[arg-type]


def test_a_dict_that_changes_while_it_is_written_is_an_error() -> None:
    class Growing(collections.UserDict[str, int]):
        def items(self):  # type: ignore[no-untyped-def]
            outer["new"] = 1
            return super().items()

    outer: dict[str, object] = {}
    outer["a"] = Growing(x=1)
    outer["b"] = 2
    with pytest.raises(RuntimeError, match="changed size"):
        encode(outer)


def test_ids_keys_and_times_arrive(path: Path) -> None:
    moment = datetime(2024, 1, 7, 7, 31, 41, 482432, timezone(timedelta(hours=2)))
    with Buffer(path) as buffer:
        assert buffer.put(b"a", id="order-17", key=b"\xff\x00", created_at=moment) == 1
        assert buffer.put(b"b", key="user-7", created_at=-1.5) == 2
        assert buffer.put(Own("c", "own")) == 3
        assert buffer.put(Own("d", "own"), id="given") == 4
        before = datetime.now(UTC)
        assert buffer.put(b"") == 5
        assert buffer.seal()
        batch = buffer.emit()
        assert batch is not None
        a, b, c, d, e = batch
        assert (a.seq, a.id, a.key, a.created_at, a.data) == (1, "order-17", b"\xff\x00", moment, b"a")
        assert (b.key, b.created_at) == (b"user-7", datetime(1969, 12, 31, 23, 59, 58, 500000, UTC))
        assert (c.id, d.id) == ("own", "given")
        assert e.id.endswith("-5")
        assert len(e) == 0
        assert abs(e.created_at - before) < timedelta(minutes=1)


def test_headers_topic_and_expiry_arrive(path: Path) -> None:
    moment = datetime(2024, 1, 7, 7, 31, 41, 482432, UTC)
    headers: dict[str, bytes | str] = {"traceparent": b"00-4bf9", "text": "größe"}
    with Buffer(path) as buffer:
        buffer.put(b"a", headers=headers, topic="a/topic", expires_at=moment)
        buffer.put({"b": 1}, headers=[("n", b"1"), ("n", bytearray(b"2"))], created_at=moment, max_age=90)
        before = datetime.now(UTC)
        buffer.put(b"c", max_age=timedelta(hours=1), headers={})
        buffer.put(b"d", max_age=float("inf"))
        assert buffer.seal()
        batch = buffer.emit()
        assert batch is not None
        a, b, c, d = batch
        assert a.headers == (("traceparent", b"00-4bf9"), ("text", "größe".encode()))
        assert (a.topic, a.expires_at) == ("a/topic", moment)
        assert (b.headers, b.topic) == ((("n", b"1"), ("n", b"2")), None)
        assert b.expires_at == moment + timedelta(seconds=90)
        assert c.headers == ()
        assert c.expires_at is not None
        assert abs(c.expires_at - before - timedelta(hours=1)) < timedelta(minutes=1)
        assert (d.headers, d.topic, d.expires_at) == ((), None, None)


def test_a_header_that_is_no_text_says_why(path: Path) -> None:
    with Producer(path, mode="manual") as producer:
        with pytest.raises(UnicodeEncodeError):
            producer.put(b"", headers={"\ud800": b""})
        with pytest.raises(TypeError, match="name of a header is int, not str"):
            producer.put(b"", headers={5: b""})  # type: ignore[arg-type]


def test_headers_survive_the_dead_letters(path: Path) -> None:
    def refuse(batch: unistream.Batch) -> None:
        raise ValueError("no")

    seen: list[tuple[object, ...]] = []

    def take(batch: unistream.Batch) -> None:
        seen.extend((record.data, record.headers, record.topic, record.expires_at) for record in batch)

    with unistream.Producer(path, refuse, max_records=1, max_attempts=1) as producer:
        producer.put("x", headers={"h": "v"}, topic="t", expires_at=5, verbose=True)
        producer.flush(timeout=60)
        (letter,) = producer.dead_letters.list()
        assert [(record.headers, record.topic) for record in letter.batch()] == [((("h", b"v"),), "t")]
    with unistream.Producer(path, take, max_records=1) as producer:
        producer.dead_letters.replay(letter.id)
        producer.flush(timeout=60)
    assert seen == [(b"x", (("h", b"v"),), "t", datetime.fromtimestamp(5, UTC))]


def test_what_a_record_cannot_carry(path: Path) -> None:
    with Buffer(path) as buffer:
        with pytest.raises(TypeError, match="mapping, or pairs"):
            buffer.put(b"x", headers=["n"])  # type: ignore[list-item]
        with pytest.raises(TypeError, match="name of a header is int, not str"):
            buffer.put(b"x", headers={1: b"v"})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="value of header n: NoneType is not bytes or str"):
            buffer.put(b"x", headers={"n": None})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="give one of them"):
            buffer.put(b"x", expires_at=1, max_age=1)
        with pytest.raises(ValueError, match="expires_at has no time zone"):
            buffer.put(b"x", expires_at=datetime(2024, 1, 1))
        with pytest.raises(unistream.RecordTooLarge, match="101 headers"):
            buffer.put(b"x", headers=[("n", b"")] * 101)
        with pytest.raises(unistream.InvalidArgument, match="control character"):
            buffer.put(b"x", topic="a\nb")
        with pytest.raises(unistream.InvalidArgument, match="expires_at is"):
            buffer.put(b"x", max_age=1e12)
        assert len(buffer) == 0


def test_what_cannot_be_put(path: Path) -> None:
    with Buffer(path, max_record_bytes=10) as buffer:
        with pytest.raises(unistream.RecordTooLarge, match="11 bytes is larger than max_record_bytes") as caught:
            buffer.put(b"x" * 11)
        assert (caught.value.kind, caught.value.retryable, caught.value.record_accepted) == (
            "record_too_large",
            False,
            False,
        )
        with pytest.raises(unistream.RecordTooLarge):
            buffer.put(b"x", id="i" * 65536)
        with pytest.raises(TypeError):
            buffer.put(b"x", key=5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="time zone"):
            buffer.put(b"x", created_at=datetime(2024, 1, 1))
        with pytest.raises(OverflowError):
            buffer.put(b"x", created_at=1e300)
        with pytest.raises(TypeError):
            buffer.put(b"x", "positional")  # type: ignore[call-arg]
        assert len(buffer) == 0


def test_put_many_says_how_many(path: Path) -> None:
    with Buffer(path) as buffer:
        assert len(buffer) == 0
    with unistream.Producer(path, mode="manual") as producer:
        assert producer.put_many(f"record {number}" for number in range(1000)) == 1000
        assert producer.stats().put_records == 1000
        with pytest.raises(TypeError, match="cannot put an object of type NoneType"):
            producer.put_many([b"1001", None, b"1002"])  # type: ignore[list-item]
        assert producer.stats().put_records == 1001
        with pytest.raises(TypeError):
            producer.put_many(5)  # type: ignore[arg-type]


def test_records_are_read_without_a_copy(path: Path) -> None:
    with Buffer(path, max_records=2) as buffer:
        buffer.put(b"first")
        buffer.put({"n": 2})
        batch = buffer.emit()
        assert batch is not None
        first, second = batch
        view = first.view
        assert view.readonly
        assert view.tobytes() == bytes(first) == memoryview(first).tobytes() == b"first"
        assert b"|".join(batch) == b'first|{"n":2}'
        assert (first.text, second.json()) == ("first", {"n": 2})
        with pytest.raises(TypeError):
            view[0] = 1
        # The bytes stay as they are for as long as somebody looks at them, whatever becomes of the log.
        buffer.commit(batch)
        del batch, first, second
        for number in range(500):
            buffer.put(b"other bytes" * 10_000, id=str(number))
            if (later := buffer.emit()) is not None:
                buffer.commit(later)
        assert view.tobytes() == b"first"
    assert view.tobytes() == b"first"


def test_a_batch_is_a_sequence(path: Path) -> None:
    with Buffer(path, max_records=4) as buffer:
        for number in range(4):
            buffer.put(str(number))
        batch = buffer.emit()
        assert batch is not None
        assert len(batch) == 4
        assert [record.seq for record in batch] == [1, 2, 3, 4]
        assert [record.data for record in reversed(batch)] == [b"3", b"2", b"1", b"0"]
        assert [record.data for record in batch[1:3]] == [b"1", b"2"]
        assert [record.data for record in batch[::-2]] == [b"3", b"1"]
        assert batch[-1].data == b"3"
        for index in (4, -5):
            with pytest.raises(IndexError):
                batch[index]
        with pytest.raises(TypeError):
            batch["0"]  # type: ignore[call-overload]
        assert (batch.attempt, batch.first_seq, batch.last_seq) == (1, 1, 4)
        assert repr(batch) == f"<Batch {batch.id} of 4 records, attempt 1>"
        with pytest.raises(UnicodeDecodeError):
            buffer.put(b"\xff")
            buffer.seal()
            buffer.commit(batch)
            later = buffer.emit()
            assert later is not None
            later[0].text  # noqa: B018
