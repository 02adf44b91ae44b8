"""What a verbose put prints, line for line as the specification has it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from unistream import Batch, Producer, Schedule

START = "+----- ⏱ 📤 Start 'put record' -------------------------------------------------+"
END = "+----- ⏰ ✅ 📤 End 'put record', elapsed = 0.00 sec -----------------------------+"
RECORD = r"📤 record = \{\"id\": \"%d\", \"create_at\": \"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00\"\}"


class SendError(Exception):
    """As in the specification."""


def elapsed(text: str) -> str:
    """Make every elapsed time the same."""
    return re.sub(r"elapsed = \d+\.\d\d sec", "elapsed = 0.00 sec", text)


def test_every_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[list[bytes]] = []

    def send(batch: Batch) -> None:
        sent.append([record.data for record in batch])
        if len(sent) == 1:
            raise SendError("randomly failed due to send error")

    schedule = Schedule(multiplier=0.2, max=0.2, jitter="none")
    with Producer(path, send, mode="inline", max_records=3, linger=None, schedule=schedule) as producer:
        for number in (1, 2, 3, 4):
            producer.put(f'{{"id": "{number}"}}', id=str(number), verbose=True)
        producer.flush(30)
        producer.put({"id": "5", "value": 90}, id="5", verbose=True)
        producer.put(b"\xff\x00", verbose=True)
    body = [
        ['📤 record = {"id": "1"}', "📤 🚫 we should not emit"],
        ['📤 record = {"id": "2"}', "📤 🚫 we should not emit"],
        [
            '📤 record = {"id": "3"}',
            "📤 📤 send records: ['1', '2', '3']",
            "📤 🔴 failed, error: SendError('randomly failed due to send error')",
        ],
        ['📤 record = {"id": "4"}', "📤 🚫 on hold due to exponential backoff"],
        ['📤 record = {"id":"5","value":90}', "📤 🚫 we should not emit"],
        ["📤 record = b'\\xff\\x00'", "📤 🚫 we should not emit"],
    ]
    expected = [line for lines in body for line in (START, "📤", *lines, "📤", END)]
    assert elapsed(capsys.readouterr().out).splitlines() == expected


def test_success_and_error(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Producer(path, lambda _: None, mode="inline", max_records=1) as producer:
        producer.put("x", id="1", verbose=True)
        with pytest.raises(TypeError, match="put takes"):
            producer.put(5, verbose=True)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="time zone"):
            from datetime import datetime

            producer.put("y", created_at=datetime(2024, 1, 1), verbose=True)
    assert elapsed(capsys.readouterr().out).splitlines() == [
        START,
        "📤",
        "📤 record = x",
        "📤 📤 send records: ['1']",
        "📤 🟢 succeeded",
        "📤",
        END,
        START,
        "📤",
        "📤 record = y",
        "📤",
        "+----- ⏰ ❌ 📤 Error 'put record', elapsed = 0.00 sec ---------------------------+",
    ]


def test_background_mode_prints_the_put(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Producer(path, lambda _: None) as producer:
        producer.put("x", verbose=True)
        producer.put("quiet")
    assert elapsed(capsys.readouterr().out).splitlines() == [START, "📤", "📤 record = x", "📤", END]


def test_the_specifications_session(tmp_path: Path) -> None:
    """The example prints the session of the specification and loses nothing on the way."""
    example = Path(__file__).parents[2] / "python" / "examples" / "simple_producer.py"
    command = [sys.executable, str(example), "--pause", "0.26", "--seed", "7", "--dir", str(tmp_path)]
    session = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert session.stderr == ""
    lines = elapsed(session.stdout).splitlines()
    ids: list[int] = []
    for number in range(1, 16):
        assert lines[:2] == [START, "📤"]
        assert re.fullmatch(RECORD % number, lines[2])
        end = lines.index("📤", 3)
        said = lines[3:end]
        if said not in (["📤 🚫 we should not emit"], ["📤 🚫 on hold due to exponential backoff"]):
            first = len(ids) + 1
            assert said[0] == f"📤 📤 send records: {[str(first + n) for n in range(3)]}"
            if said[1:] == ["📤 🟢 succeeded"]:
                ids.extend(range(first, first + 3))
            else:
                assert said[1:] == ["📤 🔴 failed, error: SendError('randomly failed due to send error')"]
        assert lines[end + 1] == END
        lines = lines[end + 2 :]
    assert lines == []
    target = (tmp_path / "target.log").read_text().splitlines()
    assert [f'{{"id": "{number}"' for number in ids] == [line.split(",")[0] for line in target]
