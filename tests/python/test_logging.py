"""`unistream.logging.Handler` and `JsonFormatter` in one process."""

import asyncio
import functools
import gc
import json
import logging
import logging.config
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import unistream
from conftest import wait_until
from unistream import Batch
from unistream.logging import Handler, JsonFormatter

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """Return a logger whose handlers are closed afterwards."""
    log = logging.getLogger("shop")
    log.setLevel(logging.DEBUG)
    yield log
    for handler in log.handlers[:]:
        if isinstance(handler, Handler):
            log.removeHandler(handler)
            handler.close()
    log.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def delivered(path: Path) -> list[str]:
    """Return the messages that a file has."""
    return [json.loads(line)["message"] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_record_is_json_with_documented_fields(path: Path, log: logging.Logger, tmp_path: Path) -> None:
    handler = Handler(path, f"file:{tmp_path}/app.log")
    log.addHandler(handler)
    before = datetime.now(UTC)
    log.warning("order %d is late", 17, extra={"user": "u-7", "price": Decimal("1.10")})
    handler.producer.flush(30)
    [line] = (tmp_path / "app.log").read_text().splitlines()
    record = json.loads(line)
    moment = datetime.fromisoformat(record.pop("time"))
    assert 0 <= (moment - before).total_seconds() < 60
    assert record.pop("line") > 0
    assert record == {
        "level": "WARNING", "logger": "shop", "message": "order 17 is late", "file": __file__,
        "function": "test_a_record_is_json_with_documented_fields", "process": os.getpid(), "thread": "MainThread",
        "extra": {"user": "u-7", "price": "1.10"},
    }  # fmt: skip


def test_the_time_of_a_record_is_when_it_was_logged(path: Path, log: logging.Logger) -> None:
    taken: list[tuple[datetime, str]] = []
    handler = Handler(path, lambda batch: taken.extend((record.created_at, record.json()["time"]) for record in batch))
    record = log.makeRecord("shop", logging.INFO, "f", 1, "m", (), None)
    record.created = 1704612701.482432
    handler.handle(record)
    handler.close()
    assert taken == [(datetime(2024, 1, 7, 7, 31, 41, 482432, UTC), "2024-01-07T07:31:41.482432Z")]


def fields_of(*values: Any, **keywords: Any) -> Any:
    """Format one record of a logger that has no other handler."""
    log = logging.Logger("alone")
    records: list[logging.LogRecord] = []
    log.addFilter(lambda record: not records.append(record))  # type: ignore[func-returns-value]
    log.addHandler(logging.NullHandler())
    log.error(*values, **keywords)
    return json.loads(JsonFormatter(["message"]).format(records[0]))


def test_exceptions_and_stacks() -> None:
    try:
        os.environ["NO SUCH\nORDER"]
    except LookupError:
        record = fields_of("failed", exc_info=True, stack_info=True)
    assert record["exception"]["type"] == "KeyError"
    assert record["exception"]["message"] == r"'NO SUCH\nORDER'"
    assert record["exception"]["traceback"].startswith("Traceback (most recent call last):\n")
    assert record["exception"]["traceback"].endswith(r"KeyError: 'NO SUCH\nORDER'")
    assert "test_exceptions_and_stacks" in record["stack"]
    error = unistream.Timeout("over")
    assert fields_of("m", exc_info=error)["exception"]["type"] == "unistream._errors.Timeout"
    assert "exception" not in fields_of("m", exc_info=True)


def test_a_record_is_not_lost_for_what_is_in_it() -> None:
    class Hidden:
        def __repr__(self) -> str:
            raise ValueError("no")

    ring: list[Any] = []
    ring.append(ring)
    extra = {
        "nan": float("nan"), "object": object, "bytes": b"\xff", "half": "\ud800", "ring": ring, "hidden": Hidden(),
        "inner": {(1, 2): 3, "half\udfff": 1, "good": [1]}, "good": {"a": 1},
    }  # fmt: skip
    record = fields_of("half \ud800", extra=extra)
    assert record["message"] == "half \\ud800"
    assert record["extra"] == {
        "nan": "nan", "object": "<class 'object'>", "bytes": "b'\\xff'", "half": "\\ud800", "ring": "[[...]]",
        "hidden": "<Hidden that cannot be shown>", "inner": {"(1, 2)": 3, "half\\udfff": 1, "good": [1]},
        "good": {"a": 1},
    }  # fmt: skip


def test_keys_that_look_alike_stay_apart() -> None:
    extra = {
        "inner": {1: "number", "1": "text", "half\udfff": "half", "half\\udfff": "text", "1'": "third", "o": object}
    }
    assert fields_of("m", extra=extra)["extra"]["inner"] == {
        "1": "number", "1'": "text", "half\\udfff": "half", "half\\udfff'": "text", "1''": "third",
        "o": "<class 'object'>",
    }  # fmt: skip


def test_a_record_is_not_lost_for_how_deep_it_is() -> None:
    ring: dict[str, Any] = {}
    ring["ring"] = ring
    deep: Any = 1
    listed: Any = 1
    for _ in range(600):
        deep = {"deep": deep}
    for _ in range(490):
        listed = [listed]
    for extra in ({"ring": ring}, {"deep": deep}, {"inner": {"listed": {"more": listed}}}):
        assert fields_of("said", extra=extra)["message"] in ("said", "'said'")


def test_fields_of_a_factory_are_extra(log: logging.Logger) -> None:
    program = """
import logging, json
def factory(*args, **keywords):
    record = logging.LogRecord(*args, **keywords)
    record.request = "r-1"
    return record
logging.setLogRecordFactory(factory)
from unistream.logging import JsonFormatter
record = logging.getLogger("shop").makeRecord("shop", 20, "file", 1, "said", (), None)
assert json.loads(JsonFormatter().format(record))["extra"] == {"request": "r-1"}
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_fields_and_constants_are_chosen() -> None:
    record = logging.makeLogRecord({"msg": "m", "levelname": "INFO", "x": 1j})
    formatter = JsonFormatter(["message", "level"], constant={"service": "shop"}, default=lambda value: [value.real])
    assert formatter.format(record) == '{"message":"m","level":"INFO","extra":{"x":[0.0]},"service":"shop"}'
    with pytest.raises(unistream.InvalidArgument, match="no field 'lvl': they are time, level"):
        JsonFormatter(["lvl"])


def test_text_and_what_files_of_lines_make_of_it(path: Path, log: logging.Logger, tmp_path: Path) -> None:
    handler = Handler(path, f"file:{tmp_path}/app.log")
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log.addHandler(handler)
    log.info("one")
    log.info("two\r\nlines \ud800")
    handler.producer.flush(30)
    assert (
        (tmp_path / "app.log").read_bytes()
        == rb"""INFO one
INFO two\r\nlines \ud800
"""
    )
    assert handler.lost == 0


CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "unistream.logging.JsonFormatter", "constant": {"service": "shop"}}},
    "handlers": {
        "outbox": {
            "class": "unistream.logging.Handler",
            "path": "logs-outbox",
            "to": "file:app.log",
            "to_options": {"sync": "cfg://sync"},
            "level": "INFO",
            "formatter": "json",
            "linger": 0.01,
        }
    },
    "sync": True,
    "root": {"handlers": ["outbox"], "level": "DEBUG"},
}


def test_dict_config_and_its_repetition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new configuration takes over what the one before has left; who still logs to the old handler loses nothing."""
    monkeypatch.chdir(tmp_path)
    stop = threading.Event()
    logged: list[int] = []

    def has_logged(count: int) -> bool:
        return len(logged) > count

    def keep_logging(number: int) -> None:
        log = logging.getLogger(f"thread.{number}")
        while not stop.is_set():
            log.info("%d", value := number * 10**6 + len(logged))
            # Whatever handlers there are just now, the old ones are there too.
            for handler in old:
                handler.handle(log.makeRecord("old", logging.INFO, "f", 1, f"old {value}", (), None))
            logged.append(value)
            time.sleep(0.0005)

    logging.config.dictConfig(CONFIG)
    [first] = logging.getLogger().handlers
    old = [first]
    threads = [threading.Thread(target=keep_logging, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        before = len(logged)
        logging.config.dictConfig(CONFIG)
        wait_until(functools.partial(has_logged, before + 20))
    stop.set()
    for thread in threads:
        thread.join()
    [last] = logging.getLogger().handlers
    assert isinstance(first, Handler)
    assert isinstance(last, Handler)
    assert last is not first
    assert first.lost == 0
    last.close()
    found = delivered(tmp_path / "app.log")
    assert {f"old {value}" for value in logged} <= set(found)
    # Between two configurations the root logger has no handler: that is logging's.
    assert len({text for text in found if not text.startswith("old")}) > 90
    assert len(found) == len(set(found))


def test_file_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logging.ini").write_text("""
[loggers]
keys=root
[handlers]
keys=outbox
[formatters]
keys=
[logger_root]
handlers=outbox
level=INFO
[handler_outbox]
class=unistream.logging.Handler
level=WARNING
args=("logs-outbox", "file:app.log")
kwargs={"max_records": 10}
""")
    logging.config.fileConfig("logging.ini", disable_existing_loggers=False)
    [handler] = logging.getLogger().handlers
    logging.info("too low")
    logging.warning("high enough")
    assert repr(handler) == f"<Handler '{tmp_path}/logs-outbox' to file:app.log (WARNING)>"
    handler.close()
    assert delivered(tmp_path / "app.log") == ["high enough"]


def test_a_formatter_by_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fileConfig` and `dictConfig` pass what every formatter takes: format, datefmt and style."""
    monkeypatch.chdir(tmp_path)
    formatter = "[formatter_json]\nclass=unistream.logging.JsonFormatter\n"
    for fields, wanted in (("", {"time", "level", "message"}), ("format=level, message\n", {"level", "message"})):
        (tmp_path / "logging.ini").write_text(f"""
[loggers]
keys=root
[handlers]
keys=outbox
[formatters]
keys=json
[logger_root]
handlers=outbox
level=INFO
[handler_outbox]
class=unistream.logging.Handler
formatter=json
args=("logs-outbox", "file:app.log")
{formatter}{fields}""")
        logging.config.fileConfig("logging.ini", disable_existing_loggers=False)
        logging.info("said")
        logging.getLogger().handlers[0].close()
        record = json.loads((tmp_path / "app.log").read_text().splitlines()[-1])
        assert wanted <= set(record)
        assert ("time" in record) == ("time" in wanted)
    logging.config.dictConfig({
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {
            "class": "unistream.logging.JsonFormatter", "format": "message", "validate": True,
        }},
        "handlers": {"outbox": {
            "class": "unistream.logging.Handler", "path": "logs-outbox", "to": "file:app.log", "formatter": "json",
        }},
        "root": {"handlers": ["outbox"]},
    })  # fmt: skip
    logging.warning("again")
    logging.getLogger().handlers[0].close()
    assert json.loads((tmp_path / "app.log").read_text().splitlines()[-1]) == {"message": "again"}
    # Python 3.12 and later pass `defaults` too.
    formatter_of_later = JsonFormatter("message", None, "%", True, defaults={"service": "shop"})
    record = json.loads(formatter_of_later.format(logging.makeLogRecord({"msg": "m"})))
    assert record == {"message": "m", "service": "shop"}
    with pytest.raises(unistream.InvalidArgument, match="leave datefmt out"):
        JsonFormatter(None, "%H:%M")
    with pytest.raises(unistream.InvalidArgument, match="no field '%\\(message\\)s'"):
        JsonFormatter("%(message)s")


def test_handlers_with_one_path_share_the_producer(path: Path, log: logging.Logger, tmp_path: Path) -> None:
    to = f"file:{tmp_path}/app.log"
    (tmp_path / "link").symlink_to(tmp_path)
    one = Handler(path, to, logging.INFO)
    two = Handler(tmp_path / "link" / "outbox", to, "ERROR")
    assert one.producer is two.producer
    log.addHandler(one)
    log.addHandler(two)
    log.error("twice")
    one.close()
    one.close()
    log.error("both")
    with pytest.raises(unistream.Closed):
        one.producer  # noqa: B018
    with pytest.raises(unistream.InvalidArgument, match="to another sink or with other options"):
        Handler(path, "null:")
    with pytest.raises(unistream.InvalidArgument, match="to another sink or with other options"):
        Handler(path, to, max_records=7)
    with pytest.raises(unistream.InvalidArgument, match="sync is given twice"):
        Handler(path.with_name("other"), f"{to}?sync=true", to_options={"sync": True})
    assert not two.producer.closed
    two.close()
    assert delivered(tmp_path / "app.log") == ["twice", "twice", "both", "both"]
    with unistream.Producer(path, unistream.NullSink()):
        pass  # The last one has given the buffer up.


def test_mistakes_are_said_where_the_handler_is_made(path: Path) -> None:
    with pytest.raises(unistream.InvalidArgument, match="nowhere"):
        Handler(path, "nowhere://x")
    with pytest.raises(TypeError, match="there is no option"):
        Handler(path, "null:", max_record=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has no mode"):
        Handler(path, "null:", mode="inline")  # type: ignore[call-arg]
    with (
        unistream.Producer(path, unistream.NullSink()),
        pytest.raises(unistream.InUse),
    ):
        Handler(path, "null:")
    Handler(path, "null:").close()


def test_a_mistake_in_a_call_is_shown_where_it_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.Logger("alone")  # Where pytest does not listen.
    handler = Handler(path, "null:")
    log.addHandler(handler)
    log.info("%d", "no number")
    handler.close()
    assert handler.lost == 1
    assert "test_a_mistake_in_a_call_is_shown_where_it_is" in capsys.readouterr().err


def test_a_full_buffer_keeps_nobody_waiting(
    path: Path, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    def down(batch: Batch) -> None:
        raise unistream.SinkUnavailable

    handler = Handler(path, down, max_buffer_bytes="1MiB", segment_bytes="64KiB", close_timeout=0)
    log.addHandler(handler)
    count = 0
    while not handler.lost:
        began = time.monotonic()
        log.info("x" * 5000)
        waited = time.monotonic() - began
        count += 1
        assert count < 1000
    # Not the time-out of a producer, which is for ever unless something is said.
    assert waited < 5
    for _ in range(50):
        log.info("x" * 5000)
    assert handler.lost == 51
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"unistream.logging: {path}: 1 log records not put; buffer_full: ")
    handler.close()
    with unistream.Buffer(path) as buffer:
        assert len(buffer) == count - 1


def test_what_drops_the_oldest_waits_for_no_sink(path: Path, log: logging.Logger) -> None:
    end = threading.Event()

    def hang(batch: Batch) -> None:
        end.wait(60)

    handler = Handler(
        path, hang, max_buffer_bytes="1MiB", segment_bytes="64KiB", when_full="drop_oldest", linger=0, close_timeout=0
    )
    log.addHandler(handler)
    began = time.monotonic()
    for _ in range(600):
        log.info("x" * 5000)
    assert time.monotonic() - began < 20
    end.set()
    handler.close()


def test_a_handler_that_could_not_be_made_is_forgotten(path: Path, log: logging.Logger) -> None:
    with unistream.Buffer(path):
        with pytest.raises(unistream.InUse):
            Handler(path, lambda batch: None)
        gc.collect()
        known: list[weakref.ref[logging.Handler]] = logging._handlerList  # type: ignore[attr-defined]
        assert not [1 for handler in known if isinstance(handler(), Handler)]
        with pytest.raises(ValueError, match="Unknown level"):
            Handler(path.with_name("another"), lambda batch: None, level="LOUD")
    with unistream.Buffer(path.with_name("another")):
        pass


def test_it_waits_as_long_as_it_is_told(path: Path, log: logging.Logger) -> None:
    def down(batch: Batch) -> None:
        raise unistream.SinkUnavailable

    handler = Handler(
        path, down, max_buffer_bytes="1MiB", segment_bytes="64KiB", close_timeout=0, full_timeout=0.3
    )  # fmt: skip
    log.addHandler(handler)
    while not handler.lost:
        began = time.monotonic()
        log.info("x" * 5000)
    assert 0.3 <= time.monotonic() - began < 10


def test_nobody_waits_for_another_thread_that_waits_for_space(path: Path, log: logging.Logger) -> None:
    """Logging's own lock would make one slow put everybody's."""

    def down(batch: Batch) -> None:
        raise unistream.SinkUnavailable

    handler = Handler(path, down, max_buffer_bytes="1MiB", segment_bytes="64KiB", close_timeout=0, full_timeout=3)
    log.addHandler(handler)
    filler = unistream.logging.Handler(path.with_name("other"), "null:")
    while handler.producer.stats().refused_puts == 0 and handler.producer.stats().buffer_bytes < 2**20:
        log.info("x" * 5000)
        if handler.producer.stats().pending_records > 180:
            break
    entered = threading.Barrier(8)

    def put() -> None:
        entered.wait()
        log.info("x" * 300_000)

    threads = [threading.Thread(target=put) for _ in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 5 * 3
    assert handler.lost >= 7
    filler.close()


def test_it_never_logs_in_a_circle(path: Path) -> None:
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    logging.getLogger("unistream").setLevel(logging.DEBUG)
    calls: dict[str, int] = {"one": 0, "two": 0}

    def sink(name: str) -> Callable[[Batch], None]:
        def send(batch: Batch) -> None:
            calls[name] += 1
            logging.getLogger("client").warning("posting %d", len(batch))
            thread = threading.Thread(target=logging.getLogger("pool.worker").warning, args=("on a thread of its own",))
            thread.start()
            thread.join()
            if calls[name] == 1:
                raise ConnectionError("down")

        return send

    soon: Any = {"linger": 0, "schedule_waits": [0.0], "ignore": ["pool"]}
    # Each is in the way of what the other's sink logs.
    handlers = [Handler(path.with_name(name), sink(name), **soon) for name in calls]
    root.handlers[:] = handlers
    try:
        logging.info("the only one")
        for handler in handlers:
            handler.producer.flush(30)
        seen = dict(calls)
        assert seen == {"one": 2, "two": 2}
        time.sleep(0.3)
        assert calls == seen
        assert [handler.producer.stats().put_records for handler in handlers] == [1, 1]
        assert [handler.lost for handler in handlers] == [0, 0]
    finally:
        logging.getLogger("unistream").setLevel(logging.NOTSET)
        for handler in handlers:
            handler.close()


def test_what_other_sinks_log_is_taken(path: Path, log: logging.Logger) -> None:
    """A sink of the program that sends something else may log like any other function."""
    taken: list[str] = []
    handler = Handler(path, lambda batch: taken.extend(record.json()["message"] for record in batch))
    log.addHandler(handler)

    def post(batch: Batch) -> None:
        log.info("posting %d", len(batch))

    with unistream.Producer(path.with_name("events"), post, linger=0) as producer:
        producer.put("event")
        producer.flush(30)
    handler.close()
    assert taken == ["posting 1"]


def test_a_callable_that_a_native_sink_asks_is_quiet(path: Path, log: logging.Logger) -> None:
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        log.info("a new token")
        return "t"

    sink = unistream.HttpSink("http://127.0.0.1:9/", token=token, connect_timeout=0.1)
    handler = Handler(path, sink, linger=0, schedule_waits=[0.0], close_timeout=0)
    log.addHandler(handler)
    log.info("one")
    wait_until(lambda: len(asked) >= 3)
    assert handler.producer.stats().put_records == 1


def test_formatting_that_logs_ends(path: Path) -> None:
    log = logging.Logger("alone")  # Where pytest does not listen.

    class Chatty:
        def __str__(self) -> str:
            log.info("one more %s", Chatty())
            log.info("and one %s", Chatty())
            return "chatty"

    handler = Handler(path, "null:")
    log.addHandler(handler)
    log.info("%s", Chatty())
    assert handler.producer.stats().put_records == 1 + 2 + 4 + 8
    assert handler.lost == 16
    handler.close()


def test_handlers_whose_formatting_logs_to_others_lose_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has a logger of its own, and what is logged there comes from formatting for the one before."""
    logs = [logging.Logger(f"log-{number}") for number in range(10)]

    class Passed:
        def __init__(self, level: int) -> None:
            self.level = level

        def __str__(self) -> str:
            if self.level + 1 < len(logs):
                logs[self.level + 1].info("%s", Passed(self.level + 1))
            return "passed on"

    handlers = [Handler(tmp_path / f"outbox-{number}", "null:") for number in range(10)]
    for log, handler in zip(logs, handlers, strict=True):
        log.addHandler(handler)
    logs[2].info("%s", Passed(2))
    assert [handler.producer.stats().put_records for handler in handlers] == [0, 0] + 8 * [1]
    assert [handler.lost for handler in handlers] == 10 * [0]
    assert capsys.readouterr().err == ""
    # One more is cut off, counted and told.
    logs[1].info("%s", Passed(1))
    assert [handler.lost for handler in handlers] == 9 * [0] + [1]
    assert "outbox-9: 1 log records not put; records are logged 8 deep" in capsys.readouterr().err
    for handler in handlers:
        handler.close()


def test_an_async_sink(path: Path, log: logging.Logger) -> None:
    taken: list[str] = []

    async def main() -> None:
        async def send(batch: Batch) -> None:
            await asyncio.sleep(0)
            log.info("from the sink")
            taken.extend(record.json()["message"] for record in batch)

        handler = Handler(path, send, linger=0)
        log.addHandler(handler)
        log.info("one")
        await handler.producer.aflush(30)
        log.removeHandler(handler)
        handler.close()

    asyncio.run(main())
    assert taken == ["one"]


def test_a_sink_keeps_its_name_and_its_memo(path: Path, log: logging.Logger) -> None:
    class Pigeon:
        def prepare(self, batch: Batch) -> bytes:
            log.info("a memo")
            return b"memo"

        def send(self, batch: Batch) -> None:
            assert batch.memo == b"memo"
            raise unistream.BatchRejected("shot")

    handler = Handler(path, Pigeon(), linger=0)
    log.addHandler(handler)
    log.info("one")
    handler.producer.flush(30)
    [letter] = handler.producer.dead_letters.list()
    assert letter.sink.endswith("Pigeon")
    assert repr(handler).endswith("Pigeon (NOTSET)>")
    assert handler.producer.stats().put_records == 1
    with pytest.raises(TypeError, match="a sink is called with one argument"):
        Handler(path.with_name("other"), lambda: None)  # type: ignore[arg-type]
