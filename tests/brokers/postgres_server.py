"""PostgreSQL servers for the tests: one, or one with a standby; and what a table holds."""

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from chaos import Arrived
from proxy import Proxy
from server import Server
from servers import free_port

T = TypeVar("T")
PROGRAMS = Path(os.environ["BROKERS_TEST_POSTGRES"])
# It refuses to run as root.
PREFIX = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []

EVENTS = """CREATE TABLE {} (n serial, payload jsonb NOT NULL, id text, key text, topic text, headers jsonb,
    created_at timestamptz)"""


def patiently(act: Callable[[], T], seconds: float = 60) -> T:
    """Act until it succeeds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except (psycopg.Error, AssertionError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def program(name: str, *arguments: object) -> None:
    """Run a program of PostgreSQL to its end."""
    command = [*PREFIX, str(PROGRAMS / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr


def owned(place: Path) -> Path:
    """Give a directory to the user that servers run as."""
    if PREFIX:
        shutil.chown(place, "nobody", "nogroup")
    return place


def scratch() -> Path:
    """Make a directory that the servers' user can reach, which those of pytest are not."""
    place = owned(Path(tempfile.mkdtemp(prefix="unistream-postgres-")))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


@functools.cache
def template() -> Path:
    """Make the files of a server that was never started."""
    place = scratch() / "data"
    program("initdb", "-D", place, "-U", "postgres", "-E", "UTF8", "--no-locale", "--auth=trust", "--no-sync")
    return place


class PostgresServer(Server):
    """A server, whose processes are in groups of their own."""

    def signal(self, number: signal.Signals) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        first = self.process.pid
        # Stopped, so that it starts no other meanwhile.
        os.kill(first, signal.SIGSTOP)
        for process in self._children(first):
            with suppress(ProcessLookupError):
                os.kill(process, number)
        os.kill(first, number)
        if number != signal.SIGSTOP:
            os.kill(first, signal.SIGCONT)

    @staticmethod
    def _children(parent: int) -> list[int]:
        with suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        return []

    def start(self) -> None:
        # What was killed may still be ending, and have the memory that all share.
        deadline = time.monotonic() + 60
        while True:
            self.spawn()
            try:
                return self.wait()
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def wait(self) -> None:
        super().wait()

        def ask() -> None:
            assert self.process is not None
            with psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=5"):
                pass

        patiently(ask)


class Postgres:
    """A server, perhaps with others that follow it."""

    def __init__(self, settings: str = "", access: str = "", standbys: int = 0) -> None:
        self.place = scratch()
        self.settings = settings
        self.access = access
        self.servers: Sequence[PostgresServer] = [self._server(nth) for nth in range(1 + standbys)]

    def _server(self, nth: int) -> PostgresServer:
        port, home = free_port(), self.place / f"p{nth}"
        command = [*PREFIX, str(PROGRAMS / "postgres"), "-D", str(home), "-p", str(port)]
        return PostgresServer(command, port, Proxy(port), self.place / f"log{nth}")

    def start(self) -> None:
        first, *others = self.servers
        home = self.place / "p0"
        subprocess.run([*PREFIX, "cp", "-a", str(template()), str(home)], check=True)
        with (home / "postgresql.conf").open("a") as config:
            config.write(
                "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 40\n"
                "shared_buffers = 16MB\ndynamic_shared_memory_type = posix\nfsync = on\nwal_level = replica\n"
                "hot_standby = on\nmax_wal_senders = 5\nrestart_after_crash = on\n" + self.settings
            )
        (home / "pg_hba.conf").write_text(
            self.access + "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 trust\n"
            "host replication all 127.0.0.1/32 trust\n"
        )
        first.start()
        for nth, other in enumerate(others, 1):
            source = f"host=127.0.0.1 port={first.port} user=postgres"
            program("pg_basebackup", "-D", self.place / f"p{nth}", "-d", source, "-R", "-c", "fast", "--no-sync")
            other.start()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()
        shutil.rmtree(self.place, ignore_errors=True)

    def at(self, place: str = "postgres/events", user: str = "postgres") -> str:
        """Give the URL of the sink, by way of the proxies."""
        hosts = ",".join(f"127.0.0.1:{server.proxy.port}" for server in self.servers)
        return f"postgres://{user}@{hosts}/{place}"

    def connect(self, server: Server | None = None, **options: Any) -> "psycopg.Connection[tuple[Any, ...]]":
        """Connect to a server, past its proxy."""
        port = (server or self.servers[0]).port
        who = {"user": "postgres", "dbname": "postgres", "connect_timeout": 10, **options}
        return psycopg.connect(host="127.0.0.1", port=port, autocommit=True, **who)

    def ask(self, sql: str, server: Server | None = None) -> list[tuple[Any, ...]]:
        """Run a statement; give its rows."""
        with self.connect(server) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def make(self, table: str, columns: str = "") -> None:
        """Make a table as the options' defaults expect it, or with these columns."""
        self.ask(f"CREATE TABLE {table} ({columns})" if columns else EVENTS.format(table))

    def numbers(self, table: str) -> list[int]:
        """Give the numbers of the records in a table, in the order in which rows came."""
        rows = self.ask(f"SELECT payload FROM {table} ORDER BY n")
        return [row[0]["n"] if isinstance(row[0], dict) else json.loads(row[0])["n"] for row in rows]


@contextmanager
def serving(settings: str = "", access: str = "", standbys: int = 0) -> Iterator[Postgres]:
    """Run servers until the block ends."""
    servers = Postgres(settings, access, standbys)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


class PostgresBroker:
    """What the proof of all brokers asks of this one."""

    once = True
    ordered = True

    def __init__(self, servers: Postgres, lanes: int = 1) -> None:
        self.postgres = servers
        self.servers = servers.servers
        self.lanes = lanes
        servers.make("events")

    def url(self) -> str:
        return self.postgres.at() + "?timeout=2&connect_timeout=2"

    def arguments(self) -> list[str]:
        return ["-o", "order=key", "-o", f"max_in_flight={self.lanes}"] if self.lanes > 1 else []

    def settle(self) -> None:
        patiently(lambda: self.postgres.ask("SELECT 1"))

    def change_leader(self) -> bool:
        return False

    def read_back(self) -> list[Arrived]:
        rows = self.postgres.ask("SELECT payload, key FROM events ORDER BY n")
        return [Arrived(payload["n"], key, "events") for payload, key in rows]
