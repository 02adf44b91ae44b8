"""PostgreSQL: what the command line puts, read back by psycopg."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import prove
from conftest import COMMAND, FAILURES, in_c, run, run_example, wait_for
from postgres_server import Postgres, PostgresBroker, owned, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with serving() as servers:
        yield servers


def put(outbox: Path, file: Path, url: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    fields = ("--format", "ndjson", "--id", "id", "--key", "key")
    return run("put", outbox, file, "--to", url, *fields, *arguments)


def test_a_table_has_what_was_put_in_order(server: Postgres, tmp_path: Path, numbers: Path) -> None:
    server.make("plain")
    done = put(tmp_path / "outbox", numbers, server.at("postgres/plain"), "--header", "source=shop")
    assert done.returncode == 0, done.stderr
    assert server.numbers("plain") == list(range(5000))
    seventh = server.ask("SELECT id, key, topic, headers, now() - created_at < '5 min' FROM plain WHERE id = 'r-7'")
    assert seventh == [("r-7", "k-0", None, {"source": "shop"}, True)]
    notes = server.ask("SELECT lane, seq, rejected FROM unistream_progress")
    assert notes == [(-1, 5000, None)]


@pytest.mark.parametrize("options", ["once=false", "max_call_records=97", "progress_table=public.%22my notes%22"])
def test_other_ways_to_send(server: Postgres, tmp_path: Path, numbers: Path, options: str) -> None:
    table = f"other_{len(options)}"
    server.make(table)
    done = put(tmp_path / "outbox", numbers, server.at(f"postgres/{table}") + f"?{options}")
    assert done.returncode == 0, done.stderr
    assert server.numbers(table) == list(range(5000))
    if "notes" in options:
        assert server.ask('SELECT count(*) FROM "my notes"') == [(1,)]


def test_lanes_side_by_side_keep_the_order_of_each_key(server: Postgres, tmp_path: Path, numbers: Path) -> None:
    server.make("lanes")
    url = server.at("postgres/lanes")
    done = put(tmp_path / "outbox", numbers, url, "-o", "order=key", "-o", "max_in_flight=4")
    assert done.returncode == 0, done.stderr
    found = server.numbers("lanes")
    assert sorted(found) == list(range(5000))
    for key in range(7):
        assert [n for n in found if n % 7 == key] == list(range(key, 5000, 7))
    refused = put(tmp_path / "other", numbers, url, "-o", "order=none", "-o", "max_in_flight=4")
    assert "order" in refused.stderr
    assert refused.returncode != 0


ODD = [b"", b"\\", b"\\N", b"\\.", b"a\tb", b"a\rb", b'{"a": "\\n\\\\"}', "é€😀".encode(), b"\x00\x01\xff", b"\xc3"]
"""Payloads that a protocol of texts might spoil."""


def lines_of(place: Path, payloads: list[bytes]) -> Path:
    file = place / "lines"
    file.write_bytes(b"".join(payload + b"\n" for payload in payloads))
    return file


def dead_letters(outbox: Path) -> dict[str, str]:
    """Give the payloads of all dead letters with the reasons."""
    found = {}
    for line in run("dead-letters", "list", outbox, "--json").stdout.splitlines():
        shown = run("dead-letters", "show", outbox, json.loads(line)["id"], "--json")
        records = [json.loads(record)["record"] for record in shown.stdout.splitlines()]
        found |= {record.get("data", record.get("data_base64")): record["reason"] for record in records}
    return found


def test_bytes_arrive_as_they_are(server: Postgres, tmp_path: Path) -> None:
    server.make("raw", "n serial, payload bytea, key bytea, id text")
    options = "?topic_column=&headers_column=&created_at_column="
    url = server.at("postgres/raw") + options
    done = run("put", tmp_path / "o", lines_of(tmp_path, ODD), "--to", url, "--format", "lines")
    assert done.returncode == 0, done.stderr
    found = [bytes(payload) for (payload,) in server.ask("SELECT payload FROM raw ORDER BY n")]
    assert found == [payload for payload in ODD if payload] or found == ODD
    assert server.ask("SELECT count(*) FROM raw WHERE key IS NULL AND id LIKE '%-%'")[0][0] == len(found)


@pytest.mark.parametrize("kind", ["text", "varchar", "json", "jsonb"])
def test_what_a_column_does_not_take_is_rejected_record_by_record(server: Postgres, tmp_path: Path, kind: str) -> None:
    table = f"kind_{kind}"
    server.make(table, f"n serial, payload {kind}, id text")
    url = server.at(f"postgres/{table}") + "?key_column=&topic_column=&headers_column=&created_at_column="
    good = [b'{"n": %d}' % n for n in range(100)]
    payloads = [*good[:50], b'{"a": "\\u0000"}', *ODD[1:], *good[50:], b"{no json"]
    done = run("put", tmp_path / "o", lines_of(tmp_path, payloads), "--to", url, "--format", "lines")
    assert done.returncode != 0
    found = [payload for (payload,) in server.ask(f"SELECT payload FROM {table} ORDER BY n")]
    letters = dead_letters(tmp_path / "o")
    assert len(found) + len(letters) == len(payloads)
    reasons = " ".join(letters.values())
    assert "NUL" in reasons or "not UTF-8" in reasons
    if "json" in kind:
        assert "22P02" in reasons
        # Type json keeps the text; jsonb has no such character.
        assert ("22P05" in reasons) == (kind == "jsonb")
        assert [record["n"] for record in found if "n" in record] == list(range(100))
    else:
        assert len(letters) == 2
        assert found == [payload.decode() for payload in payloads if payload not in ODD[-2:]]


def test_constraints_and_triggers_reject_the_record_that_breaks_them(server: Postgres, tmp_path: Path) -> None:
    server.make(
        "strict",
        "n serial, payload jsonb CHECK ((payload->>'n')::int <> 30), key varchar(3), "
        "id text UNIQUE DEFERRABLE INITIALLY DEFERRED, "
        "m int NOT NULL GENERATED ALWAYS AS ((payload->>'m')::int) STORED",
    )
    server.ask(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'looked at %', "
        "repeat('x', 1000); IF NEW.id = 'r-40' THEN RAISE 'forty is refused'; END IF; RETURN NEW; END $$"
    )
    server.ask("CREATE TRIGGER t BEFORE INSERT ON strict FOR EACH ROW EXECUTE FUNCTION refuse()")
    file = tmp_path / "events.ndjson"
    records = [{"n": n, "id": f"r-{n}", "key": "k", "m": n} for n in range(2000)]
    records[50]["id"] = "r-49"
    records[60]["key"] = "toolong"
    del records[70]["m"]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    url = server.at("postgres/strict") + "?topic_column=&headers_column=&created_at_column="
    done = put(tmp_path / "o", file, url)
    assert done.returncode != 0
    assert "5 records of batch" in done.stderr, done.stderr
    assert server.numbers("strict") == [n for n in range(2000) if n not in (30, 40, 50, 60, 70)]
    letters = {json.loads(data)["n"]: reason for data, reason in dead_letters(tmp_path / "o").items()}
    codes = {30: "23514", 40: "P0001", 50: "23505", 60: "22001", 70: "23502"}
    assert letters.keys() == codes.keys()
    for n, code in codes.items():
        assert code in letters[n], letters[n]
        # Rows are what nobody wants in a log.
        assert "Failing row" not in letters[n]


def waits(tmp_path: Path, url: str, why: str) -> Path:
    """Put a record that must wait, and be told why; the outbox that has it."""
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    outbox, file = place / "waiting", place / "one.ndjson"
    file.write_text('{"n": 0, "id": "r-0", "key": "k"}\n')
    command = [COMMAND, "put", str(outbox), str(file), "--to", url, "--format", "ndjson", "--id", "id", "--key", "key"]
    options = ["-o", "schedule_multiplier=0.05", "-o", "max_attempts=1", "-o", "linger=0.01", "--timeout", "60"]
    program = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    assert program.stderr is not None
    said = ""
    try:
        for line in program.stderr:
            said += line
            if why in line:
                break
    finally:
        program.kill()
        program.communicate()
    assert why in said, said
    return outbox


def delivers(outbox: Path, url: str) -> None:
    done = run("drain", outbox, "--to", url, "--timeout", "60")
    assert done.returncode == 0, done.stderr


def test_what_the_configuration_lacks_is_waited_for(server: Postgres, tmp_path: Path) -> None:
    server.ask("CREATE ROLE few LOGIN")
    url = server.at("postgres/later", user="few")
    outbox = waits(tmp_path, url, "there is no table later")
    server.make("later", "payload jsonb, id text, key text")
    waits(tmp_path, url, "no column topic (option topic_column; empty: none)")
    few = url + "?topic_column=&headers_column=&created_at_column=&create_progress_table=false"
    waits(tmp_path, few + "&progress_table=nowhere", 'it is made by: CREATE TABLE IF NOT EXISTS "nowhere"')
    waits(tmp_path, few + "&progress_table=later", "42703")
    server.ask("CREATE TABLE few_notes (LIKE unistream_progress INCLUDING ALL)")
    few += "&progress_table=few_notes"
    waits(tmp_path, few, "42501: permission denied for table few_notes")
    server.ask("GRANT SELECT, INSERT, UPDATE ON few_notes TO few")
    waits(tmp_path, few, "42501: permission denied for table later")
    server.ask("GRANT INSERT ON later TO few")
    server.ask("ALTER ROLE few CONNECTION LIMIT 0")
    waits(tmp_path, few, "53300")
    server.ask("ALTER ROLE few CONNECTION LIMIT -1")
    server.ask("ALTER ROLE few SET default_transaction_read_only = on")
    waits(tmp_path, few, "takes no writes")
    server.ask("ALTER ROLE few RESET ALL")
    waits(tmp_path, few.replace("postgres/later", "nowhere/later"), "3D000")
    delivers(outbox, few)
    assert server.ask("SELECT id FROM later") == [("r-0",)]


@pytest.mark.skipif(os.geteuid() != 0, reason="a small filesystem is mounted, which takes root")
def test_a_full_disk_is_waited_for(server: Postgres, tmp_path: Path, numbers: Path) -> None:
    small = owned(Path(tempfile.mkdtemp(prefix="unistream-postgres-")))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700,uid=nobody", "tmpfs", str(small)], check=True)
    try:
        server.ask(f"CREATE TABLESPACE small LOCATION '{small}'")
        server.make("roomy")
        server.ask("ALTER TABLE roomy SET TABLESPACE small")
        url = server.at("postgres/roomy")
        done = put(tmp_path / "o", numbers, url, "--timeout", "5", "-o", "max_attempts=1")
        assert "53100" in done.stderr, done.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        delivers(tmp_path / "o", url)
        assert server.numbers("roomy") == list(range(5000))
        server.ask("DROP TABLE roomy")
        server.ask("CHECKPOINT")
        server.ask("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
        small.rmdir()


def test_an_answer_that_is_lost_changes_nothing(server: Postgres, tmp_path: Path) -> None:
    """The bug to be: what was refused in a commit that nobody heard of would be taken for delivered."""
    server.make("unheard")
    proxy = server.servers[0].proxy
    url = server.at("postgres/unheard") + "?timeout=1"
    file = lines_of(tmp_path, [b'{"n": 0}', b"no json", b'{"n": 1}', b"a\x00b", b'{"n": 2}'])
    # What the last statement notes of the second record.
    proxy.mute_after(b"22P02")
    try:
        done = run("put", tmp_path / "o", file, "--to", url, "--format", "lines", "--timeout", "1")
        assert done.returncode != 0
        assert dead_letters(tmp_path / "o") == {}
        wait_for(lambda: server.numbers("unheard") == [0, 1, 2])
    finally:
        proxy.mend()
    done = run("drain", tmp_path / "o", "--to", url, "--timeout", "60")
    assert server.numbers("unheard") == [0, 1, 2], done.stderr
    reasons = dead_letters(tmp_path / "o").values()
    assert len(reasons) == 2
    assert any("22P02" in reason for reason in reasons)
    assert any("NUL" in reason for reason in reasons)


def test_what_an_earlier_program_left_is_waited_for(server: Postgres, tmp_path: Path, numbers: Path) -> None:
    """A transaction that is still open holds the note, also one of which this buffer's row is new."""
    server.make("held")
    url = server.at("postgres/held") + "?timeout=1&progress_table=held_notes"
    done = put(tmp_path / "o", numbers, url)
    assert done.returncode == 0, done.stderr
    with server.connect() as other, other.transaction():
        other.execute("SELECT * FROM held_notes FOR UPDATE")
        outbox = tmp_path / "o"
        one = tmp_path / "one"
        one.write_text('{"n": 5000, "id": "r-5000", "key": "k"}\n')
        done = put(outbox, one, url, "--timeout", "5", "-o", "schedule_multiplier=0.05")
        assert "55P03" in done.stderr, done.stderr
    delivers(outbox, url)
    assert server.numbers("held") == list(range(5001))


def test_a_connection_that_the_server_ended_meanwhile_costs_no_attempt(server: Postgres, tmp_path: Path) -> None:
    server.make("idle")
    command = [COMMAND, "put", str(tmp_path / "o"), "--to", server.at("postgres/idle"), "-o", "linger=0.01"]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdin is not None
    ours = "FROM pg_stat_activity WHERE application_name = 'unistream'"
    for n in range(3):
        program.stdin.write(b'{"n": %d}\n' % n)
        program.stdin.flush()
        wait_for(lambda n=n: server.numbers("idle") == list(range(n + 1)))  # type: ignore[misc]
        wait_for(lambda: server.ask(f"SELECT 1 {ours}") != [])
        server.ask(f"SELECT pg_terminate_backend(pid) {ours}")
    _, said = program.communicate(timeout=60)
    assert program.returncode == 0, said.decode()
    assert server.numbers("idle") == [0, 1, 2]
    assert b"57P01" not in said, said.decode()


def test_the_examples(server: Postgres, tmp_path: Path, numbers: Path) -> None:
    server.make("example")
    run_example(in_c(tmp_path), tmp_path / "outbox", server.at("postgres/example"), numbers)
    assert server.numbers("example") == list(range(5000))


def test_nothing_is_lost_or_there_twice_whatever_fails(tmp_path: Path) -> None:
    with serving() as servers:
        print(prove(PostgresBroker(servers), COMMAND, tmp_path, FAILURES, seed=11))


def test_lanes_lose_nothing_whatever_fails(tmp_path: Path) -> None:
    with serving() as servers:
        print(prove(PostgresBroker(servers, lanes=4), COMMAND, tmp_path, FAILURES // 2, seed=12))
