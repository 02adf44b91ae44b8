"""Three brokers, and a program that puts, killed and cut off at random: every record is there, once, each key in order.

`KAFKA_FAILURES` says how many failures there are (`make torture`), `KAFKA_SEED` which.
"""

import os
from pathlib import Path

import pytest
from chaos import prove
from cluster import running
from conftest import COMMAND, JARS

FAILURES = int(os.environ.get("KAFKA_FAILURES", "16"))
SEED = int(os.environ.get("KAFKA_SEED", "1"))


@pytest.mark.skipif(not JARS.exists(), reason="Java 17 and Maven are missing, and so is Kafka")
def test_every_record_is_there_once_whatever_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path / "kafka", JARS, 3) as cluster:
        cluster.create(cluster.topic, 6)
        program = tmp_path / "program"
        program.mkdir()
        tally = prove(cluster, COMMAND, program, FAILURES, SEED)
    with capsys.disabled():
        print(f"\nkafka, seed {SEED}: {tally}")
