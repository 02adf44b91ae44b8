"""What the command line puts, read back from servers that others wrote, directly and through proxies of others."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BIN, COMMAND, ROOT, ClickHouse, Elastic, command, run
from servers import free_port, running
from service import Headers, serving


def all_once(elastic: Elastic, index: str) -> None:
    assert sorted(document["n"] for document in elastic.documents(index)) == list(range(5000))


def test_elastic_takes_what_we_put(tmp_path: Path, elastic: Elastic, numbers: Path) -> None:
    done = run("put", tmp_path / "outbox", numbers, "--to", f"{elastic.url}/plain?preset=elastic")
    assert done.returncode == 0, done.stderr
    all_once(elastic, "plain")


def test_each_document_is_there_once_when_the_program_is_killed_on_the_way(
    tmp_path: Path, elastic: Elastic, numbers: Path
) -> None:
    url = f"{elastic.url}/killed?preset=elastic&max_call_records=20"
    # Not faster than it can be killed.
    put = command("put", tmp_path / "outbox", numbers, "--to", url, "-o", "max_rate_records=2500")
    kills = 0
    for _ in range(20):
        before = len(elastic.documents("killed"))
        process = subprocess.Popen(put, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if kills < 2 and len(elastic.documents("killed")) > before + 100:
                process.kill()
        assert process.wait(60) in (0, -9)
        if process.returncode == 0:
            break
        kills += 1
        assert len(elastic.documents("killed")) < 5000
    assert (process.returncode, kills) == (0, 2)
    all_once(elastic, "killed")


def test_clickhouse_has_each_row_once_when_the_program_is_killed_on_the_way(
    tmp_path: Path, clickhouse: ClickHouse, numbers: Path
) -> None:
    engine = "MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 1000"
    clickhouse.ask(f"CREATE TABLE killed (n Int64) ENGINE = {engine}")
    put = command("put", tmp_path / "outbox", numbers, "--to", f"{clickhouse.url}/killed?preset=clickhouse")

    def rows() -> int:
        return int(clickhouse.ask("SELECT count() FROM killed"))

    kills = 0
    for _ in range(20):
        before = rows()
        process = subprocess.Popen(put, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if kills < 2 and rows() > before:
                process.kill()
        assert process.wait(60) in (0, -9)
        if process.returncode == 0:
            break
        kills += 1
    assert (process.returncode, rows()) == (0, 5000)
    assert kills > 0
    assert int(clickhouse.ask("SELECT count(DISTINCT n) FROM killed")) == 5000


def test_a_row_that_does_not_fit_is_found_alone(tmp_path: Path, clickhouse: ClickHouse) -> None:
    clickhouse.ask("CREATE TABLE mixed (n Int64) ENGINE = MergeTree ORDER BY n")
    path = tmp_path / "mixed.ndjson"
    path.write_text("".join('{"n": "x"}\n' if n == 317 else f'{{"n": {n}}}\n' for n in range(500)))
    url = f"{clickhouse.url}/mixed?preset=clickhouse"
    done = run("put", tmp_path / "outbox", path, "--to", url)
    assert done.returncode == 7, done.stderr
    assert "dead letters: 1" in done.stderr
    assert int(clickhouse.ask("SELECT count() FROM mixed")) == 499
    done = run("put", tmp_path / "none", path, "--to", f"{clickhouse.url}/nowhere?preset=clickhouse", "--timeout", "2")
    assert done.returncode == 3, done.stderr
    assert "UNKNOWN_TABLE" in done.stderr


def test_the_examples_put_what_they_are_given(tmp_path: Path, elastic: Elastic, numbers: Path) -> None:
    """Those of Rust and C, built as they stand; Python's is run in tests/python."""
    built = Path(COMMAND).parent
    in_c = tmp_path / "elastic"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT}/include", f"-L{built}"]
    source = f"{ROOT}/ffi/examples/elastic.c"
    subprocess.run(["gcc", *flags, "-o", str(in_c), source, "-lunistream", f"-Wl,-rpath,{tmp_path}"], check=True)
    (tmp_path / "libunistream.so.0").symlink_to(built / "libunistream.so")
    for name, program, url in [
        ("rust", built / "examples" / "elastic", f"{elastic.url}/example-rust"),
        ("c", in_c, f"{elastic.url}/example-c?preset=elastic&use_environment=false"),
    ]:
        given = [str(program), str(tmp_path / name), url]
        with numbers.open("rb") as lines:
            done = subprocess.run(given, stdin=lines, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("0 left\n")
        all_once(elastic, f"example-{name}")


def test_what_splunk_has_not_acknowledged_is_sent_again_after_a_kill(tmp_path: Path) -> None:
    """A collector of ours, by the documentation, that acknowledges nothing until the program was killed."""
    events: dict[int, list[int]] = {}
    lost: set[int] = set()
    is_well = False

    def answer(path: str, headers: Headers, body: bytes) -> tuple[int, bytes]:
        assert len(headers["x-splunk-request-channel"]) == 36
        if path.endswith("/ack"):
            acks = {str(ack): ack in events and ack not in lost for ack in json.loads(body)["acks"]}
            return 200, json.dumps({"acks": acks}).encode()
        number = len(events) + 1
        if not is_well:
            lost.add(number)
        events[number] = [json.loads(line)["event"]["n"] for line in body.splitlines()]
        return 200, json.dumps({"text": "Success", "code": 0, "ackId": number}).encode()

    path = tmp_path / "events.ndjson"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(1000)))
    with serving(answer) as url:
        put = command("put", tmp_path / "outbox", path, "--to", f"{url}?preset=splunk_hec&acknowledge=true")
        process = subprocess.Popen(put, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while sum(map(len, events.values())) < 1000 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        process.wait()
        is_well = True
        done = run(*put[1:])
    assert done.returncode == 0, done.stderr
    kept = [n for number, taken in events.items() if number not in lost for n in taken]
    assert sorted(kept) == list(range(1000))


def nginx(place: Path, port: int, server: str) -> list[str]:
    """Return the command of an nginx with this server section, and all its files in a place of its own."""
    temporary = " ".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {place}/pid; error_log {place}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}{server} }} }}\n"
    )
    return ["nginx", "-c", str(place / "nginx.conf"), "-p", str(place)]


def test_a_proxy_that_takes_no_large_bodies(tmp_path: Path, elastic: Elastic, numbers: Path) -> None:
    port = free_port()
    server = f"; client_max_body_size 16k; location / {{ proxy_pass {elastic.url}; }}"
    with running(nginx(tmp_path, port, server), port, tmp_path / "log"):
        url = f"http://127.0.0.1:{port}/small?preset=elastic"
        done = run("put", tmp_path / "outbox", numbers, "--to", url)
    assert done.returncode == 0, done.stderr
    all_once(elastic, "small")


def test_tls_ends_at_a_proxy(tmp_path: Path, elastic: Elastic, numbers: Path) -> None:
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subject += ["-addext", "basicConstraints=critical,CA:FALSE"]
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *subject], check=True, capture_output=True
    )
    port = free_port()
    keys = f"ssl_certificate {tmp_path}/cert; ssl_certificate_key {tmp_path}/key"
    server = f" ssl; {keys}; client_max_body_size 50m; location / {{ proxy_pass {elastic.url}; }}"
    with running(nginx(tmp_path, port, server), port, tmp_path / "log"):
        url = f"https://localhost:{port}/tls?preset=elastic&ca_bundle={tmp_path}/cert"
        done = run("put", tmp_path / "outbox", numbers, "--to", url)
    assert done.returncode == 0, done.stderr
    all_once(elastic, "tls")


def test_an_error_page_of_a_proxy_is_an_outage(tmp_path: Path, elastic: Elastic, numbers: Path) -> None:
    port, nobody = free_port(), free_port()
    server = "; client_max_body_size 50m; location / { proxy_pass http://127.0.0.1:%s; }"
    url = f"http://127.0.0.1:{port}/outage?preset=elastic"
    with running(nginx(tmp_path, port, server % nobody), port, tmp_path / "log"):
        done = run("put", tmp_path / "outbox", numbers, "--to", url, "--timeout", "2")
    assert done.returncode == 3, done.stderr
    assert "502" in done.stderr
    with running(nginx(tmp_path, port, server % elastic.port), port, tmp_path / "log"):
        done = run("drain", tmp_path / "outbox", "--to", url)
    assert done.returncode == 0, done.stderr
    all_once(elastic, "outage")


@pytest.mark.parametrize("password", [None, "quiet"])
def test_through_a_forward_proxy(tmp_path: Path, elastic: Elastic, numbers: Path, password: str | None) -> None:
    port = free_port()
    (tmp_path / "tinyproxy.conf").write_text(
        f'Port {port}\nListen 127.0.0.1\nTimeout 60\nLogLevel Connect\nLogFile "{tmp_path}/proxy.log"\n'
        + (f"BasicAuth me {password}\n" if password else "")
    )
    index = f"proxied-{password}".lower()
    url = f"{elastic.url}/{index}?preset=elastic"
    with running(["tinyproxy", "-d", "-c", str(tmp_path / "tinyproxy.conf")], port, tmp_path / "log"):
        user = f"me:{password}@" if password else ""
        proxy = f"http://{user}127.0.0.1:{port}"
        done = run("put", tmp_path / "outbox", numbers, "--to", url, http_proxy=proxy)
    assert done.returncode == 0, done.stderr
    assert "CONNECT" in (tmp_path / "proxy.log").read_text()
    all_once(elastic, index)


def test_otlp_in_protobuf(tmp_path: Path) -> None:
    port = free_port()
    lines = ["plain", '{"n": 1}', "\u00fcn\u00ef"]
    path = tmp_path / "lines"
    path.write_text("".join(line + "\n" for line in lines))
    with running([str(BIN / "oteltap"), "--port", str(port)], port, tmp_path / "log"):
        url = f"http://127.0.0.1:{port}/?preset=otlp_logs&fields=service.name%3Dweb"
        done = run("put", tmp_path / "outbox", path, "--to", url)
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + 30
        while len(taken := bodies(tmp_path / "log")) < len(lines):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
    assert taken == lines


def bodies(log: Path) -> list[str]:
    records = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [record["body"]["stringValue"] for record in records]
