"""Redis servers for the tests: one, a master with replicas and Sentinels, or a cluster; and what a stream holds."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import redis
from chaos import KEYS, Arrived
from proxy import Proxy
from redis.cluster import RedisCluster
from server import Server
from servers import free_port

T = TypeVar("T")
Fields = dict[str, str]


def patiently(act: Callable[[], T], seconds: float = 60) -> T:
    """Act until it succeeds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except (redis.RedisError, AssertionError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Redis:
    """Servers that persist what they acknowledge before they do so."""

    def __init__(self, place: Path, count: int = 1, extra: str = "", cluster: bool = False) -> None:
        self.place = place
        self.options: dict[str, Any] = {}
        """How the client of Python connects."""
        self.is_cluster = cluster
        self.servers: Sequence[Server] = [self._server(nth, extra) for nth in range(count)]

    def _server(self, nth: int, extra: str) -> Server:
        home = self.place / f"r{nth}"
        home.mkdir(parents=True)
        port, proxy_port = free_port(), 0
        proxy = Proxy(port, proxy_port)
        lines = [
            f"dir {home}",
            "bind 127.0.0.1",
            "protected-mode no",
            "appendonly yes",
            # With everysec a reply may go out before the write, which a kill then loses.
            "appendfsync always",
            'save ""',
            extra.replace("PORT", str(port)),
        ]
        if "tls-port" not in extra:
            lines.append(f"port {port}")
        if self.is_cluster:
            bus = free_port()
            lines += [
                "cluster-enabled yes",
                f"cluster-port {bus}",
                "cluster-node-timeout 1500",
                "cluster-require-full-coverage no",
                "cluster-replica-validity-factor 0",
                "cluster-announce-ip 127.0.0.1",
                f"cluster-announce-port {proxy.port}",
                f"cluster-announce-bus-port {bus}",
            ]
        config = home / "redis.conf"
        config.write_text("\n".join(lines) + "\n")
        return Server(["redis-server", str(config)], port, proxy, home / "log")

    def start(self) -> None:
        for server in self.servers:
            server.spawn()
        for server in self.servers:
            server.wait()
            patiently(lambda server=server: self.client(server).ping())

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def client(self, server: Server | None = None) -> "redis.Redis":
        """Give a client of one server, past its proxy."""
        port = (server or self.servers[0]).port
        return redis.Redis(port=port, decode_responses=True, socket_timeout=10, **self.options)

    def at(self, place: str = "", scheme: str = "redis") -> str:
        """Give the URL of the sink, by way of the proxies."""
        hosts = ",".join(f"127.0.0.1:{server.proxy.port}" for server in self.servers)
        return f"{scheme}://{hosts}/{place}"

    def entries(self, stream: str) -> list[Fields]:
        """Read all of a stream."""
        return patiently(lambda: [fields for _, fields in self.reader().xrange(stream)])

    def reader(self) -> Any:
        return self.cluster() if self.is_cluster else self.client()

    def cluster(self) -> "RedisCluster":
        ports = {server.proxy.port: server.port for server in self.servers}
        return RedisCluster(
            startup_nodes=[redis.cluster.ClusterNode("127.0.0.1", server.port) for server in self.servers],
            decode_responses=True,
            address_remap=lambda address: (address[0], ports.get(address[1], address[1])),
        )

    def join(self, replicas: int) -> None:
        """Make a cluster of the servers."""
        masters = len(self.servers) // (1 + replicas)
        first = self.servers[0]
        share = 16384 // masters + 1
        for nth, server in enumerate(self.servers[:masters]):
            client = self.client(server)
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", nth * share, min(16383, (nth + 1) * share - 1))
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", nth + 1)
        for server in self.servers[1:]:
            self.client(server).execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, self._bus(first))
        for nth, server in enumerate(self.servers[masters:]):
            master = self.client(self.servers[nth % masters]).execute_command("CLUSTER", "MYID")
            patiently(lambda s=server, m=master: self.client(s).execute_command("CLUSTER", "REPLICATE", m))
        self.settle()

    def _bus(self, server: Server) -> int:
        config = Path(server.command[1]).read_text()
        return int(config.split("cluster-port ")[1].split()[0])

    def settle(self) -> None:
        """Wait until the cluster serves all slots."""

        def check() -> None:
            for server in self.servers:
                said = self.client(server).execute_command("CLUSTER", "INFO")
                info = dict(line.split(":", 1) for line in said.split())
                assert info["cluster_state"] == "ok", info
                assert info["cluster_slots_ok"] == "16384", info
                assert info["cluster_known_nodes"] == str(len(self.servers)), info

        patiently(check)


@contextmanager
def serving(
    place: Path,
    count: int = 1,
    extra: str = "",
    cluster: bool = False,
    replicas: int = 0,
    options: dict[str, Any] | None = None,
) -> Iterator[Redis]:
    """Run servers until the block ends."""
    servers = Redis(place, count, extra, cluster)
    servers.options = options or {}
    try:
        servers.start()
        if cluster:
            servers.join(replicas)
        yield servers
    finally:
        servers.stop()


class RedisBroker:
    """What the proof of all brokers asks of this one."""

    once = True
    ordered = True

    def __init__(self, servers: Redis) -> None:
        self.redis = servers
        self.servers = servers.servers
        # Of a cluster each has a stream, so that a batch goes to all of them.
        self.streams = [f"proof-k-{nth}" for nth in range(KEYS)] if servers.is_cluster else ["proof"]

    def url(self) -> str:
        options = "?timeout=2&connect_timeout=2"
        if self.redis.is_cluster:
            # A replica has what was acknowledged, so that it can take its master's place.
            return self.redis.at() + options + "&cluster=true&stream=proof-%7Bkey%7D&replicas=1"
        return self.redis.at("0/proof") + options

    def arguments(self) -> list[str]:
        return []

    def settle(self) -> None:
        if self.redis.is_cluster:
            self.redis.settle()
        else:
            patiently(lambda: self.redis.client().ping())

    def change_leader(self) -> bool:
        for server in self.servers if self.redis.is_cluster else ():
            try:
                client = self.redis.client(server)
                if client.role()[0] == "slave":
                    client.execute_command("CLUSTER", "FAILOVER")
                    return True
            except (redis.RedisError, OSError):
                pass
        return False

    def read_back(self) -> list[Arrived]:
        records = []
        for stream in self.streams:
            for entry in self.redis.entries(stream):
                record = json.loads(entry["data"])
                records.append(Arrived(record["n"], record["key"], stream))
        return records
