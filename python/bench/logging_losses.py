"""What handlers of `logging` lose when a process is killed, forks or ends, and when the server is down.

Each handler runs in a program of its own, against a server on loopback that counts what arrives. After it a second
program is started that has the same handler and logs nothing, as a service is started again. `--write` puts the table
into docs/logging.md.

    target/venv/bin/python python/bench/logging_losses.py [--write]

after `python/bench/run.sh` has installed what is compared with.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import unistream

PAGE = Path(__file__).parents[2] / "docs" / "logging.md"
COUNT = 1000
"""Records that each program logs."""
OUTAGE = 3.0
"""Seconds for which the server is down."""
PATIENCE = 60.0
"""Seconds after which a program that does not end is killed, as who operates it would."""
SHARED = any(row["key"] == "shared" for row in unistream.options())

COMMON = """
import logging, logging.handlers, os, queue, signal, sys, time
URL = sys.argv[1]
def start():
{start}
def log(first, last):
    longest = 0.0
    for number in range(first, last):
        began = time.perf_counter()
        logging.info("record %d", number)
        longest = max(longest, time.perf_counter() - began)
    return longest
def ready():
    logging.info("started")
    time.sleep(1)
    print("ready", flush=True)
    sys.stdin.readline()
handler = start()
logging.basicConfig(handlers=[handler], level=logging.INFO)
logging.getLogger("urllib3").propagate = logging.getLogger("botocore").propagate = False
"""

WATCHTOWER = """
    import boto3, watchtower
    client = boto3.client("logs", endpoint_url=URL, region_name="eu-central-1",
                          aws_access_key_id="key", aws_secret_access_key="secret")
    return watchtower.CloudWatchLogHandler("group", "stream", boto3_client=client)
"""
LOKI = """
    import logging_loki
    return logging_loki.LokiHandler(URL + "/loki/api/v1/push", version="1")
"""
QUEUE = """
    import atexit
    records = queue.Queue(-1)
    listener = logging.handlers.QueueListener(records, logging.handlers.HTTPHandler(URL[7:], "/form", "POST"))
    listener.start()
    atexit.register(listener.stop)
    return logging.handlers.QueueHandler(records)
"""
OURS = f"""
    import unistream.logging
    return unistream.logging.Handler("outbox", URL + "/loki/api/v1/push?preset=loki", linger=0.05,
                                     schedule_max=1{", shared=True" if SHARED else ""})
"""

SCENARIOS = {
    "kill -9": "log(0, {count})\nos.kill(os.getpid(), signal.SIGKILL)",
    "exit": "log(0, {count})",
    "fork": """
import multiprocessing
log(0, {count} // 2)
child = multiprocessing.get_context("fork").Process(target=log, args=({count} // 2, {count}))
child.start()
child.join(30)
child.kill()
""",
    "outage": "ready()\nprint(log(0, {count}), flush=True)\ntime.sleep({outage} + 6)",
    "outage, then exit": "ready()\nprint(log(0, {count}), flush=True)",
}


class Server:
    """Counts the records that arrive in the forms of Loki, CloudWatch Logs and `HTTPHandler`."""

    def __init__(self) -> None:
        """Take a free port, without listening yet."""
        self.seen: set[int] = set()
        self._server: ThreadingHTTPServer | None = None
        self._connections: list[socket.socket] = []
        self.open()
        assert self._server is not None
        self.port = self._server.server_address[1]

    def open(self, port: int = 0) -> None:
        """Listen."""
        seen, connections = self.seen, self._connections

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                connections.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                # A form has a plus for a space.
                seen.update(int(number) for number in re.findall(rb"record[ +](\d+)", body))
                answer = b"{}" if "X-Amz-Target" in self.headers else b""
                self.send_response(200 if answer else 204)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()


def run(start: str, scenario: str, folder: Path) -> tuple[int, str]:
    """Run a scenario and the start after it; return how many records never arrived, and a remark."""
    server = Server()
    down = scenario.startswith("outage")
    program = COMMON.format(start=start) + SCENARIOS[scenario].format(count=COUNT, outage=OUTAGE)
    command = [sys.executable, "-c", program, f"http://127.0.0.1:{server.port}"]
    remark = ""
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        if down:
            # What worked until now works no more.
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "ready\n", (folder / "stderr").read_text()
            server.close()
            process.stdin.write("\n")
        back = threading.Timer(OUTAGE, server.open, [server.port])
        if scenario == "outage":
            back.start()
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            remark = f", does not end within {PATIENCE:.0f} s"
    if scenario == "kill -9":
        assert process.returncode == -signal.SIGKILL
    if scenario == "outage":
        back.join()
    elif down:
        server.open(server.port)
    if down and said.strip():
        remark += f"; longest call {float(said) * 1e3:,.0f} ms"
    again = COMMON.format(start=start) + "time.sleep(3)"
    subprocess.run([sys.executable, "-c", again, *command[3:]], cwd=folder, check=False, timeout=PATIENCE)
    deadline = time.monotonic() + 5
    while len(server.seen) < COUNT and time.monotonic() < deadline:
        time.sleep(0.05)
    server.close()
    assert server.seen <= set(range(COUNT))
    return COUNT - len(server.seen), remark


def main() -> None:
    """Run them all and print the table."""
    handlers = {
        f"watchtower {version('watchtower')}": WATCHTOWER,
        f"python-logging-loki {version('python-logging-loki')}, `LokiHandler`": LOKI,
        "`QueueHandler`, `QueueListener`, `HTTPHandler`": QUEUE,
        f"`unistream.logging.Handler`{', `shared`' if SHARED else ''}": OURS,
    }
    lines = [f"| of {COUNT} records, lost | {' | '.join(SCENARIOS)} |", "|---" * (len(SCENARIOS) + 1) + "|"]
    for name, start in handlers.items():
        cells = []
        for scenario in SCENARIOS:
            with tempfile.TemporaryDirectory() as folder:
                lost, remark = run(start, scenario, Path(folder))
            cells.append(f"{lost}{remark}")
            print(name, scenario, cells[-1], file=sys.stderr)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    print(table)
    (Path(__file__).parents[2] / "target" / "bench").mkdir(parents=True, exist_ok=True)
    (Path(__file__).parents[2] / "target" / "bench" / "losses.json").write_text(json.dumps(lines))
    if "--write" in sys.argv:
        marks = re.compile(r"(<!-- made by python/bench/logging_losses.py -->\n).*?(\n<!-- end -->)", re.DOTALL)
        text, found = marks.subn(lambda match: match[1] + table + match[2], PAGE.read_text())
        assert found == 1
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
