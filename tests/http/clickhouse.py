"""The engine of ClickHouse (chdb) behind the part of its HTTP interface that an insert needs: `clickhouse.py PORT`.

The engine reads the rows, knows the deduplication tokens and makes the errors; what is ours is the way from a request
to the engine, by <https://clickhouse.com/docs/interfaces/http>.
"""

import re
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qsl, urlsplit

from chdb.session import Session

# What the server answers to a code with; to others with 500.
STATUSES = {27: 400, 117: 400, 60: 404, 81: 404}


def settings(parameters: dict[str, str]) -> str:
    """Return the settings of a query as the language writes them."""
    names = [name for name in parameters if name not in ("query", "wait_end_of_query")]
    assert all(re.fullmatch(r"\w+", name) and "'" not in parameters[name] for name in names), parameters
    return ", ".join(f"{name}='{parameters[name]}'" for name in names)


class Handler(BaseHTTPRequestHandler):
    """Passes a query and its rows to the engine."""

    protocol_version = "HTTP/1.1"
    session: Session
    lock = Lock()

    def do_POST(self) -> None:
        """Run a query."""
        parameters = dict(parse_qsl(urlsplit(self.path).query))
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        query = parameters["query"]
        if listed := settings(parameters):
            query = query.replace(" FORMAT ", f" SETTINGS {listed} FORMAT ", 1)
        code, answer = 0, b""
        try:
            with self.lock:
                result = self.session.query(f"{query}\n{body}" if body else query, "TabSeparated")
            answer = result.bytes() if result else b""
        except RuntimeError as error:
            answer = str(error).encode()
            found = re.search(r"Code: (\d+)", str(error))
            code = int(found.group(1)) if found else 1
        self.send_response(STATUSES.get(code, 500) if code else 200)
        self.send_header("X-ClickHouse-Summary", "{}")
        if code:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        Handler.session = Session(place)
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
