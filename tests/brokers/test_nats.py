"""NATS JetStream: what the command line puts, read back by the official client of Python."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import prove
from conftest import COMMAND, FAILURES, in_c, lose_reply, run, run_example
from nats_server import Nats, NatsBroker, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    with serving(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


def put(outbox: Path, file: Path, url: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    fields = ("--format", "ndjson", "--id", "id", "--key", "key")
    return run("put", outbox, file, "--to", url, *fields, *arguments)


def numbers_in(servers: Nats, stream: str) -> list[int]:
    return [json.loads(message.data or b"")["n"] for message in servers.messages(stream)]


@pytest.mark.parametrize("atomic", ["never", "auto", "require"])
def test_a_stream_has_what_was_put_in_order(server: Nats, tmp_path: Path, numbers: Path, atomic: str) -> None:
    server.make_stream(f"PLAIN-{atomic}", f"plain.{atomic}", allow_atomic=atomic == "require")
    url = server.at(f"plain.{atomic}") + f"?atomic={atomic}"
    done = put(tmp_path / "outbox", numbers, url, "--header", "source=shop")
    assert done.returncode == 0, done.stderr
    messages = server.messages(f"PLAIN-{atomic}")
    assert [json.loads(message.data or b"")["n"] for message in messages] == list(range(5000))
    headers = messages[7].headers or {}
    assert (headers["Nats-Msg-Id"], headers["X-Record-Key"], headers["source"]) == ("r-7", "k-0", "shop")
    assert headers["X-Record-Time"].startswith("20")
    assert ("Nats-Batch-Id" in headers) == (atomic == "require")


def test_what_is_put_again_is_there_once(server: Nats, tmp_path: Path, numbers: Path) -> None:
    server.make_stream("AGAIN", "again", allow_atomic=True)
    for nth, options in enumerate(["", "?atomic=require", "?deduplicate=false"]):
        done = put(tmp_path / f"outbox-{nth}", numbers, server.at("again") + options)
        assert done.returncode == 0, done.stderr
        assert len(numbers_in(server, "AGAIN")) == (10000 if "false" in options else 5000)


def test_an_acknowledgement_that_is_lost_changes_nothing_within_the_window(server: Nats, tmp_path: Path) -> None:
    server.make_stream("LOST", "lost")
    url = server.at("lost") + "?timeout=0.5&connect_timeout=0.5"
    lose_reply(server.servers[0], tmp_path / "outbox", url, lambda: numbers_in(server, "LOST"))
    done = run("drain", tmp_path / "outbox", "--to", url, "--timeout", "60")
    assert done.returncode == 0, done.stderr
    assert "twice" not in done.stderr, done.stderr
    assert numbers_in(server, "LOST") == [0, 1]


def test_a_window_that_is_over_is_told(server: Nats, tmp_path: Path) -> None:
    server.make_stream("SHORT", "short", duplicate_window=500_000_000)
    url = server.at("short") + "?timeout=0.5&connect_timeout=0.5"
    lose_reply(server.servers[0], tmp_path / "outbox", url, lambda: numbers_in(server, "SHORT"))
    time.sleep(1)
    done = run("drain", tmp_path / "outbox", "--to", url, "--timeout", "60")
    assert done.returncode == 0, done.stderr
    assert "may have arrived twice" in done.stderr, done.stderr
    assert "remembers ids for 0.5 s" in done.stderr
    assert numbers_in(server, "SHORT") == [0, 1, 1]


def test_the_example_in_c(server: Nats, tmp_path: Path, numbers: Path) -> None:
    """It stands on what the command line stands on; Python's is run in tests/python."""
    server.make_stream("EXAMPLE", "example")
    run_example(in_c(tmp_path), tmp_path / "outbox", server.at("example"), numbers)
    assert numbers_in(server, "EXAMPLE") == list(range(5000))


@pytest.mark.parametrize(("count", "atomic"), [(1, "never"), (3, "require")])
def test_nothing_is_lost_or_there_twice_whatever_fails(tmp_path: Path, count: int, atomic: str) -> None:
    with serving(tmp_path / "servers", count) as servers:
        print(prove(NatsBroker(servers, atomic), COMMAND, tmp_path, FAILURES, seed=count))


def letters(outbox: Path) -> str:
    """Give all that the dead letters of an outbox say."""
    listed = run("dead-letters", "list", outbox, "--json").stdout.splitlines()
    return "".join(run("dead-letters", "show", outbox, json.loads(line)["id"]).stdout for line in listed)


def waits(tmp_path: Path, url: str, why: str, *arguments: object) -> Path:
    """Put a record that must wait, and be told why; the outbox that has it."""
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    outbox, file = place / "waiting", place / "one.ndjson"
    file.write_text('{"n": 0, "id": "r-0", "key": "k"}\n')
    done = put(outbox, file, url, "--timeout", "1", "-o", "schedule_multiplier=0.05", *arguments)
    assert done.returncode != 0, done.stderr
    assert why in done.stderr, done.stderr
    return outbox


def delivers(outbox: Path, url: str) -> None:
    done = run("drain", outbox, "--to", url, "--timeout", "60")
    assert done.returncode == 0, done.stderr


def test_without_a_stream_records_wait_until_there_is_one(server: Nats, tmp_path: Path) -> None:
    outbox = waits(tmp_path, server.at("late"), "no stream takes this subject")
    server.make_stream("LATE", "late")
    delivers(outbox, server.at("late"))
    assert numbers_in(server, "LATE") == [0]


def test_a_stream_that_is_full_or_another_is_waited_for(server: Nats, tmp_path: Path) -> None:
    server.make_stream("FULL", "full", max_msgs=1, discard="new")
    server.ask(lambda client: client.jetstream().publish("full", b'{"n": 9}'))
    outbox = waits(tmp_path, server.at("full"), "maximum messages exceeded")
    server.ask(lambda client: client.jetstream().purge_stream("FULL"))
    delivers(outbox, server.at("full"))
    assert numbers_in(server, "FULL") == [0]
    waits(tmp_path, server.at("full") + "?stream=OTHER", "expected stream does not match")


@pytest.mark.parametrize("atomic", ["never", "require"])
def test_a_record_that_is_too_large_is_found_alone(server: Nats, tmp_path: Path, atomic: str) -> None:
    name = f"SMALL-{atomic}"
    server.make_stream(name, f"small.{atomic}", max_msg_size=2000, allow_atomic=True)
    file = tmp_path / "mixed.ndjson"
    lines = [json.dumps({"n": n, "id": f"r-{n}", "key": "k", "x": "x" * (3000 if n == 137 else 0)}) for n in range(300)]
    file.write_text("".join(line + "\n" for line in lines))
    done = put(tmp_path / "outbox", file, server.at(f"small.{atomic}") + f"?atomic={atomic}")
    assert sorted(numbers_in(server, name)) == [n for n in range(300) if n != 137], done.stderr
    assert "message size exceeds maximum allowed" in letters(tmp_path / "outbox")


def test_what_the_server_would_close_the_connection_for_is_rejected(server: Nats, tmp_path: Path) -> None:
    server.make_stream("LARGE", "large")
    file = tmp_path / "mixed.ndjson"
    lines = [json.dumps({"n": n, "id": f"{n}", "key": "", "x": "x" * (n * 600_000)}) for n in range(3)]
    file.write_text("".join(line + "\n" for line in lines))
    url = server.at("large") + "?max_record_bytes=4MiB"
    done = put(tmp_path / "outbox", file, url, "-o", "max_record_bytes=4MiB", "-o", "max_bytes=8MiB")
    assert numbers_in(server, "LARGE") == [0, 1], done.stderr
    assert "max_payload" in letters(tmp_path / "outbox")


def test_subjects_are_topics_or_made_of_what_records_have(server: Nats, tmp_path: Path) -> None:
    server.make_stream("MADE", "made.>")
    file = tmp_path / "some.ndjson"
    file.write_text('{"n": 0, "key": "eu", "topic": "made.t"}\n{"n": 1, "key": "us"}\n')
    done = run("put", tmp_path / "o", file, "--to", server.at("made.%7Bkey%7D"), "--format", "ndjson", "--key", "key",
               "--topic-field", "topic")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [message.subject for message in server.messages("MADE")] == ["made.t", "made.us"]
