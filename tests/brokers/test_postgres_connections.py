"""How the PostgreSQL sink gets to its servers: who it is, TLS, a standby that takes over."""

import subprocess
from pathlib import Path

import pytest
from certificates import certificates
from conftest import COMMAND, ends_well, wait_for
from postgres_server import Postgres, owned, patiently, scratch, serving
from test_postgres import delivers, waits

ACCESS = """
hostssl all anyone all trust
host all anyone all reject
hostssl all shown all cert
host all scram 127.0.0.1/32 scram-sha-256
host all old 127.0.0.1/32 md5
host all clear 127.0.0.1/32 password
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> "object":
    certs = certificates(tmp_path_factory.mktemp("certs") / "certs")
    # The server's own copies: it reads no key that others may read, and cannot reach those of pytest.
    theirs = scratch()
    for name in ("server.pem", "server.key", "ca.pem"):
        copy = theirs / name
        copy.write_bytes((certs / name).read_bytes())
        copy.chmod(0o600)
        owned(copy)
    settings = (
        f"ssl = on\nssl_cert_file = '{theirs}/server.pem'\nssl_key_file = '{theirs}/server.key'\n"
        f"ssl_ca_file = '{theirs}/ca.pem'\n"
    )
    with serving(settings, ACCESS) as servers:
        servers.certs = certs  # type: ignore[attr-defined]
        for name, hidden in (("scram", "scram-sha-256"), ("old", "md5"), ("clear", "scram-sha-256")):
            with servers.connect() as connection:
                connection.execute(f"SET password_encryption = '{hidden}'")
                connection.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD 'hush hush'")
        servers.ask("CREATE ROLE anyone LOGIN SUPERUSER")
        servers.ask("CREATE ROLE client LOGIN SUPERUSER")
        servers.ask("CREATE ROLE shown LOGIN SUPERUSER")
        yield servers


@pytest.mark.parametrize("user", ["scram", "old", "clear"])
def test_passwords(server: Postgres, tmp_path: Path, user: str) -> None:
    password = tmp_path / "password"
    password.write_text("wrong wrong\n")
    table = f"by_{user}"
    server.make(table)
    url = server.at(f"postgres/{table}", user=user)
    waits(tmp_path, url, "none is given")
    outbox = waits(tmp_path, url + f"?password_file={password}", "28P01")
    waits(tmp_path, url + f"?password_file={tmp_path}/nothing", "cannot read the password")
    password.write_text("hush hush\n")
    delivers(outbox, url + f"?password_file={password}")
    assert server.numbers(table) == [0]


def test_tls_believes_nobody_else(server: Postgres, tmp_path: Path) -> None:
    certs: Path = server.certs  # type: ignore[attr-defined]
    server.make("by_tls")
    url = server.at("postgres/by_tls", user="anyone")
    outbox = waits(tmp_path, url, "28000")
    for mode in ("require", "verify-full"):
        waits(tmp_path, url + f"?sslmode={mode}", "certificate")
    # Its certificate is one for 127.0.0.1 and localhost.
    delivers(outbox, url + f"?sslmode=require&ca_bundle={certs}/ca.pem")
    outbox = waits(tmp_path, url + "?sslmode=disable", "28000")
    delivers(outbox, url.replace("127.0.0.1", "localhost") + f"?sslmode=verify-full&ca_bundle={certs}/ca.pem")
    assert server.numbers("by_tls") == [0, 0]


def test_a_certificate_that_says_who_we_are(server: Postgres, tmp_path: Path) -> None:
    certs: Path = server.certs  # type: ignore[attr-defined]
    server.make("by_certificate")
    # The certificate is that of a user `client`.
    url = server.at("postgres/by_certificate", user="shown") + f"?sslmode=require&ca_bundle={certs}/ca.pem"
    shown = f"&client_cert={certs}/client.pem&client_key={certs}/client.key"
    outbox = waits(tmp_path, url, "28000")
    waits(tmp_path, url + shown, "28000")
    server.ask("ALTER ROLE client RENAME TO client_")
    server.ask("ALTER ROLE shown RENAME TO client")
    home = server.place / "p0" / "pg_hba.conf"
    home.write_text(home.read_text().replace("hostssl all shown", "hostssl all client"))
    server.ask("SELECT pg_reload_conf()")
    url = url.replace("shown@", "client@")
    patiently(lambda: delivers(outbox, url + shown))
    assert server.numbers("by_certificate") == [0]


def test_a_server_that_speaks_no_tls(tmp_path: Path) -> None:
    with serving() as servers:
        servers.make("events")
        waits(tmp_path, servers.at() + "?sslmode=require", "speaks no TLS")


def put_slowly(tmp_path: Path, numbers: Path, url: str) -> "subprocess.Popen[bytes]":
    fields = ("--format", "ndjson", "--id", "id", "--key", "key", "-o", "max_rate_records=1500", "-o", "max_records=20")
    waiting = ("-o", "schedule_max=0.5", "-o", "schedule_multiplier=0.05")
    command = [COMMAND, "put", str(tmp_path / "outbox"), str(numbers), "--to", url, "--quiet", *fields, *waiting]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def test_a_standby_takes_over(tmp_path: Path, numbers: Path) -> None:
    with serving(standbys=1) as servers:
        first, standby = servers.servers
        servers.make("events")
        # What is acknowledged is on the standby, too.
        servers.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        servers.ask("SELECT pg_reload_conf()")
        wait_for(lambda: servers.ask("SELECT sync_state FROM pg_stat_replication") == [("sync",)])
        # The standby is asked first, and takes no writes.
        url = f"postgres://postgres@127.0.0.1:{standby.proxy.port},127.0.0.1:{first.proxy.port}/postgres/events"
        program = put_slowly(tmp_path, numbers, url + "?timeout=2&connect_timeout=2")
        wait_for(lambda: len(servers.numbers("events")) > 500)
        first.kill()
        servers.ask("SELECT pg_promote()", standby)
        ends_well(program)
        found = servers.ask("SELECT payload FROM events ORDER BY n", standby)
        assert [payload["n"] for (payload,) in found] == list(range(5000))
