"""Apache Kafka itself: a cluster in KRaft mode on free ports of loopback, each broker behind a proxy."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "brokers"))

from chaos import Arrived
from confluent_kafka import Consumer, ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from proxy import Proxy
from server import Server
from servers import free_port

JAVA = ["java", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"

Configuration = dict[str, str | int | float | bool]
"""What clients of others are configured with."""


class Cluster:
    """Brokers that are controllers, too."""

    once = True
    ordered = True

    def __init__(self, place: Path, jars: Path, brokers: int, more: Mapping[str, str] | None = None) -> None:
        self.place = place
        self.jars = jars
        self.topic = "records"
        self.options = "timeout=3&connect_timeout=3"
        self.more = dict(more or {})
        self._nodes = range(1, brokers + 1)
        self._ports = {
            (kind, node): free_port() for node in self._nodes for kind in ("client", "internal", "controller")
        }
        self.proxies = {node: Proxy(self._ports["client", node]) for node in self._nodes}
        self.servers: Sequence[Server] = []

    def start(self, scram: Mapping[str, str] | None = None) -> None:
        configurations = [self._configure(node) for node in self._nodes]
        user = [f"--add-scram={how}=[name=alice,password={password}]" for how, password in (scram or {}).items()]
        format_ = [*self._java("kafka.tools.StorageTool"), "format", "-t", CLUSTER_ID, *user, "-c"]
        formatting = [
            subprocess.Popen([*format_, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for path in configurations
        ]
        for process in formatting:
            said, _ = process.communicate(timeout=120)
            assert process.returncode == 0, said.decode()
        for node, path in zip(self._nodes, configurations, strict=True):
            command = [*self._java("kafka.Kafka"), str(path)]
            log = self.place / f"broker-{node}.log"
            self.servers = [*self.servers, Server(command, self._ports["client", node], self.proxies[node], log)]
        for server in self.servers:
            server.spawn()
        for server in self.servers:
            server.wait()
        self.settle()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def _java(self, name: str) -> list[str]:
        return [*JAVA, f"-Dkafka.logs.dir={self.place}", "-cp", f"{self.jars}/*", name]

    def _configure(self, node: int) -> Path:
        def at(kind: str, of: int) -> str:
            return f"127.0.0.1:{self._ports[kind, of]}"

        replicas = min(3, len(self._nodes))
        listeners = [f"{kind.upper()}://{at(kind, node)}" for kind in ("client", "internal", "controller")]
        protocol = self.more.get("client.protocol", "PLAINTEXT")
        properties = {
            "process.roles": "broker,controller",
            "node.id": node,
            "controller.quorum.voters": ",".join(f"{n}@{at('controller', n)}" for n in self._nodes),
            "listeners": ",".join(listeners),
            "advertised.listeners": f"CLIENT://localhost:{self.proxies[node].port},INTERNAL://{at('internal', node)}",
            "listener.security.protocol.map": f"CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "INTERNAL",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self.place / f"data-{node}",
            "default.replication.factor": replicas,
            "min.insync.replicas": max(1, replicas - 1),
            "offsets.topic.replication.factor": replicas,
            "auto.leader.rebalance.enable": "false",
            "auto.create.topics.enable": "true",
            "num.partitions": 2,
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            "controller.quorum.election.timeout.ms": 500,
            "controller.quorum.fetch.timeout.ms": 1000,
            "replica.lag.time.max.ms": 3000,
            "log.cleaner.dedupe.buffer.size": 2_000_000,
            "num.network.threads": 2,
            "num.io.threads": 2,
            **{key: value for key, value in self.more.items() if key != "client.protocol"},
        }
        path = self.place / f"server-{node}.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        return path

    @property
    def brokers(self) -> str:
        """The brokers as the sink is told."""
        return ",".join(f"localhost:{proxy.port}" for proxy in self.proxies.values())

    @property
    def direct(self) -> Configuration:
        """The configuration of others' clients, which do not go through the proxies."""
        return {"bootstrap.servers": ",".join(f"127.0.0.1:{self._ports['internal', node]}" for node in self._nodes)}

    def admin(self) -> AdminClient:
        return AdminClient(self.direct)

    def create(self, topic: str, partitions: int = 3, **configuration: str) -> str:
        config = {key.replace("_", "."): value for key, value in configuration.items()}
        new = NewTopic(topic, partitions, min(3, len(self._nodes)), config=config)
        admin = self.admin()
        for made in admin.create_topics([new]).values():
            made.result(60)
        return topic

    def read(self, topic: str) -> Iterator[tuple[int, Any]]:
        """Give the partition and the message of all that is in a topic."""
        return read_all(self.direct, topic)

    # What the proof asks of a broker.

    def url(self) -> str:
        return f"kafka://{self.brokers}/{self.topic}?{self.options}"

    def arguments(self) -> list[str]:
        return []

    def settle(self) -> None:
        """Wait until every partition has a leader and all replicas."""
        admin = self.admin()
        deadline = time.monotonic() + 90
        while True:
            try:
                topics = admin.list_topics(timeout=10)
                if len(topics.brokers) == len(self._nodes) and all(
                    partition.leader >= 0 and len(partition.isrs) == len(partition.replicas)
                    for topic in topics.topics.values()
                    for partition in topic.partitions.values()
                ):
                    return
            except KafkaException:
                pass
            assert time.monotonic() < deadline, "the cluster does not come to rest"
            time.sleep(0.2)

    def change_leader(self) -> bool:
        """Let the preferred replicas lead again, if others do; else kill the leader of a partition."""
        if len(self._nodes) == 1:
            return False
        admin = self.admin()
        partitions = admin.list_topics(self.topic, timeout=30).topics[self.topic].partitions
        moved = [
            TopicPartition(self.topic, number)
            for number, partition in partitions.items()
            if partition.leader != partition.replicas[0]
        ]
        if moved:
            # The preferred one may be away.
            with suppress(KafkaException):
                admin.elect_leaders(ElectionType.PREFERRED, moved).result(30)
            return True
        leader = self.servers[max(partitions[0].leader, 1) - 1]
        leader.kill()
        deadline = time.monotonic() + 30
        while admin.list_topics(self.topic, timeout=30).topics[self.topic].partitions[0].leader == (
            self.servers.index(leader) + 1
        ):
            assert time.monotonic() < deadline, "nobody else leads"
            time.sleep(0.1)
        leader.start()
        return True

    def read_back(self) -> list[Arrived]:
        arrived = []
        for partition, message in self.read(self.topic):
            record = json.loads(message.value())
            arrived.append(Arrived(record["n"], record["key"], str(partition)))
        return arrived


def read_all(configuration: Configuration, topic: str) -> Iterator[tuple[int, Any]]:
    """Give the partition and the message of all that is in a topic."""
    consumer = Consumer({**configuration, "group.id": "readers", "enable.auto.commit": "false"})
    try:
        deadline = time.monotonic() + 60
        for partition in sorted(consumer.list_topics(topic, timeout=30).topics[topic].partitions):
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
            if end == 0:
                continue
            consumer.assign([TopicPartition(topic, partition, 0)])
            at = 0
            while at < end:
                assert time.monotonic() < deadline, f"{at} of {end} in partition {partition} of {topic}"
                message = consumer.poll(1)
                if message is None or message.error() is not None:
                    continue
                at = (message.offset() or 0) + 1
                yield partition, message
    finally:
        consumer.close()


@contextmanager
def running(
    place: Path,
    jars: Path,
    brokers: int,
    more: Mapping[str, str] | None = None,
    scram: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """Run a cluster until the block ends."""
    place.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(place, jars, brokers, more)
    try:
        cluster.start(scram)
        yield cluster
    finally:
        cluster.stop()
