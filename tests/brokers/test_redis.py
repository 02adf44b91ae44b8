"""Redis Streams: what the command line puts, read back by the official client of Python."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import prove
from conftest import COMMAND, FAILURES, in_c, run, run_example
from redis_server import Redis, RedisBroker, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with serving(tmp_path_factory.mktemp("redis")) as servers:
        yield servers


def put(outbox: Path, file: Path, url: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    fields = ("--format", "ndjson", "--id", "id", "--key", "key")
    return run("put", outbox, file, "--to", url, *fields, *arguments)


def numbers_in(servers: Redis, stream: str) -> list[int]:
    return [json.loads(entry["data"])["n"] for entry in servers.entries(stream)]


@pytest.mark.parametrize("options", ["", "?once=false", "?replicas=0&max_call_records=7"])
def test_a_stream_has_what_was_put_in_order(server: Redis, tmp_path: Path, numbers: Path, options: str) -> None:
    stream = f"plain{len(options)}"
    done = put(tmp_path / "outbox", numbers, server.at(f"0/{stream}") + options, "--header", "source=shop")
    assert done.returncode == 0, done.stderr
    entries = server.entries(stream)
    assert [json.loads(entry["data"])["n"] for entry in entries] == list(range(5000))
    seventh = entries[7]
    assert (seventh["id"], seventh["key"], seventh["header.source"]) == ("r-7", "k-0", "shop")
    assert seventh["created_at"].startswith("20")
    notes = list(server.client().scan_iter(f"{{{stream}}}:unistream:*"))
    assert len(notes) == (0 if "once=false" in options else 1)
    if notes:
        assert server.client().hgetall(notes[0]) == {"-": f"{5000:020}"}
        assert 0 < server.client().ttl(notes[0]) <= 2592000


def test_lanes_side_by_side_keep_the_order_of_each_key(server: Redis, tmp_path: Path, numbers: Path) -> None:
    done = put(tmp_path / "outbox", numbers, server.at("0/lanes"), "-o", "order=key", "-o", "max_in_flight=4")
    assert done.returncode == 0, done.stderr
    found = numbers_in(server, "lanes")
    assert sorted(found) == list(range(5000))
    for key in range(7):
        assert [n for n in found if n % 7 == key] == list(range(key, 5000, 7))
    refused = put(tmp_path / "other", numbers, server.at("0/lanes"), "-o", "order=none", "-o", "max_in_flight=4")
    assert "order" in refused.stderr
    assert refused.returncode != 0


def test_fields_and_trimming(server: Redis, tmp_path: Path, numbers: Path) -> None:
    options = "?payload_field=p&id_field=&key_field=&time_field=&header_prefix=&max_len=100&exact_trim=true"
    done = put(tmp_path / "outbox", numbers, server.at("0/fields") + options, "--header", "a=b")
    assert done.returncode == 0, done.stderr
    entries = server.entries("fields")
    assert len(entries) == 100
    assert set(entries[0]) == {"p", "a"}


def test_streams_are_topics_or_made_of_what_records_have(server: Redis, tmp_path: Path) -> None:
    file = tmp_path / "some.ndjson"
    lines = [f'{{"n": {n}, "key": "k{n % 3}"}}\n' for n in range(300)]
    file.write_text("".join(lines) + '{"n": 300, "key": "k", "topic": "made:t"}\n')
    done = run("put", tmp_path / "o", file, "--to", server.at() + "?stream=made:%7Bkey%7D", "--format", "ndjson",
               "--key", "key", "--topic-field", "topic")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for key in range(3):
        assert numbers_in(server, f"made:k{key}") == list(range(key, 300, 3))
    assert numbers_in(server, "made:t") == [300]


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


def test_a_server_that_is_full_or_lacks_replicas_is_waited_for(server: Redis, tmp_path: Path) -> None:
    client = server.client()
    client.config_set("maxmemory", "1mb")
    try:
        outbox = waits(tmp_path, server.at("0/full"), "OOM")
    finally:
        client.config_set("maxmemory", "0")
    delivers(outbox, server.at("0/full"))
    assert numbers_in(server, "full") == [0]
    client.config_set("min-replicas-to-write", "1")
    try:
        outbox = waits(tmp_path, server.at("0/full"), "NOREPLICAS")
    finally:
        client.config_set("min-replicas-to-write", "0")
    delivers(outbox, server.at("0/full"))
    outbox = waits(tmp_path, server.at("0/wait") + "?replicas=1&timeout=0.2", "0 of 1 replicas")
    delivers(outbox, server.at("0/wait"))
    assert numbers_in(server, "wait") == [0]


def test_a_key_that_is_no_stream_counts_attempts(server: Redis, tmp_path: Path) -> None:
    server.client().set("text", "x")
    file = tmp_path / "one.ndjson"
    file.write_text('{"n": 0, "id": "r-0", "key": "k"}\n')
    for options in ["", "?once=false"]:
        outbox = tmp_path / f"outbox{options[1:]}"
        put(outbox, file, server.at("0/text") + options, "-o", "max_attempts=2", "-o", "schedule_multiplier=0.01")
        listed = run("dead-letters", "list", outbox, "--json").stdout
        shown = run("dead-letters", "show", outbox, json.loads(listed)["id"]).stdout
        assert "WRONGTYPE" in shown
    server.client().delete("text")


def test_the_example_in_c(server: Redis, tmp_path: Path, numbers: Path) -> None:
    run_example(in_c(tmp_path), tmp_path / "outbox", server.at("0/example"), numbers)
    assert numbers_in(server, "example") == list(range(5000))


def test_nothing_is_lost_or_there_twice_whatever_fails(tmp_path: Path) -> None:
    with serving(tmp_path / "servers") as servers:
        print(prove(RedisBroker(servers), COMMAND, tmp_path, FAILURES, seed=1))
