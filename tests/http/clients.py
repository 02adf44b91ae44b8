"""Sends requests by a client of Python, as `core/benches/http.rs` asks: records a second and CPU time a record."""

import asyncio
import json
import sys
import time

import aiohttp
import httpx

client, url, (records, size, in_flight, requests, rounds) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:])
RECORD = b"x" * size


def body() -> bytes:
    """Put the records of a request together, as the sink does it."""
    return b"".join(len(RECORD).to_bytes(4, "little") + RECORD for _ in range(records))


async def by_httpx() -> None:
    """Send all requests, so many at once."""
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(limits=limits, timeout=60) as session:

        async def worker(count: int) -> None:
            for _ in range(count):
                answer = await session.post(url, content=body())
                assert answer.status_code == 200

        await asyncio.gather(*(worker(share) for share in shares()))


async def by_aiohttp() -> None:
    """Send all requests, so many at once."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def worker(count: int) -> None:
            for _ in range(count):
                async with session.post(url, data=body()) as answer:
                    await answer.read()
                    assert answer.status == 200

        await asyncio.gather(*(worker(share) for share in shares()))


def shares() -> list[int]:
    """Divide the requests among those that are under way at once."""
    return [requests // in_flight + (nth < requests % in_flight) for nth in range(in_flight)]


send = by_httpx if client == "httpx" else by_aiohttp
for _ in range(rounds):
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(send())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"records": requests * records / wall, "cpu": cpu / requests / records}), flush=True)
