"""NATS servers for the tests: one, or a cluster of three, with JetStream; and what a stream holds."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import nats
from chaos import Arrived
from nats.aio.client import Client
from nats.js.api import RawStreamMsg, StreamConfig
from proxy import Proxy
from server import Server
from servers import free_port

T = TypeVar("T")
BIN = Path(os.environ["BROKERS_TEST_PLACE"]) / "venv" / "bin" / "nats-server"
WINDOW = 3600.0
"""Seconds for which the streams of the tests know ids."""


class Nats:
    """Servers that are one cluster, or one alone."""

    def __init__(self, place: Path, count: int = 1, extra: str = "") -> None:
        self.place = place
        self.options: dict[str, object] = {}
        """How the official client connects."""
        ports = [free_port() for _ in range(count)]
        routes = [free_port() for _ in range(count)]
        self.servers: Sequence[Server] = [
            self._server(nth, ports[nth], extra if count == 1 else extra + self._cluster(routes, nth))
            for nth in range(count)
        ]

    def _cluster(self, routes: list[int], nth: int) -> str:
        listed = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        return f"""
            cluster {{ name: c, listen: "127.0.0.1:{routes[nth]}", routes: [{listed}] }}
        """

    def _server(self, nth: int, port: int, extra: str) -> Server:
        home = self.place / f"n{nth}"
        home.mkdir(parents=True)
        config = home / "nats.conf"
        proxy = Proxy(port)
        config.write_text(
            f"""
            server_name: n{nth}
            listen: "127.0.0.1:{port}"
            client_advertise: "127.0.0.1:{proxy.port}"
            jetstream {{ store_dir: "{home}/data" }}
            {extra}
            """
        )
        return Server([str(BIN), "-c", str(config)], port, proxy, home / "log")

    def start(self) -> None:
        for server in self.servers:
            server.spawn()
        for server in self.servers:
            server.wait()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def at(self, subject: str = "", scheme: str = "nats") -> str:
        """Give the URL of the sink, by way of the proxies."""
        hosts = ",".join(f"127.0.0.1:{server.proxy.port}" for server in self.servers)
        return f"{scheme}://{hosts}/{subject}"

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Ask the servers directly, as the official client of Python does."""

        async def session() -> T:
            hosts = [f"nats://127.0.0.1:{server.port}" for server in self.servers]
            client = await nats.connect(hosts, allow_reconnect=True, connect_timeout=5, **self.options)
            try:
                return await question(client)
            finally:
                await client.close()

        return asyncio.run(session())

    def make_stream(self, name: str, *subjects: str, **options: object) -> None:
        async def make(client: Client) -> None:
            config = StreamConfig(name=name, subjects=list(subjects), duplicate_window=WINDOW)
            answer = await client.request(
                f"$JS.API.STREAM.CREATE.{name}", json.dumps({**config.as_dict(), **options}).encode(), timeout=2
            )
            assert "error" not in json.loads(answer.data), answer.data

        # A cluster takes a moment until it has a leader who makes streams.
        patiently(lambda: self.ask(make))

    def messages(self, stream: str) -> list[RawStreamMsg]:
        """Read all messages of a stream, in order."""

        async def read(client: Client) -> list[RawStreamMsg]:
            jetstream = client.jetstream(timeout=30)
            state = (await jetstream.stream_info(stream)).state
            seqs = range(state.first_seq, state.last_seq + 1) if state.messages else range(0)
            return [await jetstream.get_msg(stream, seq=seq) for seq in seqs]

        return patiently(lambda: self.ask(read))


@contextmanager
def serving(place: Path, count: int = 1, extra: str = "") -> Iterator[Nats]:
    """Run servers until the block ends."""
    servers = Nats(place, count, extra)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


def patiently(act: Callable[[], T]) -> T:
    """Act until it succeeds, for a minute."""
    for _ in range(120):
        try:
            return act()
        except (nats.errors.Error, AssertionError, OSError) as error:
            last = error
            asyncio.run(asyncio.sleep(0.5))
    raise last


class NatsBroker:
    """What the proof of all brokers asks of this one."""

    once = True

    def __init__(self, servers: Nats, atomic: str) -> None:
        self.nats = servers
        self.servers = servers.servers
        self.atomic = atomic
        # Without atomic batches a leader that is lost between two messages may let the second overtake.
        self.ordered = atomic == "require" or len(self.servers) == 1
        servers.make_stream("PROOF", "proof", num_replicas=len(self.servers), allow_atomic=atomic != "never")

    def url(self) -> str:
        options = f"?atomic={self.atomic}&timeout=2&connect_timeout=2"
        return self.nats.at("proof") + options

    def arguments(self) -> list[str]:
        return []

    def settle(self) -> None:
        async def ready(client: Client) -> None:
            await client.jetstream(timeout=2).stream_info("PROOF")

        patiently(lambda: self.nats.ask(ready))

    def change_leader(self) -> bool:
        if len(self.servers) == 1:
            return False

        async def step_down(client: Client) -> None:
            await client.request("$JS.API.STREAM.LEADER.STEPDOWN.PROOF", b"", timeout=2)

        try:
            self.nats.ask(step_down)
        except (nats.errors.Error, OSError):
            return False
        return True

    def read_back(self) -> list[Arrived]:
        records = []
        for message in self.nats.messages("PROOF"):
            assert message.data is not None
            record = json.loads(message.data)
            records.append(Arrived(record["n"], record["key"], "PROOF"))
        return records
