"""What the command line puts into Apache Kafka, read back by a client that others wrote."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from cluster import JAVA, Cluster
from confluent_kafka import Producer
from conftest import JARS, ROOT, command, run

needs_kafka = pytest.mark.skipif(not JARS.exists(), reason="Java 17 and Maven are missing, and so is Kafka")
pytestmark = needs_kafka


def lines(path: Path, count: int, keys: int = 11, size: int = 0) -> Path:
    """Write records with numbers and keys."""
    pad = "x" * size
    with path.open("w") as out:
        for n in range(count):
            out.write(json.dumps({"n": n, "key": f"k{n % keys}", "pad": pad}) + "\n")
    return path


def put(kafka: Cluster, place: Path, path: Path, topic: str, options: str = "", *more: str) -> str:
    """Put a file into a topic; what the command says."""
    url = f"kafka://{kafka.brokers}/{topic}?{options}"
    done = run("put", place, path, "--to", url, "--format", "ndjson", "--key", "key", "--timeout", "60", *more)
    assert done.returncode == 0, done.stderr
    return done.stderr


def numbers(kafka: Cluster, topic: str) -> list[int]:
    return sorted(json.loads(message.value())["n"] for _, message in kafka.read(topic))


def test_records_arrive_with_all_that_they_carry(tmp_path: Path, kafka: Cluster) -> None:
    topic, other = kafka.create("carried"), kafka.create("carried-elsewhere")
    path = tmp_path / "in"
    record = {"n": 1, "key": "schlüssel", "headers": {"traceparent": "00-ab", "h": "v"}, "id": "first"}
    elsewhere = {"n": 2, "key": "k", "topic": other, "id": "second"}
    path.write_text(json.dumps(record) + "\n" + json.dumps(elsewhere) + "\n")
    fields = ("--headers-field", "headers", "--id", "id", "--topic-field", "topic")
    before = int(time.time() * 1000)
    put(kafka, tmp_path / "outbox", path, topic, "id_header=record-id", *fields)
    ((_, message),) = kafka.read(topic)
    assert (message.key().decode(), json.loads(message.value())) == ("schlüssel", record)
    expected = [("traceparent", b"00-ab"), ("h", b"v"), ("record-id", b"first")]
    assert sorted(message.headers()) == sorted(expected)
    kind, at = message.timestamp()
    assert kind == 1
    assert before - 1000 <= at <= time.time() * 1000
    ((_, message),) = kafka.read(other)
    assert json.loads(message.value())["n"] == 2


def test_keys_go_where_others_put_them(tmp_path: Path, kafka: Cluster) -> None:
    ours, theirs = kafka.create("keys-ours", 7), kafka.create("keys-theirs", 7)
    put(kafka, tmp_path / "outbox", lines(tmp_path / "in", 500, keys=200), ours)
    producer = Producer({**kafka.direct, "partitioner": "murmur2_random"})
    for n in range(200):
        producer.produce(theirs, b"", key=f"k{n}")
    assert producer.flush(30) == 0
    places = [{message.key(): partition for partition, message in kafka.read(topic)} for topic in (ours, theirs)]
    assert places[0] == places[1]
    assert set(places[0].values()) == set(range(7))


def test_records_without_keys_are_spread_by_batches(tmp_path: Path, kafka: Cluster) -> None:
    topic = kafka.create("keyless", 4)
    path = tmp_path / "in"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(4000)))
    url = f"kafka://{kafka.brokers}/{topic}"
    done = run("put", tmp_path / "outbox", path, "--to", url, "-o", "max_records=50", "--timeout", "60")
    assert done.returncode == 0, done.stderr
    counts = Counter(partition for partition, _ in kafka.read(topic))
    assert sum(counts.values()) == 4000
    assert len(counts) == 4


@pytest.mark.parametrize("how", ["gzip", "snappy", "lz4", "zstd"])
def test_others_read_what_is_compressed(tmp_path: Path, kafka: Cluster, how: str) -> None:
    topic = kafka.create(f"compressed-{how}")
    put(kafka, tmp_path / "outbox", lines(tmp_path / "in", 2000, size=50), topic, f"compression={how}")
    assert numbers(kafka, topic) == list(range(2000))
    logs = sum(file.stat().st_size for file in kafka.place.glob(f"data-1/{topic}-*/*.log"))
    assert 0 < logs < 2000 * 60


def test_order_of_keys_holds(tmp_path: Path, kafka: Cluster) -> None:
    topic = kafka.create("ordered")
    put(kafka, tmp_path / "outbox", lines(tmp_path / "in", 20_000), topic, "", "-o", "max_records=100")
    last: dict[str, int] = defaultdict(lambda: -1)
    for _, message in kafka.read(topic):
        record = json.loads(message.value())
        assert last[record["key"]] < record["n"]
        last[record["key"]] = record["n"]
    assert len(last) == 11


def test_what_the_topic_finds_too_large_is_found_alone(tmp_path: Path, kafka: Cluster) -> None:
    """Batches are too large for the topic, and one record in the middle is too large even alone."""
    topic = kafka.create("small", 1, max_message_bytes="5000")
    path = tmp_path / "in"
    path.write_text(
        "".join(json.dumps({"n": n, "key": "k", "pad": "x" * (9000 if n == 317 else 20)}) + "\n" for n in range(600))
    )
    url = f"kafka://{kafka.brokers}/{topic}"
    done = run("put", tmp_path / "outbox", path, "--format", "ndjson", "--key", "key", "--to", url, "--timeout", "60")
    assert done.returncode == 7, done.stderr
    assert "dead letters: 1" in done.stderr
    letters = run("dead-letters", "list", tmp_path / "outbox").stdout
    assert "MESSAGE_TOO_LARGE" in letters or "MESSAGE_TOO_LARGE" in done.stderr, letters
    arrived = [json.loads(message.value())["n"] for _, message in kafka.read(topic)]
    assert arrived == [n for n in range(600) if n != 317]


def test_a_record_that_the_broker_refuses_is_found_alone(tmp_path: Path, kafka: Cluster) -> None:
    """A topic that is compacted takes no record without a key."""
    topic = kafka.create("compacted", 1, cleanup_policy="compact")
    path = tmp_path / "in"
    path.write_text("".join(json.dumps({"n": n} | ({} if n == 41 else {"key": "k"})) + "\n" for n in range(100)))
    records = tmp_path / "records"
    records.write_text(
        "".join(
            json.dumps({"data": json.dumps({"n": n}), **({} if n == 41 else {"key": f"k{n}"})}) + "\n"
            for n in range(100)
        )
    )
    url = f"kafka://{kafka.brokers}/{topic}"
    done = run(
        "put", tmp_path / "outbox", records, "--format", "records", "--to", url, "--timeout", "60", "-o", "order=total"
    )
    assert done.returncode == 7, done.stderr
    assert "dead letters: 1" in done.stderr
    assert numbers(kafka, topic) == [n for n in range(100) if n != 41]


def test_a_topic_that_does_not_exist_is_waited_for(tmp_path: Path, kafka: Cluster) -> None:
    path = lines(tmp_path / "in", 100)
    url = f"kafka://{kafka.brokers}/nowhere"
    arguments = ("put", tmp_path / "outbox", path, "--format", "ndjson", "--key", "key", "--to")
    done = run(*arguments, url, "--timeout", "2")
    assert done.returncode == 3, done.stderr
    assert "there is no topic nowhere" in done.stderr
    done = run(*arguments, f"{url}?create_topics=true", "--timeout", "60")
    assert done.returncode == 0, done.stderr
    assert numbers(kafka, "nowhere") == list(range(100))


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for url, words in [
        ("kafka://h/t?once=transactions", "no transactions"),
        ("kafka://h:x/t", "host:9092"),
        ("kafka://h/t%20t", "letters, digits"),
        ("kafka://h/t?ca_bundle=/etc/x", "tls=true"),
        ("kafka://h/t?password=x", "password_file"),
        ("kafka://h", "names no"),
    ]:
        done = run("put", tmp_path / "outbox", "-", "--to", url)
        assert done.returncode in (1, 2), done
        assert words in done.stderr, done.stderr


def test_what_is_sent_again_after_a_lost_answer_is_there_once(tmp_path: Path, kafka: Cluster) -> None:
    """The broker takes requests, its answers are lost, the program is killed and run again."""
    counts = {}
    for once in ("idempotence", "none"):
        topic = kafka.create(f"lost-answers-{once}")
        url = f"kafka://{kafka.brokers}/{topic}?timeout=2&once={once}"
        arguments = (
            "put",
            tmp_path / once,
            lines(tmp_path / "in", 2000),
            "--format",
            "ndjson",
            "--key",
            "key",
            "--to",
            url,
        )
        proxy = kafka.proxies[1]
        # Metadata and the producer id are known when the answers begin to be lost.
        limit = ("-o", "max_rate_records=1000", "-o", "max_records=10")
        process = subprocess.Popen(command(*arguments, *limit), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda topic=topic: len(numbers(kafka, topic)) > 100)
            proxy.mute()
            time.sleep(0.3)
        finally:
            process.kill()
            process.wait()
        proxy.reset()
        proxy.mend()
        done = run(*arguments, "--timeout", "60")
        assert done.returncode == 0, done.stderr
        arrived = numbers(kafka, topic)
        assert sorted(set(arrived)) == list(range(2000))
        counts[once] = len(arrived)
    assert counts["idempotence"] == 2000
    assert counts["none"] > 2000, "the test lost no answer"


def wait_for(condition: "object", seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_examples_put_what_they_are_given(tmp_path: Path, kafka: Cluster) -> None:
    """Those of C and Python, built as they stand."""
    built = Path(command()[0]).parent
    in_c = tmp_path / "kafka"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT}/include", f"-L{built}"]
    source = f"{ROOT}/ffi/examples/kafka.c"
    subprocess.run(["cc", *flags, "-o", str(in_c), source, "-lunistream", f"-Wl,-rpath,{tmp_path}"], check=True)
    (tmp_path / "libunistream.so.0").symlink_to(built / "libunistream.so")
    package = tmp_path / "python"
    shutil.copytree(ROOT / "python/unistream", package / "unistream")
    shutil.copy(built / "lib_native.so", package / "unistream/_native.abi3.so")
    by_c, by_python = kafka.create("by-c"), kafka.create("by-python")
    url = f"kafka://{kafka.brokers}/{by_c}?compression=lz4"
    example = f"{ROOT}/python/examples/kafka.py"
    for topic, program, text in [
        (by_c, [str(in_c), str(tmp_path / "c"), url], "".join(f'k{n % 9}\t{{"n": {n}}}\n' for n in range(3000))),
        (
            by_python,
            [sys.executable, example, str(tmp_path / "p"), kafka.brokers, by_python, "user"],
            "".join(f'{{"n": {n}, "user": "k{n % 9}"}}\n' for n in range(3000)),
        ),
    ]:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package)}
        done = subprocess.run(
            program, input=text, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("0 left\n")
        assert numbers(kafka, topic) == list(range(3000))
        assert {message.key() for _, message in kafka.read(topic)} == {f"k{n}".encode() for n in range(9)}


def test_every_code_of_the_broker_is_in_the_table(tmp_path: Path) -> None:
    source = tmp_path / "Codes.java"
    source.write_text(
        "import org.apache.kafka.common.protocol.Errors;\n"
        "public class Codes { public static void main(String[] a) {\n"
        '  for (Errors e : Errors.values()) System.out.println(e.code() + " " + e.name());\n'
        "} }\n"
    )
    said = subprocess.run(
        [*JAVA, "-cp", f"{JARS}/*", str(source)], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    theirs = sorted((int(code), name) for code, name in (line.split() for line in said.splitlines()))
    table = (ROOT / "core/src/sink/kafka/codes.rs").read_text()
    ours = sorted(
        (int(code), name) for code, name in re.findall(r'^    \((-?\d+), "([A-Z_]+)", \w+\),$', table, re.MULTILINE)
    )
    assert ours == theirs
