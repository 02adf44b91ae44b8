"""Measures the NATS, Redis and PostgreSQL sinks beside clients of Python, on the same servers; prints the rows.

Ours is durable on disk before it is sent, and once; theirs is in memory, and sends as much at once as is best for it:
nats-py publishes with an id and awaits 500 acknowledgements together, redis-py adds 500 entries in one MULTI,
psycopg copies 500 rows in one transaction.
"""

import asyncio
import datetime
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nats
import nats_server
import postgres_server
import redis_server

ROUNDS = 5
AT_ONCE = 500

Round = dict[str, float]


def ours(url: str, size: int, records: int, *options: str) -> list[Round]:
    command = [sys.argv[1], url, str(size), str(records), str(ROUNDS), *options]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
    return [json.loads(line) for line in said.splitlines()]


def processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(send: Callable[[], None], records: int) -> Round:
    wall, cpu = time.perf_counter(), processor()
    send()
    wall, cpu = time.perf_counter() - wall, processor() - cpu
    return {"records": records / wall, "cpu": cpu / records}


def by_nats_py(servers: nats_server.Nats, subject: str, size: int, records: int) -> list[Round]:
    payload = b"x" * size

    async def session() -> list[Round]:
        client = await nats.connect(f"nats://127.0.0.1:{servers.servers[0].port}")
        jetstream = client.jetstream(publish_async_max_pending=AT_ONCE)
        rounds = []
        for nth in range(ROUNDS):
            wall, cpu = time.perf_counter(), processor()
            for begin in range(0, records, AT_ONCE):
                ids = range(begin, min(begin + AT_ONCE, records))
                sent = [
                    await jetstream.publish_async(subject, payload, headers={"Nats-Msg-Id": f"{nth}-{number}"})
                    for number in ids
                ]
                await asyncio.gather(*sent)
            wall, cpu = time.perf_counter() - wall, processor() - cpu
            rounds.append({"records": records / wall, "cpu": cpu / records})
        await client.close()
        return rounds

    return asyncio.run(session())


def by_redis_py(servers: redis_server.Redis, stream: str, size: int, records: int) -> list[Round]:
    client, payload = servers.client(), "x" * size

    def send() -> None:
        for begin in range(0, records, AT_ONCE):
            calls = client.pipeline(transaction=True)
            for number in range(begin, min(begin + AT_ONCE, records)):
                calls.xadd(stream, {"data": payload, "id": number})
            calls.execute()

    return [timed(send, records) for _ in range(ROUNDS)]


def by_psycopg(servers: postgres_server.Postgres, table: str, size: int, records: int) -> list[Round]:
    payload, statement = "x" * size, f"COPY {table} (payload, id, created_at) FROM STDIN"

    def send() -> None:
        for begin in range(0, records, AT_ONCE):
            with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
                for number in range(begin, min(begin + AT_ONCE, records)):
                    copy.write_row((payload, str(number), datetime.datetime.now(datetime.UTC)))

    with servers.connect() as connection:
        return [timed(send, records) for _ in range(ROUNDS)]


def main() -> None:
    rows: list[dict[str, object]] = []

    def row(what: str, of: list[Round], beside: list[Round]) -> None:
        for unit, factor, key in (("records/s", 1.0, "records"), ("us/record", 1e6, "cpu")):
            value, limit = (statistics.median(r[key] for r in rounds) * factor for rounds in (of, beside))
            name = what if key == "records" else f"{what}, CPU time a record"
            rows.append({"row": name, "unit": unit, "value": value, "limit": limit, "ratio": value / limit})

    with tempfile.TemporaryDirectory() as place, nats_server.serving(Path(place)) as servers:
        at = servers.servers[0].port
        for size, records in ((100, 100_000), (1000, 50_000)):
            for name in ("theirs", "ours", "atomic"):
                servers.make_stream(f"{name}-{size}", f"{name}.{size}", allow_atomic=True)
            beside = by_nats_py(servers, f"theirs.{size}", size, records)
            for name, options in (("ours", ""), ("atomic", "?atomic=require")):
                of = ours(f"nats://127.0.0.1:{at}/{name}.{size}{options}", size, records)
                kind = ", atomic batches" if options else ""
                row(f"nats sink, once{kind}, {size} B, beside nats-py", of, beside)
    with tempfile.TemporaryDirectory() as place, redis_server.serving(Path(place)) as servers:
        at = servers.servers[0].port
        for size, records in ((100, 200_000), (1000, 100_000)):
            beside = by_redis_py(servers, f"theirs-{size}", size, records)
            of = ours(f"redis://127.0.0.1:{at}/0/ours-{size}", size, records)
            row(f"redis sink, once, {size} B, beside redis-py's MULTI of 500", of, beside)
    with postgres_server.serving() as servers:
        at = servers.servers[0].port
        options = "?key_column=&topic_column=&headers_column="
        for size, records in ((100, 200_000), (1000, 100_000)):
            for name in ("theirs", "ours"):
                servers.make(f"{name}_{size}", "payload text, id text, created_at timestamptz")
            beside = by_psycopg(servers, f"theirs_{size}", size, records)
            of = ours(f"postgres://postgres@127.0.0.1:{at}/postgres/ours_{size}{options}", size, records)
            row(f"postgres sink, once, {size} B, beside psycopg's COPY of 500", of, beside)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
