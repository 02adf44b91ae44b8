"""Servers whose workers share an outbox: killed, reloaded, more and fewer, master and all; nothing is lost."""

import contextlib
import http.client
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import unistream
from conftest import Appends, drain_outbox, wait_until
from service import Headers, serving

SENDS = """
import os, unistream

def send(batch):
    descriptor = os.open(os.environ["TARGET"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"".join(record.data + b"\\n" for record in batch))
    os.close(descriptor)

def opened():
    return unistream.Producer(os.environ["OUTBOX"], send, shared=True, linger=0.05)
"""

WSGI = (
    SENDS
    + """
producer = opened()

def application(environ, start_response):
    producer.put(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    return [b"ok"]
"""
)

ASGI = (
    SENDS
    + """
producer = opened()

async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    producer.put(scope["query_string"])
    headers = [(b"content-type", b"text/plain"), (b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
"""
)


class UnixConnection(http.client.HTTPConnection):
    """HTTP through a socket in the filesystem: no port to share with anybody."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self.path))


def install(*packages: str) -> None:
    """Install packages of Debian that a test needs, by the command that each has; without them it fails."""
    subprocess.run([Path(__file__).parents[1] / "packages.sh", *packages], check=True)


def of_the_system(folder: Path) -> Path:
    """Return where the package lies for the system's Python and other users."""
    site = folder / "site"
    if not site.exists():
        package = Path(unistream.__file__).parent
        shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    return site


class Server:
    """A server, and how it is told things."""

    application = WSGI
    user: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = folder / "socket"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def connect(self) -> http.client.HTTPConnection:
        return UnixConnection(self.address)

    def start(self, outbox: Path, target: Path) -> None:
        (self.folder / "application.py").write_text(self.application)
        # Of one that was killed.
        self.address.unlink(missing_ok=True)
        environment = os.environ | {"TARGET": str(target), "OUTBOX": str(outbox)}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                user=self.user,
                start_new_session=True,
            )

    def tell(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def reload(self) -> None:
        self.tell(signal.SIGHUP)

    def grow(self) -> None:
        self.tell(signal.SIGTTIN)

    def shrink(self) -> None:
        self.tell(signal.SIGTTOU)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_all(self) -> None:
        """Kill the master and all that is left of its workers."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.tell(signal.SIGTERM)
        return self.process.wait(60)


class Gunicorn(Server):
    """The master opens the producer and forks."""

    def __init__(self, folder: Path, worker: str) -> None:
        super().__init__(folder)
        self.worker = worker
        if "uvicorn" in worker:
            self.application = ASGI

    def command(self) -> list[str]:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "gunicorn", "--preload", "-k", self.worker]
        command += ["-w", "3", "--threads", "3", "--bind", f"unix:{self.address}", "--graceful-timeout", "20"]
        return [*command, "application:application"]


class Uvicorn(Server):
    """Its workers are spawned, not forked: each opens the producer itself."""

    application = ASGI

    def command(self) -> list[str]:
        command = [sys.executable, "-m", "uvicorn", "--workers", "3", "--uds", str(self.address)]
        return [*command, "--no-access-log", "application:application"]


class Uwsgi(Server):
    """The master loads the application and forks, in C.

    It is told to reload its workers, because it would load itself anew from a program of its own, which the wheel does
    not have.
    """

    def python(self) -> list[str]:
        return [str(Path(sys.executable).with_name("uwsgi")), "--virtualenv", sys.prefix]

    def command(self) -> list[str]:
        command = [*self.python(), "--master", "--enable-threads", "--die-on-term"]
        command += ["--http-socket", str(self.address), "--need-app", "--no-orphans"]
        command += ["--workers", "5", "--cheaper", "2", "--cheaper-initial", "3", "--master-fifo", "fifo"]
        return [*command, "--disable-logging", "--module", "application"]

    def order(self, what: bytes) -> None:
        descriptor = os.open(self.folder / "fifo", os.O_WRONLY)
        os.write(descriptor, what)
        os.close(descriptor)

    def reload(self) -> None:
        self.order(b"w")

    def grow(self) -> None:
        self.order(b"+")

    def shrink(self) -> None:
        self.order(b"-")


class UwsgiOfDebian(Uwsgi):
    """Its master closes all files and executes itself anew when it is told to reload."""

    program = Path("/usr/bin/uwsgi-core")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        plugin = "/usr/lib/uwsgi/plugins/python3_plugin.so"
        install(f"{self.program}=uwsgi-core", f"{plugin}=uwsgi-plugin-python3")

    def python(self) -> list[str]:
        # Its Python is the system's.
        return [str(self.program), "--plugin", "python3", "--pythonpath", str(of_the_system(self.folder))]

    def reload(self) -> None:
        self.order(b"r")
        wait_until(lambda: "binary reloading" in self.log.read_text(), 30)


class Apache(Server):
    """Apache with mod_wsgi, as Debian has them: in its own processes, or in daemons of mod_wsgi."""

    program = Path("/usr/sbin/apache2")
    modules = Path("/usr/lib/apache2/modules")

    def __init__(self, folder: Path, mode: str) -> None:
        super().__init__(folder)
        self.mode = mode
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.processes = 3
        install(f"{self.program}=apache2", f"{self.modules}/mod_wsgi.so=libapache2-mod-wsgi-py3")
        if os.geteuid() == 0:
            # It refuses to run as root.
            self.user = "www-data"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def command(self) -> list[str]:
        # Its Python is the system's; the package is where its user may read it.
        of_the_system(self.folder)
        self.configure()
        if self.user is not None:
            owner = pwd.getpwnam(self.user)
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(path, owner.pw_uid, owner.pw_gid)
        return [str(self.program), "-f", str(self.folder / "conf"), "-D", "FOREGROUND"]

    def configure(self) -> None:
        folder, processes = self.folder, self.processes
        lines = [
            f"ServerRoot {folder}",
            "ServerName localhost",
            f"Listen 127.0.0.1:{self.port}",
            "PidFile pid",
            "DefaultRuntimeDir .",
            "ErrorLog log",
            f"Mutex file:{folder}",
            *(
                f"LoadModule {name}_module {self.modules}/mod_{name}.so"
                for name in ("mpm_prefork", "authz_core", "wsgi")
            ),
            f"StartServers {processes}",
            "MinSpareServers 1",
            f"MaxSpareServers {processes + 1}",
            f"MaxRequestWorkers {processes + 2}",
            # Processes end after some requests, and others take their place.
            "MaxConnectionsPerChild 100",
            f"WSGISocketPrefix {folder}/wsgi",
            f"WSGIScriptAlias / {folder}/application.py",
            # Extensions in Rust do not run in Python's sub-interpreters.
            "WSGIApplicationGroup %{GLOBAL}",
            f"<Directory {folder}>",
            "Require all granted",
            "</Directory>",
        ]
        if self.mode == "daemon":
            lines.append(f"WSGIDaemonProcess app processes={processes} threads=3 python-path={folder}/site")
            lines.append("WSGIProcessGroup app")
        else:
            lines.append(f"WSGIPythonPath {folder}/site")
        (folder / "conf").write_text("\n".join(lines) + "\n")

    def change(self, processes: int) -> None:
        self.processes = processes
        self.configure()
        self.tell(signal.SIGUSR1)

    def grow(self) -> None:
        self.change(self.processes + 1)

    def shrink(self) -> None:
        self.change(self.processes - 1)


class Clients:
    """Threads that put without a pause, and remember what was acknowledged and by whom."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.acknowledged: list[str] = []
        self.pids: set[int] = set()
        self.over = False
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(4)]
        for thread in self.threads:
            thread.start()

    def run(self, number: int) -> None:
        count = 0
        while not self.over:
            count += 1
            with (
                contextlib.suppress(OSError, http.client.HTTPException),
                contextlib.closing(self.server.connect()) as connection,
            ):
                connection.request("GET", f"/?{number}-{count}")
                response = connection.getresponse()
                if response.status == 200:
                    self.pids.add(int(response.headers["X-Pid"]))
                    self.acknowledged.append(f"{number}-{count}")
            time.sleep(0.002)

    def more(self, count: int = 40) -> None:
        """Wait until some more were acknowledged."""
        wanted = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= wanted, 60)

    def stop(self) -> None:
        self.over = True
        for thread in self.threads:
            thread.join()


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that other users may enter: not every server runs as root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


KINDS: dict[str, Any] = {
    "gunicorn-sync": lambda folder: Gunicorn(folder, "sync"),
    "gunicorn-gthread": lambda folder: Gunicorn(folder, "gthread"),
    "gunicorn-gevent": lambda folder: Gunicorn(folder, "gevent"),
    "gunicorn-uvicorn": lambda folder: Gunicorn(folder, "uvicorn_worker.UvicornWorker"),
    "uvicorn": Uvicorn,
    "uwsgi": Uwsgi,
    "uwsgi-debian": UwsgiOfDebian,
    "mod_wsgi": lambda folder: Apache(folder, "embedded"),
    "mod_wsgi-daemon": lambda folder: Apache(folder, "daemon"),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
def test_servers(kind: str, folder: Path) -> None:
    """Workers and master are killed, reloaded, become more and fewer; each request that was answered is delivered."""
    outbox, appends = folder / "outbox", Appends(folder / "delivered")
    server: Server = KINDS[kind](folder)
    server.start(outbox, appends.path)
    clients = Clients(server)
    try:
        clients.more()
        for victim in list(clients.pids):
            kill(victim)
            clients.more()
        for told in (server.reload, server.grow, server.shrink, server.shrink):
            told()
            clients.more()
        clients.pids.clear()
        clients.more()
        server.kill()
        # The workers of a master that is gone end by themselves, of most servers.
        deadline = time.monotonic() + 3
        while any(map(is_there, clients.pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        server.kill_all()
        wait_until(lambda: not any(map(is_there, clients.pids)))
        server.start(outbox, appends.path)
        clients.more()
        assert server.stop() in {0, -signal.SIGTERM}, server.log.read_text()
    finally:
        clients.stop()
        server.kill_all()
    if server.user is not None:
        # The outbox is that user's.
        for path in [outbox, *outbox.rglob("*")]:
            os.chown(path, 0, 0)
    drain_outbox(outbox, appends)
    lost = set(clients.acknowledged) - set(appends.lines)
    assert not lost, (len(lost), server.log.read_text())
    assert len(clients.acknowledged) > 300


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["app", "orders"])
@pytest.mark.parametrize("preload", [False, True])
def test_the_page_on_gunicorn(name: str, preload: bool, folder: Path) -> None:
    """Its two programs, with a service of HTTP in place of the one that it names: three workers, one of them killed."""
    page = (Path(__file__).parents[2] / "docs/how-to/gunicorn.md").read_text()
    [program] = re.findall(rf"```python\n(# {name}\.py\n.*?)```", page, re.DOTALL)
    url = "cloudwatch-logs://shop/web?create_if_missing=true"
    assert (name == "app") == (url in program)
    target = folder / f"{name}.txt"

    def answer(_path: str, _headers: Headers, body: bytes) -> tuple[int, bytes]:
        with target.open("ab", buffering=0) as file:
            file.write(body)
        return 200, b""

    with serving(answer) as service:
        run_the_page(program.replace(url, service), preload, folder, target)
        if name == "app":
            drain_outbox(folder / "logs-outbox", unistream.sink(service))
        else:
            drain_outbox(folder / "orders-outbox", Appends(target))
    arrived = target.read_text()
    # One request may have met the worker that was killed.
    assert sum(f"/cart-{number}" in arrived for number in range(60)) >= 59


def run_the_page(program: str, preload: bool, folder: Path, target: Path) -> None:
    """Run a program with three workers, ask it for sixty pages, and kill a worker on the way."""

    class OfThePage(Server):
        application = program

        def command(self) -> list[str]:
            command = [sys.executable, "-m", "gunicorn", "--workers", "3", "--bind", f"unix:{self.address}"]
            return [*command, *["--preload"] * preload, "application:application"]

    server = OfThePage(folder)
    server.start(folder, target)
    try:
        wait_until(lambda: server.address.exists() and len(children(server)) == 3)
        for number in range(60):
            if number == 30:
                kill(min(children(server)))
            lost_worker = contextlib.suppress(OSError, http.client.HTTPException)
            with lost_worker, contextlib.closing(server.connect()) as connection:
                connection.request("GET", f"/cart-{number}?user=7")
                assert connection.getresponse().read()
        assert server.stop() == 0, server.log.read_text()
    finally:
        server.kill_all()


def children(server: Server) -> list[int]:
    """Return the workers of a server."""
    assert server.process is not None
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


TASKS = (
    SENDS
    + """
import celery

# Who only sends tasks needs none.
producer = opened() if "OUTBOX" in os.environ else None
app = celery.Celery("application", broker=os.environ["BROKER"])
app.conf.update(
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)

@app.task(name="put")
def put(text):
    producer.put(text)
    line = f"{text} {os.getpid()}\\n".encode()
    descriptor = os.open(os.environ["ACKNOWLEDGED"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, line)
    os.close(descriptor)
"""
)


@pytest.mark.deep
@pytest.mark.timeout(180)
def test_celery(folder: Path) -> None:
    """Its prefork pool: the worker opens the producer when it imports the tasks, and forks.

    With a broker such as Redis, because with those that Celery cannot poll a killed process of the pool may hold the
    others up.
    """
    install("redis-server")
    outbox, appends, acknowledged = folder / "outbox", Appends(folder / "delivered"), Appends(folder / "acknowledged")
    (folder / "application.py").write_text(TASKS)
    of_clients = os.environ | {"BROKER": f"redis+socket://{folder}/redis"}
    environment = of_clients | {
        "TARGET": str(appends.path),
        "OUTBOX": str(outbox),
        "ACKNOWLEDGED": str(acknowledged.path),
    }
    sends = "import sys; from application import put\nfor line in sys.stdin: put.delay(line.strip())"
    command = [
        str(Path(sys.executable).with_name("celery")),
        "-A",
        "application",
        "worker",
        "--pool",
        "prefork",
        "-c",
        "3",
    ]
    command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]

    redis_command = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        str(folder / "redis"),
        "--dir",
        str(folder),
        "--save",
        "",
    ]
    redis = subprocess.Popen(redis_command, stdout=subprocess.DEVNULL)

    def start() -> subprocess.Popen[bytes]:
        with (folder / "log").open("a") as log:
            return subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def pids() -> set[int]:
        return {int(line.split()[1]) for line in acknowledged.lines}

    numbers = iter(range(1_000_000))
    sender = subprocess.Popen(
        [sys.executable, "-c", sends], cwd=folder, env=of_clients, stdin=subprocess.PIPE, text=True
    )
    assert sender.stdin is not None

    def more(count: int = 30) -> None:
        """Have some more tasks done. What a killed process was at is not done again."""
        assert sender.stdin is not None
        wanted = len(acknowledged.lines) + count
        deadline = time.monotonic() + 60
        while len(acknowledged.lines) < wanted:
            assert time.monotonic() < deadline, (folder / "log").read_text()
            sender.stdin.write(f"{next(numbers)}\n")
            sender.stdin.flush()
            time.sleep(0.02)

    worker = start()
    try:
        wait_until((folder / "redis").exists)
        more()
        for victim in pids():
            kill(victim)
            more()
        # In place of its SIGHUP, which closes the files of all libraries under them and then executes itself.
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, (folder / "log").read_text()
        worker = start()
        more()
        for grow in ("pool_grow", "pool_shrink"):
            control = [sys.executable, "-c", f"from application import app; app.control.{grow}(1)"]
            subprocess.run(control, cwd=folder, env=of_clients, check=True, timeout=60)
            more()
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        worker = start()
        more()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, (folder / "log").read_text()
    finally:
        sender.stdin.close()
        sender.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        redis.kill()
        redis.wait()
    drain_outbox(outbox, appends)
    done = {line.split()[0] for line in acknowledged.lines}
    lost = done - set(appends.lines)
    assert not lost, (len(lost), (folder / "log").read_text())
    assert len(done) > 150
