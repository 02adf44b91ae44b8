"""Clusters as fixtures, ended with the session; and the command line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from cluster import Cluster, running

PLACE = Path(os.environ["KAFKA_TEST_PLACE"])
COMMAND = os.environ["KAFKA_TEST_COMMAND"]
JARS = PLACE / "jars"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run one broker."""
    with running(tmp_path_factory.mktemp("kafka"), JARS, 1) as cluster:
        yield cluster


def command(*arguments: object) -> list[str]:
    return [COMMAND, *map(str, arguments)]


def run(*arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line, where nothing of the machine's own set-up has a say."""
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        command(*arguments), env=environment, capture_output=True, text=True, timeout=120, check=False
    )
