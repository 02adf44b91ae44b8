"""Order by key from Python."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from unistream import InvalidArgument, Producer


def test_the_example_keeps_every_key_in_order() -> None:
    """It checks the order of every key itself."""
    example = Path(__file__).parents[2] / "python" / "examples" / "lanes.py"
    run = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr) == (0, "")
    *lines, ratio = run.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["order total, 1 in flight", "order key, 8 in flight"]
    assert re.fullmatch(r"[0-9.]+ times the records", ratio)


def test_the_options_in_force_are_told(path: Path) -> None:
    with Producer(path, lambda _: None) as producer:
        assert (producer.options["order"], producer.options["max_in_flight"]) == ("total", "1")
    with Producer(path, lambda _: None, order="key", max_in_flight=3) as producer:
        assert (producer.options["order"], producer.options["max_in_flight"]) == ("key", "3")


def test_what_contradicts_itself_is_refused(path: Path) -> None:
    with pytest.raises(InvalidArgument, match="order is total"):
        Producer(path, lambda _: None, order="total", max_in_flight=2)
