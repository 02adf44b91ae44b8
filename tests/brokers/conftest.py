"""Where the tests find the command line and what they share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
COMMAND = os.environ["BROKERS_TEST_COMMAND"]
FAILURES = int(os.environ.get("BROKERS_TEST_FAILURES", "20"))
"""How many failures each proof lets happen."""


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Make a file of 5,000 documents."""
    path = tmp_path / "events.ndjson"
    path.write_text("".join(f'{{"n": {n}, "id": "r-{n}", "key": "k-{n % 7}"}}\n' for n in range(5000)))
    return path


def run(*arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line, where nothing of the machine's own set-up has a say."""
    environment = {"PATH": os.environ["PATH"], **variables}
    command = [COMMAND, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
