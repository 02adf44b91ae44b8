"""What a person sees who asks `help()`, prints an object, or types in an editor."""

import dataclasses
import inspect
import pydoc
import re
from pathlib import Path
from typing import Any

import pytest
import unistream

NAMES = sorted(
    name for name, value in vars(unistream).items() if not name.startswith("_") and not inspect.ismodule(value)
)


def help_of(thing: object) -> str:
    """Return what `help` prints."""
    return pydoc.plain(pydoc.render_doc(thing))


def test_help_of_the_package_is_a_map_and_no_more() -> None:
    """It once printed every class with all that it inherits: 3,345 lines."""
    text = help_of(unistream)
    assert len(text.splitlines()) < 120
    words = set(re.findall(r"\w+", text[: text.index("PACKAGE CONTENTS")]))
    assert not set(NAMES) - words


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Sink"])
def test_everything_has_a_documentation(name: str) -> None:
    assert len(inspect.getdoc(getattr(unistream, name)) or "") > 20


def test_every_field_of_the_statistics_is_documented() -> None:
    documented = re.findall(r"^    (\w+): \S", inspect.getdoc(unistream.Stats) or "", re.MULTILINE)
    assert documented == [field.name for field in dataclasses.fields(unistream.Stats)]


def test_every_argument_is_documented() -> None:
    for function in (unistream.Producer, unistream.Buffer, unistream.Schedule, unistream.sink, unistream.register_sink):
        names = set(inspect.signature(function).parameters) - {"self"}
        documented = set(re.findall(r"^    (\w+): \S", inspect.getdoc(function) or "", re.MULTILINE))
        assert names - {"url_or_kind"} <= documented, function


def test_everything_shows_what_it_is(path: Path) -> None:
    """No `<object at 0x7f...>`, which says nothing."""

    def refuse(batch: unistream.Batch) -> unistream.Report:
        return unistream.Report().rejected(0, "no")

    things: list[Any] = [
        unistream.FileSink(path.with_name("file")), unistream.NullSink(), unistream.HttpSink("http://127.0.0.1:9/x"),
        unistream.KinesisSink("stream", region="eu-central-1"),
        unistream.CloudWatchLogsSink("group", "stream", region="eu-central-1"),
        unistream.sink("null:"), unistream.Schedule(), unistream.Report().failed(0, "x"), *unistream.sinks(),
        unistream.SinkUnavailable("x"), unistream.DeadLetters(path),
    ]  # fmt: skip
    with unistream.Buffer(path.with_name("buffer")) as buffer:
        things.append(buffer)
        buffer.put("x")
        buffer.seal()
        batch = buffer.emit()
        assert batch is not None
        things += [batch, batch[0], iter(batch)]
        shown = [repr(thing) for thing in things]
    with unistream.Producer(path, refuse) as producer:
        producer.put("x")
        producer.flush(30)
        [letter] = producer.dead_letters.list()
        shown += map(repr, [producer, producer.stats(), producer.dead_letters, letter, letter.records[0]])
    for text in shown:
        assert " at 0x" not in text
    assert "no" in shown[-1]


@pytest.mark.parametrize("name", NAMES)
def test_every_class_says_its_name_in_its_own_way(name: str) -> None:
    """A class that keeps `object`'s own form shows an address."""
    kind = getattr(unistream, name)
    if inspect.isclass(kind) and not issubclass(kind, dict):
        assert kind.__repr__ is not object.__repr__
