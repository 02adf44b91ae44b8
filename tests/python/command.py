"""The command line as others run it: a process with its streams, its environment and its exit code."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNISTREAM = str(Path(sys.executable).with_name("unistream"))
Completed = subprocess.CompletedProcess[str]
Cli = Callable[..., Completed]


def environment(**more: str) -> dict[str, str]:
    """Return the environment for a command."""
    return {"PYTHONWARNINGS": "error", **os.environ, **more}


def run(folder: Path, *arguments: object, stdin: str = "", **more: str) -> Completed:
    """Run a command in a folder; `more` goes into its environment."""
    command = [UNISTREAM, *map(str, arguments)]
    kinds: dict[str, Any] = {"capture_output": True, "text": True, "encoding": "utf-8", "errors": "surrogateescape"}
    return subprocess.run(command, input=stdin, timeout=60, cwd=folder, env=environment(**more), **kinds)


def shell(folder: Path, script: str, **more: str) -> Completed:
    """Run a line of shell in which `unistream` is the command, with streams as the line has them."""
    script = f'unistream() {{ "{UNISTREAM}" "$@"; }}; {script}'
    kinds: dict[str, Any] = {"capture_output": True, "text": True, "encoding": "utf-8", "errors": "surrogateescape"}
    return subprocess.run(["bash", "-c", script], timeout=60, cwd=folder, env=environment(**more), **kinds)


def lines(result: Completed) -> list[Any]:
    """Read the output as one JSON value a line."""
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def start(folder: Path, *arguments: object, **streams: Any) -> subprocess.Popen[bytes]:
    """Start a command in a folder."""
    return subprocess.Popen([UNISTREAM, *map(str, arguments)], cwd=folder, env=environment(), **streams)


def wait_until_it_stands(folder: Path, buffer: str, least: int) -> int:
    """Wait until a buffer has got so many records and no more come, and return how many it got."""
    deadline, before = time.monotonic() + 60, -1
    while True:
        result = run(folder, "stat", buffer, "--json")
        now = json.loads(result.stdout)["next_seq"] - 1 if result.returncode == 0 else 0
        if now >= least and now == before:
            return int(now)
        assert time.monotonic() < deadline, f"waited in vain; {now} records"
        before = now
        time.sleep(0.1)
