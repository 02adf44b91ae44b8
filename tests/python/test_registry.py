"""Sinks by URL and name, and those that programs and packages add."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unistream
from conftest import Collector
from unistream import Batch, InvalidArgument, Producer

PAGES = Path(__file__).parents[2] / "docs" / "sinks"


def test_every_kind_has_a_page_and_its_options() -> None:
    kinds = {kind.scheme: kind for kind in unistream.sinks()}
    assert {"file", "null", "http", "kinesis", "cloudwatch-logs", "kafka", "nats", "postgres", "redis"} <= kinds.keys()
    for page in PAGES.glob("*.md"):
        if page.stem != "README":
            kind = kinds[page.stem]
            text = page.read_text()
            assert kind.missing == ""
            assert all(said in text for said in (kind.summary, kind.once, f"`{kind.url}`"))
            assert all(f"| `{row['key']}` |" in text for row in unistream.options(kind.scheme))


def test_the_sinks_of_brokers_are_in_the_wheel(tmp_path: Path) -> None:
    """Nobody is asked while they are made; tests/brokers has their servers."""
    for url in ["nats://h1,h2:1/s", "redis://h/2/s", "postgres://h1,h2:1/db/t"]:
        unistream.sink(url, password="hush", username="me", max_call_records=7)
        with pytest.raises(InvalidArgument, match="password_file"):
            unistream.sink(url.replace("//", "//me:hush@"))
    example = Path(__file__).parents[2] / "python" / "examples" / "broker.py"
    done = subprocess.run(
        [sys.executable, example, tmp_path / "outbox", f"file:{tmp_path}/events.log"],
        input="a\nkey\tb\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 delivered, 0 dead letters, 0 left\n"
    assert (tmp_path / "events.log").read_text() == "a\nb\n"


def test_a_sink_by_its_url_and_by_its_name(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    ways: list[tuple[str, dict[str, Any]]] = [
        (f"file:{log}?sync=true", {}),
        (f"file:{log}", {"sync": True, "mode": 0o600}),
        ("file", {"path": log, "framing": "lines"}),
    ]
    for number, (url, options) in enumerate(ways):
        with Producer(tmp_path / f"outbox-{number}", unistream.sink(url, **options)) as producer:
            producer.put(str(number))
    assert log.read_text() == "0\n1\n2\n"
    for null in (unistream.sink("null:"), unistream.sink("null")):
        assert "null" in repr(null)
    assert "clicks" in repr(
        unistream.sink("kinesis://clicks?region=eu-west-1", timeout=5, access_key_id="a", secret_access_key="b")
    )


@pytest.mark.parametrize(
    ("error", "url", "options", "match"),
    [
        (InvalidArgument, "carrier-pigeon://roof", {}, "there are file, null"),
        (InvalidArgument, "file:a?sync=true&sync=true", {}, "given twice"),
        (InvalidArgument, "file:a?sync=true", {"sync": True}, "given twice"),
        (InvalidArgument, "kinesis://s?region=eu-west-1&secret_access_key=hush", {}, "does not belong in a URL"),
        (InvalidArgument, "file", {"path": "a", "mode": 0o1777}, "mode"),
        (TypeError, "file:a", {"colour": "red"}, "colour"),
        (TypeError, "file:a", {"sync": 3}, "sync"),
    ],
)
def test_what_is_refused(error: type[Exception], url: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        unistream.sink(url, **options)
    assert "hush" not in str(caught.value)


SCHEMES = (f"test{number}" for number in range(1000))
"""A registered kind stays for as long as the process, so that each test takes a name of its own."""


@pytest.fixture
def scheme() -> str:
    """Return a scheme that nobody has."""
    return next(SCHEMES)


def test_a_registered_factory_gets_the_place_and_the_options(path: Path, scheme: str, collector: Collector) -> None:
    asked: list[tuple[str, dict[str, object]]] = []

    def factory(place: str, **options: object) -> Collector:
        """Make a sink for a test."""
        asked.append((place, options))
        return collector

    unistream.register_sink(scheme, factory)
    with Producer(path, unistream.sink(f"{scheme}://roof%20/a:1?loft=no%20rth", keeper=factory)) as producer:
        producer.put("coo")
    assert collector.data == [b"coo"]
    unistream.sink(scheme, loft="south")
    assert asked == [("//roof%20/a:1", {"loft": "no rth", "keeper": factory}), ("", {"loft": "south"})]
    [kind] = [kind for kind in unistream.sinks() if kind.scheme == scheme]
    assert kind.summary == "Make a sink for a test."
    with pytest.raises(InvalidArgument, match="given twice"):
        unistream.sink(f"{scheme}:x?loft=north", loft="south")
    for taken in (scheme, "file"):
        with pytest.raises(InvalidArgument, match="already"):
            unistream.register_sink(taken, factory)
    for bad in ("", "No", "1a", "a b"):
        with pytest.raises(InvalidArgument, match="is not the scheme"):
            unistream.register_sink(bad, factory)
    with pytest.raises(TypeError, match="callable"):
        unistream.register_sink("never", 5)  # type: ignore[arg-type]


def test_the_engine_opens_a_registered_kind(path: Path, scheme: str) -> None:
    """As the command line does: no producer of Python's runs the sink, which is called on threads all the same."""
    seen: list[tuple[bytes, int]] = []
    both = threading.Barrier(2, timeout=30)

    def factory(place: str, wait: str = "no") -> Callable[[Batch], None]:
        def send(batch: Batch) -> None:
            if wait == "yes":
                both.wait()
            seen.extend((record.data, threading.get_ident()) for record in batch)

        return send

    unistream.register_sink(scheme, factory)
    sink = unistream._native.open_sink(f"{scheme}:x", {})
    with Producer(path, sink, max_records=1) as producer:
        producer.put_many([b"1", b"2", b"3"])
        producer.flush(30)
    assert [data for data, _ in seen] == [b"1", b"2", b"3"]
    assert len({thread for _, thread in seen}) == 1
    # Two at once, where each waits for the other.
    sink = unistream._native.open_sink(f"{scheme}:x?wait=yes", {})
    with Producer(path, sink, max_records=1, max_in_flight=2) as producer:
        producer.put_many([b"4", b"5"])
        producer.flush(30)
    assert sorted(data for data, _ in seen[3:]) == [b"4", b"5"]
    del sink
    for thread in threading.enumerate():
        if thread.name.startswith("unistream-sink"):
            thread.join(30)
            assert not thread.is_alive()


def test_what_a_factory_raises_is_told(scheme: str) -> None:
    def factory(place: str) -> Callable[[Batch], None]:
        raise LookupError(f"no {place}")

    unistream.register_sink(scheme, factory)
    with pytest.raises(LookupError, match="no roof"):
        unistream.sink(f"{scheme}:roof")
    with pytest.raises(InvalidArgument, match=f"sink {scheme}: LookupError: no roof") as caught:
        unistream._native.open_sink(f"{scheme}:roof", {})
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Lay down a package that offers sinks, as an installer would."""
    site = tmp_path / "site"
    info = site / "pigeons-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[unistream.sinks]\npigeon = pigeons:make\nlame = pigeons:gone\n")
    (site / "pigeons.py").write_text(
        """
print("loaded")
def make(place, loft="north"):
    def send(batch):
        for record in batch:
            print(place, loft, record.text, flush=True)
    return send
"""
    )
    return site


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the package on its path."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        cwd=site.parent,
        input="coo\n",
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_entry_point_is_loaded_when_it_is_asked_for(package: Path) -> None:
    program = """
import unistream
print(*sorted(kind.scheme for kind in unistream.sinks()))
unistream.sink("null:")
print("not yet")
with unistream.Producer("outbox", unistream.sink("pigeon:roof?loft=south")) as producer:
    producer.put("coo")
print([(kind.url, kind.summary) for kind in unistream.sinks() if kind.scheme == "pigeon"])
try:
    unistream.sink("lame:")
except AttributeError as error:
    print(error)
"""
    ended = run(package, "-c", program)
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == [
        "cloudwatch-logs file http kafka kinesis lame nats null pigeon postgres redis",
        "not yet",
        "loaded",
        "roof south coo",
        "[('pigeon:PLACE', 'pigeons:make, of pigeons.')]",
        "module 'pigeons' has no attribute 'gone'",
    ]


def test_the_command_line_finds_an_entry_point(package: Path) -> None:
    ended = run(package, "-m", "unistream", "put", "--quiet", "--to", "pigeon:roof", "outbox")
    assert (ended.returncode, ended.stdout) == (0, "loaded\nroof north coo\n"), ended.stderr
    ended = run(package, "-m", "unistream", "put", "--to", "lame:x", "outbox")
    assert ended.returncode == 2
    assert "has no attribute 'gone'" in ended.stderr
