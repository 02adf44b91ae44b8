"""How the Redis sink gets to its servers: who it is, TLS, Sentinels, a cluster that changes."""

import json
import subprocess
import time
from pathlib import Path

import redis
from certificates import certificates
from chaos import prove
from conftest import COMMAND, FAILURES, ends_well, lose_reply, run, wait_for
from proxy import Proxy
from redis_server import Redis, RedisBroker, patiently, serving
from server import Server
from servers import free_port
from test_redis import delivers, numbers_in, waits


def test_users_passwords_and_permissions(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hush\n")
    extra = "requirepass hush\nuser few on >hush ~s ~{s}:unistream:* +xadd +eval +hget +hset +pexpire"
    with serving(tmp_path / "servers", extra=extra, options={"password": "hush"}) as servers:
        file = f"?password_file={password}"
        outbox = waits(tmp_path, servers.at("0/s"), "NOAUTH")
        delivers(outbox, servers.at("0/s") + file)
        few = servers.at("0/s").replace("//", "//few@")
        password.write_text("wrong\n")
        outbox = waits(tmp_path, few + file, "WRONGPASS")
        password.write_text("hush\n")
        delivers(outbox, few + file)
        waits(tmp_path, few.replace("0/s", "0/other") + file, "NOPERM")
        assert numbers_in(servers, "s") == [0, 0]


def test_a_user_who_may_not_write_the_note_adds_nothing(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hush\n")
    extra = "requirepass hush\nuser few on >hush ~s ~{s}:unistream:* +xadd +eval +hget +pexpire"
    with serving(tmp_path / "servers", extra=extra, options={"password": "hush"}) as servers:
        url = servers.at("0/s").replace("//", "//few@") + f"?password_file={password}"
        outbox = waits(tmp_path, url, "The user executing the script can't run this command")
        assert servers.client().keys() == []
        servers.client().execute_command("ACL", "SETUSER", "few", "+hset")
        delivers(outbox, url)
        assert numbers_in(servers, "s") == [0]


def test_tls_that_asks_who_we_are(tmp_path: Path) -> None:
    certs = certificates(tmp_path / "certs")
    extra = "\n".join(
        [
            "port 0",
            "tls-port PORT",
            f"tls-cert-file {certs}/server.pem",
            f"tls-key-file {certs}/server.key",
            f"tls-ca-cert-file {certs}/ca.pem",
        ]
    )
    ours = {"ssl_certfile": f"{certs}/client.pem", "ssl_keyfile": f"{certs}/client.key"}
    options = {"ssl": True, "ssl_ca_certs": f"{certs}/ca.pem", **ours}
    with serving(tmp_path / "servers", extra=extra, options=options) as servers:
        trust = f"?ca_bundle={certs}/ca.pem"
        waits(tmp_path, servers.at("0/s", "rediss"), "certificate")
        outbox = waits(tmp_path, servers.at("0/s", "rediss") + trust, "")
        known = f"&client_cert={certs}/client.pem&client_key={certs}/client.key"
        delivers(outbox, servers.at("0/s", "rediss") + trust + known)
        assert numbers_in(servers, "s") == [0]


def put_slowly(tmp_path: Path, numbers: Path, url: str) -> "subprocess.Popen[bytes]":
    fields = ("--format", "ndjson", "--id", "id", "--key", "key", "-o", "max_rate_records=1500", "-o", "max_records=20")
    waiting = ("-o", "schedule_max=0.5", "-o", "schedule_multiplier=0.05")
    command = [COMMAND, "put", str(tmp_path / "outbox"), str(numbers), "--to", url, "--quiet", *fields, *waiting]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def test_sentinels_tell_who_the_master_is(tmp_path: Path, numbers: Path) -> None:
    with serving(tmp_path / "servers", count=2) as servers:
        master, replica = servers.servers
        servers.client(replica).replicaof("127.0.0.1", master.port)
        patiently(lambda: is_linked(servers, replica))
        port = free_port()
        config = tmp_path / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\nprotected-mode no\ndir {tmp_path}\n"
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 2000\n"
        )
        sentinel = Server(["redis-sentinel", str(config)], port, Proxy(port), tmp_path / "sentinel.log")
        sentinel.start()
        try:
            ask = redis.Redis(port=port, decode_responses=True)
            patiently(lambda: knows(ask))
            # The first of the Sentinels does not exist.
            url = f"redis://127.0.0.1:1,127.0.0.1:{port}/0/s?sentinel=mymaster&replicas=1&timeout=2"
            program = put_slowly(tmp_path, numbers, url)
            wait_for(lambda: servers.client(master).xlen("s") > 500)
            ask.execute_command("SENTINEL", "FAILOVER", "mymaster")
            wait_for(lambda: servers.client(replica).role()[0] == "master")
            # The Sentinel would do so, too, some ten seconds later.
            servers.client(master).replicaof("127.0.0.1", replica.port)
            ends_well(program)
            entries = servers.client(replica).xrange("s")
            assert [json.loads(fields["data"])["n"] for _, fields in entries] == list(range(5000))
            assert patiently(lambda: ask.execute_command("SENTINEL", "get-master-addr-by-name", "mymaster"))[1] == str(
                replica.port
            )
        finally:
            sentinel.stop()


def is_linked(servers: Redis, replica: Server) -> None:
    assert servers.client(replica).info("replication")["master_link_status"] == "up"


def knows(sentinel: "redis.Redis") -> None:
    assert sentinel.execute_command("SENTINEL", "replicas", "mymaster")


def test_a_cluster_whose_slots_move_on_the_way(tmp_path: Path, numbers: Path) -> None:
    with serving(tmp_path / "servers", count=3, cluster=True) as servers:
        stream = "moved"
        url = servers.at() + f"?cluster=true&stream={stream}"
        program = put_slowly(tmp_path, numbers, url)
        slot = servers.client().execute_command("CLUSTER", "KEYSLOT", stream)
        owner = servers.servers[slot // (16384 // 3 + 1)]
        other = next(server for server in servers.servers if server is not owner)
        wait_for(lambda: servers.client(owner).execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) == 2)
        ids = {server.port: servers.client(server).execute_command("CLUSTER", "MYID") for server in (owner, other)}
        servers.client(other).execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[owner.port])
        servers.client(owner).execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[other.port])
        # While it moves, what is there is asked of the one and what is gone of the other, which takes it on demand.
        for key in servers.client(owner).execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
            servers.client(owner).execute_command("MIGRATE", "127.0.0.1", other.port, key, 0, 5000)
            time.sleep(0.2)
        for server in (other, owner):
            servers.client(server).execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[other.port])
        ends_well(program)
        assert numbers_in(servers, stream) == list(range(5000))
        assert servers.client(other).execute_command("CLUSTER", "COUNTKEYSINSLOT", slot) == 2


def test_a_cluster_loses_nothing_whatever_fails(tmp_path: Path) -> None:
    with serving(tmp_path / "servers", count=6, cluster=True, replicas=1) as servers:
        print(prove(RedisBroker(servers), COMMAND, tmp_path, FAILURES, seed=6))


def test_a_reply_that_is_lost_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "servers") as servers:
        url = servers.at("0/s") + "?timeout=0.5"
        lose_reply(servers.servers[0], tmp_path / "outbox", url, lambda: numbers_in(servers, "s"))
        done = run("drain", tmp_path / "outbox", "--to", url, "--timeout", "60")
        assert done.returncode == 0, done.stderr
        assert "twice" not in done.stderr, done.stderr
        assert numbers_in(servers, "s") == [0, 1]


def test_a_note_that_has_expired_is_told(tmp_path: Path) -> None:
    with serving(tmp_path / "servers") as servers:
        url = servers.at("0/s") + "?timeout=0.5&once_expiry=1"
        lose_reply(servers.servers[0], tmp_path / "outbox", url, lambda: numbers_in(servers, "s"))
        wait_for(lambda: servers.client().keys() == ["s"])
        done = run("drain", tmp_path / "outbox", "--to", url, "--timeout", "60")
        assert done.returncode == 0, done.stderr
        assert "may have arrived twice" in done.stderr, done.stderr
        assert numbers_in(servers, "s") == [0, 1, 1]
