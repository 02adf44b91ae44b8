"""Programs that use all that 0.1.2 offers print the same on both versions."""

import re
from pathlib import Path

import pytest
from conftest import Run

PROGRAMS = Path(__file__).with_name("programs")
SAME = ["records", "retry", "buffer", "producer", "printed", "checkpoint", "consumer"]


def test_every_program_is_run() -> None:
    assert {path.stem for path in PROGRAMS.iterdir() if path.suffix == ".py"} == {*SAME, "pickles", "random_program"}


@pytest.mark.parametrize("name", SAME)
def test_a_program_prints_the_same(tmp_path: Path, old: Run, new: Run, name: str) -> None:
    said = []
    for run, folder in ((old, tmp_path / "old"), (new, tmp_path / "new")):
        folder.mkdir()
        said.append(normal(run(PROGRAMS / f"{name}.py", folder=folder)))
    assert said[0]
    assert said[1].splitlines() == said[0].splitlines()


def normal(text: str) -> str:
    """Leave out what is another in each run, and the clock, which is another on purpose."""
    text = re.sub(r"elapsed = \d\.\d\d sec", "elapsed = 0.00 sec", text.replace("🕑", "⏱"))
    # Where a line has nothing behind its emoji, 0.1.2 printed a space.
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("back", [False, True], ids=["on", "back"])
def test_pickles_of_one_version_are_read_by_the_other(tmp_path: Path, old: Run, new: Run, back: bool) -> None:
    writes, reads = (new, old) if back else (old, new)
    program = PROGRAMS / "pickles.py"
    writes(program, "write", tmp_path / "pickles")
    lines = reads(program, "read", tmp_path / "pickles").splitlines()
    assert len(lines) == 16
    assert all(line.split()[1] == "True" for line in lines), lines
