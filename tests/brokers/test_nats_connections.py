"""How the NATS sink gets to its servers: who it is, TLS, a cluster whose servers leave."""

import base64
import json
import signal
import ssl
import subprocess
from pathlib import Path

import nkeys
from certificates import certificates
from conftest import COMMAND, ends_well, wait_for
from nats.aio.client import Client
from nats_server import Nats, patiently, serving
from test_nats import delivers, numbers_in, put, waits

LAME_DUCK = 'lame_duck_duration: "30s", lame_duck_grace_period: "1s"'
USERS = """
authorization { users: [
    {user: all, password: hush}
    {user: few, password: hush, permissions: {publish: ["allowed", "$JS.API.>"], subscribe: ["mine.>", "_INBOX.none"]}}
] }
"""


def test_users_passwords_and_permissions(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hush\n")
    with serving(tmp_path / "servers", extra=USERS) as servers:

        def at(user: str, subject: str, more: str = "") -> str:
            return servers.at(subject).replace("//", f"//{user}@") + f"?password_file={password}{more}"

        waits(tmp_path, servers.at("allowed"), "Authorization Violation")
        password.write_text("wrong\n")
        outbox = waits(tmp_path, at("all", "allowed"), "Authorization Violation")
        password.write_text("hush\n")
        waits(tmp_path, at("few", "allowed"), "inbox_prefix")
        waits(tmp_path, at("few", "other", "&inbox_prefix=mine"), "Permissions Violation for Publish")
        servers.options = {"user": "all", "password": "hush"}
        servers.make_stream("ALLOWED", "allowed")
        delivers(outbox, at("few", "allowed", "&inbox_prefix=mine"))
        assert numbers_in(servers, "ALLOWED") == [0]


def seed(kind: int, number: int) -> str:
    """Make a seed of a kind of nkey."""
    return bytes(nkeys.encode_seed(bytes([number] * 32), kind)).decode()


def key(text: str) -> nkeys.KeyPair:
    return nkeys.from_seed(bytearray(text.encode()))


def token(kind: str, name: str, subject: str, issuer: nkeys.KeyPair, **claims: object) -> str:
    """Sign a JWT as NATS has it."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    body = {
        "jti": name,
        "iat": 0,
        "iss": issuer.public_key.decode(),
        "name": name,
        "sub": subject,
        "nats": {"type": kind, "version": 2, **claims},
    }
    signed = f"{part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{part(body)}"
    return f"{signed}.{base64.urlsafe_b64encode(issuer.sign(signed.encode())).rstrip(b'=').decode()}"


def test_a_token_and_an_nkey(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a-token")
    with serving(tmp_path / "token", extra='authorization { token: "a-token" }') as servers:
        servers.options = {"token": "a-token"}
        servers.make_stream("S", "s")
        outbox = waits(tmp_path, servers.at("s"), "Authorization Violation")
        delivers(outbox, servers.at("s") + f"?token_file={secret}")
        assert numbers_in(servers, "S") == [0]
    user = seed(nkeys.PREFIX_BYTE_USER, 7)
    secret.write_text(f"# of the tests\n{user}\n")
    users = f"authorization {{ users: [{{ nkey: {key(user).public_key.decode()} }}] }}"
    with serving(tmp_path / "nkey", extra=users) as servers:
        servers.options = {"nkeys_seed_str": user}
        servers.make_stream("S", "s")
        outbox = waits(tmp_path, servers.at("s"), "Authorization Violation")
        delivers(outbox, servers.at("s") + f"?nkey_file={secret}")
        assert numbers_in(servers, "S") == [0]


def test_credentials_of_an_account(tmp_path: Path) -> None:
    kinds = (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER)
    operator, system, account, user = (key(seed(kind, nth)) for nth, kind in enumerate(kinds, 1))
    public = [pair.public_key.decode() for pair in (operator, system, account, user)]
    unlimited = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1}
    storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    accounts = (
        f"{public[1]}: {token('account', 'SYS', public[1], operator, limits=unlimited)}",
        f"{public[2]}: {token('account', 'A', public[2], operator, limits=unlimited | storage)}",
    )
    extra = f"""
        operator: {token("operator", "O", public[0], operator, system_account=public[1])}
        system_account: {public[1]}
        resolver: MEMORY
        resolver_preload: {{ {", ".join(accounts)} }}
    """
    rights = {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
    creds = tmp_path / "user.creds"
    creds.write_text(
        f"-----BEGIN NATS USER JWT-----\n{token('user', 'U', public[3], account, **rights)}\n"
        f"------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed(kinds[3], 4)}\n"
        "------END USER NKEY SEED------\n"
    )
    with serving(tmp_path / "servers", extra=extra) as servers:
        servers.options = {"user_credentials": str(creds)}
        servers.make_stream("S", "s")
        outbox = waits(tmp_path, servers.at("s"), "Authorization Violation")
        delivers(outbox, servers.at("s") + f"?creds_file={creds}")
        assert numbers_in(servers, "S") == [0]


def tls(servers: Nats, place: Path) -> None:
    """Let the official client connect with TLS."""
    context = ssl.create_default_context(cafile=str(place / "ca.pem"))
    context.load_cert_chain(place / "client.pem", place / "client.key")
    servers.options = {"tls": context}


def test_tls_that_asks_who_we_are(tmp_path: Path) -> None:
    certs = certificates(tmp_path / "certs")
    files = f'cert_file: "{certs}/server.pem", key_file: "{certs}/server.key", ca_file: "{certs}/ca.pem"'
    trust = f"ca_bundle={certs}/ca.pem"
    ours = f"{trust}&client_cert={certs}/client.pem&client_key={certs}/client.key"
    with serving(tmp_path / "servers", extra=f"tls {{ {files}, verify: true }}") as servers:
        tls(servers, certs)
        servers.make_stream("S", "s")
        waits(tmp_path, servers.at("s"), "certificate")
        waits(tmp_path, servers.at("s") + f"?{trust}", "")
        outbox = waits(tmp_path, servers.at("s", "tls") + f"?{trust}", "")
        delivers(outbox, servers.at("s", "tls") + f"?{ours}")
        done = waits_not(tmp_path, servers.at("s") + f"?{ours}")
        assert done == 0
        assert numbers_in(servers, "S") == [0]
    with serving(tmp_path / "first", extra=f"tls {{ {files}, handshake_first: true }}") as servers:
        tls(servers, certs)
        servers.options["tls_handshake_first"] = True
        servers.make_stream("S", "s")
        outbox = waits(tmp_path, servers.at("s", "tls") + f"?{trust}&connect_timeout=1", "")
        delivers(outbox, servers.at("s") + f"?{trust}&tls=first")
        assert numbers_in(servers, "S") == [0]
    with serving(tmp_path / "plain") as servers:
        waits(tmp_path, servers.at("s", "tls"), "the server has no TLS")


def waits_not(tmp_path: Path, url: str) -> int:
    """Put a record that has been put before, which arrives."""
    file = tmp_path / "one.ndjson"
    file.write_text('{"n": 0, "id": "r-0", "key": "k"}\n')
    return put(tmp_path / "again", file, url, "--timeout", "30").returncode


def test_a_server_that_leaves_is_left_for_those_it_has_told_of(tmp_path: Path, numbers: Path) -> None:
    with serving(tmp_path / "servers", count=3, extra=LAME_DUCK) as servers:
        servers.make_stream("S", "s", num_replicas=3)
        # The sink is told of the first server alone, and is put to it slowly.
        first = servers.servers[0]
        url = f"nats://127.0.0.1:{first.proxy.port}/s"
        fields = ("--format", "ndjson", "--id", "id", "--key", "key")
        slowly = ("-o", "max_rate_records=2500", "-o", "max_records=20", "-o", "schedule_max=0.5")
        command = [COMMAND, "put", str(tmp_path / "outbox"), str(numbers), "--to", url, "--quiet", *fields, *slowly]
        program = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            wait_for(lambda: len(numbers_seen(servers)) > 100)
            assert first.process is not None
            first.process.send_signal(signal.SIGUSR2)
            before = len(numbers_seen(servers))
            wait_for(lambda: len(numbers_seen(servers)) > before + 1000)
            assert program.poll() is None
            first.kill()
        finally:
            ends_well(program)
        assert sorted(numbers_in(servers, "S")) == list(range(5000))


def numbers_seen(servers: Nats) -> range:
    async def count(client: Client) -> int:
        return int((await client.jetstream(timeout=5).stream_info("S")).state.messages)

    return range(patiently(lambda: servers.ask(count)))
