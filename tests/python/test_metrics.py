"""What a producer exports: to Prometheus, which scrapes it here, and to OpenTelemetry."""

import gc
import json
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import servers
import unistream
import unistream.opentelemetry
from command import UNISTREAM
from conftest import wait_until
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families
from unistream.prometheus import Collector

HERE = Path(__file__).parent
MONITORING = HERE.parent.parent / "docs" / "monitoring"


@pytest.fixture(scope="session")
def programs() -> Path:
    """Return the folder that prometheus and promtool are in."""
    found = subprocess.run([HERE / "prometheus.sh"], check=True, capture_output=True, text=True)
    return Path(found.stdout.splitlines()[-1])


def samples(text: str) -> dict[str, float]:
    """Return the lines of a text by their names and their state, of one producer."""
    return {
        sample.name + sample.labels.get("state", "") + sample.labels.get("le", ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_text_has_every_counter(path: Path, programs: Path) -> None:
    with unistream.Producer(path, lambda batch: None, max_records=2) as producer:
        producer.put_many([b"one", b"three"])
        producer.flush(timeout=30)
        text = producer.prometheus()
        found = samples(text)
        assert (found["unistream_put_records_total"], found["unistream_delivered_bytes_total"]) == (2, 8)
        assert (found["unistream_staterunning"], found["unistream_statestopped"]) == (1, 0)
        assert found["unistream_sink_latency_seconds_bucket+Inf"] == found["unistream_sink_latency_seconds_count"] == 1
        assert time.time() - 60 < found["unistream_last_success_timestamp_seconds"] < time.time() + 1
        assert f'{{path="{path}"}}' in text
        checked = subprocess.run(
            [programs / "promtool", "check", "metrics"], input=text, capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
    assert samples(producer.prometheus())["unistream_stateclosed"] == 1


def test_stats_say_how_old_how_fast_and_how_long(path: Path) -> None:
    holds = threading.Event()

    def send(batch: unistream.Batch) -> None:
        if not holds.wait(30):
            raise TimeoutError
        time.sleep(0.06)

    with unistream.Producer(path, send, max_records=1) as producer:
        producer.put(b"held", created_at=time.time() - 100)
        producer.put(b"younger")
        wait_until(lambda: producer.stats().in_flight == 1)
        stats = producer.stats()
        # The clock of the age moves in steps.
        assert 99_900 <= stats.oldest_age_ms < 130_000
        assert stats.last_success == stats.sink_calls == 0
        holds.set()
        producer.flush(timeout=30)
        stats = producer.stats()
        assert (stats.oldest_age_ms, stats.in_flight, stats.sink_calls, stats.delivered_bytes) == (0, 0, 2, 11)
        assert stats.sink_calls_50_ms == 0
        assert stats.sink_micros >= 120_000
        assert stats.put_records_per_second > 0
        assert stats.delivered_records_per_second > 0


def test_a_failed_attempt_has_a_time_and_a_lane_that_waits(path: Path) -> None:
    def send(batch: unistream.Batch) -> None:
        raise RuntimeError

    schedule = unistream.Schedule(min=60, max=60, jitter="none")
    with unistream.Producer(path, send, max_records=1, schedule=schedule) as producer:
        producer.put(b"x")
        wait_until(lambda: producer.stats().waiting == 1)
        stats = producer.stats()
        assert abs(stats.last_failure / 1e6 - time.time()) < 30
        assert (stats.last_success, stats.sink_calls) == (0, 1)
        producer.close(timeout=0)


def test_a_collector_has_all_its_producers_and_keeps_none(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    first = unistream.Producer(tmp_path / "a", lambda batch: None)
    second = unistream.Producer(tmp_path / "b", lambda batch: None, shared=True)
    collector = Collector(first, registry=registry)
    collector.add(second)
    first.put(b"x")
    text = generate_latest(registry).decode()
    assert f'unistream_put_records_total{{path="{tmp_path}/a"}} 1.0' in text
    assert f'unistream_put_records_total{{path="{tmp_path}/b",slot="slot-0"}} 0.0' in text
    assert text.count("# TYPE unistream_put_records_total counter") == 1
    assert registry.get_sample_value("unistream_pending_records", {"path": f"{tmp_path}/b", "slot": "slot-0"}) == 0
    first.close()
    second.close()
    del first
    gc.collect()
    text = generate_latest(registry).decode()
    assert f'path="{tmp_path}/a"' not in text
    assert f'path="{tmp_path}/b"' in text


def test_opentelemetry_observes_every_counter(path: Path) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])

    def points() -> dict[str, Any]:
        data = reader.get_metrics_data()
        if data is None:
            return {}
        metrics = [metric for r in data.resource_metrics for s in r.scope_metrics for metric in s.metrics]
        return {metric.name: (metric, list(metric.data.data_points)) for metric in metrics}

    with unistream.Producer(path, lambda batch: None, max_records=1) as producer:
        unistream.opentelemetry.observe(producer, provider.get_meter("test"))
        producer.put(b"four")
        producer.flush(timeout=30)
        found = points()
        fields = {f"unistream.{name}" for name in vars(producer.stats())}
        rates = {name for name in fields if name.endswith("per_second")}
        assert set(found) == fields - rates - {"unistream.last_error"}
        metric, (point,) = found["unistream.delivered_bytes"]
        assert (metric.unit, metric.data.is_monotonic, point.value) == ("By", True, 4)
        assert point.attributes == {"unistream.path": str(path)}
        metric, (point,) = found["unistream.last_success"]
        assert metric.unit == "s"
        assert abs(point.value - time.time()) < 60
        (point,) = found["unistream.state"][1]
        assert point.attributes["state"] == "running"
    del producer
    gc.collect()
    assert not any(points for _, points in points().values())
    provider.shutdown()


def test_the_alerts_fire_when_they_should_and_the_dashboard_is_whole(programs: Path) -> None:
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        checked = subprocess.run([programs / "promtool", *command], cwd=MONITORING, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    rules = (MONITORING / "alerts.yml").read_text()
    assert rules.count("- alert:") == (MONITORING / "alerts_test.yml").read_text().count("exp_alerts: []") == 5
    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers)) > 10


def expressions() -> list[str]:
    """Return what the dashboard asks."""
    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [ask.replace("$path", ".*").replace("$__rate_interval", "1m") for ask in asked]


def test_prometheus_scrapes_a_program(tmp_path: Path, programs: Path) -> None:
    """The collector in a program, the alerts and the dashboard, and the textfile of the command line."""
    registry = CollectorRegistry()
    with unistream.Producer(tmp_path / "outbox", lambda batch: None, max_records=1) as producer:
        Collector(producer, registry=registry)
        server, thread = start_http_server(0, "127.0.0.1", registry=registry)
        (tmp_path / "prometheus.yml").write_text(
            f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{MONITORING}/alerts.yml]
scrape_configs:
  - job_name: program
    static_configs: [{{targets: ["127.0.0.1:{server.server_port}"]}}]
"""
        )
        port = servers.free_port()
        command = [
            str(programs / "prometheus"),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with servers.running(command, port, tmp_path / "prometheus.log") as url:
            get = getter(url)

            def value(query: str) -> float | None:
                found = get("query", query)["result"]
                return float(found[0]["value"][1]) if found else None

            producer.put(b"one")
            wait_until(lambda: value("unistream_put_records_total") == 1, 60)
            wait_until(lambda: value("rate(unistream_put_records_total[1m])") is not None, 60)
            producer.put(b"two")
            producer.flush(timeout=30)
            wait_until(lambda: value("unistream_delivered_records_total") == 2, 60)
            assert value('unistream_state{state="running"}') == 1
            wait_until(lambda: (value("rate(unistream_delivered_records_total[1m])") or 0) > 0, 60)
            for ask in expressions():
                assert get("query", ask)["result"], ask
            groups = get("rules", "")["groups"]
            assert [rule["health"] for group in groups for rule in group["rules"]] == ["ok"] * 5
        server.shutdown()
        server.server_close()
        thread.join()


def getter(url: str) -> Callable[[str, str], dict[str, Any]]:
    def get(what: str, query: str) -> dict[str, Any]:
        asked = f"{url}/api/v1/{what}?" + urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        assert found["status"] == "success", (query, found)
        data: dict[str, Any] = found["data"]
        return data

    return get


def test_the_command_writes_a_textfile(tmp_path: Path, programs: Path) -> None:
    outbox, file = tmp_path / "outbox", tmp_path / "unistream.prom"
    command = [UNISTREAM, "stat", str(outbox)]
    with unistream.Producer(outbox, lambda batch: None, shared=True, max_records=1) as producer:
        producer.put(b"x")
        producer.flush(timeout=30)
        subprocess.run([*command, "--textfile", str(file)], check=True)
        text = file.read_text()
        assert f'unistream_delivered_records_total{{path="{outbox}",slot="slot-0"}} 1\n' in text
        assert f'unistream_answered{{path="{outbox}",slot="slot-0"}} 1\n' in text
        assert file.stat().st_mode & 0o777 == 0o644
        checked = subprocess.run(
            [programs / "promtool", "check", "metrics"], input=text, capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
    left = unistream.Producer(outbox, mode="manual", shared=True)
    left.put(b"left")
    left.close(timeout=0)
    text = subprocess.run([*command, "--prometheus"], check=True, capture_output=True, text=True).stdout
    labels = re.escape(f'{{path="{outbox}",slot="slot-0"}}')
    assert re.search(f"^unistream_pending_records{labels} 1$", text, re.MULTILINE)
    assert re.search(f"^unistream_owned{labels} 0$", text, re.MULTILINE)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["outbox", "unistream.prom"]
