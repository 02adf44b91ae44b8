"""Random programs of both halves give the same records in the same order on both versions, in the same batches.

A seed that differs is repeated by `programs/random_program.py SEED SEED+1` on either.
"""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Run

PROGRAM = Path(__file__).with_name("programs") / "random_program.py"
PROGRAMS = 60
#: In memory where that is possible: nothing here is about the disk.
MEMORY = Path("/dev/shm")


@pytest.mark.timeout(600)
def test_random_programs(old: Run, new: Run) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as place, ThreadPoolExecutor(2) as pool:

        def said_by(run: Run, name: str) -> list[str]:
            folder = Path(place) / name
            folder.mkdir()
            return run(PROGRAM, 1, 1 + PROGRAMS, folder=folder).splitlines()

        said = list(pool.map(said_by, (old, new), ("old", "new")))
    assert len(said[0]) == PROGRAMS
    for theirs, ours in zip(*said, strict=True):
        assert ours == theirs
    # They did something: records, batches that were sent, failures of both halves.
    ends = [json.loads(line.split(" ", 1)[1]) for line in said[1]]
    assert sum(len(end["in_order"]) for end in ends) > 2000
    assert sum(len(end["batches"][0]) for end in ends if end["batches"]) > 300
    assert any(id.startswith("failed") for end in ends if end["consumed"] for id in end["consumed"][0])
    assert any(end["consumed"][1] for end in ends if end["consumed"])
