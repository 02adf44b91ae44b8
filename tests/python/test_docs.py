"""The examples of the documentation run as they stand."""

import configparser
import doctest
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from xml.etree import ElementTree

import pytest
import unistream
from unistream.logging import FIELDS

ROOT = Path(__file__).parents[2]
MODULES = ["unistream", "unistream._options", "unistream._producer", "unistream._registry", "unistream.logging"]


EXAMPLES = [
    test
    for name in MODULES
    for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if test.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_docstrings(example: doctest.DocTest, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    example.globs |= {"unistream": unistream, "path": path, "send": lambda batch: None}
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
    assert result.failed == 0
    assert result.attempted > 0


BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "python" / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split("\n")[0][:40] for block in BLOCKS])
def test_readme(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run a block; what its comments say after `# prints` is what it prints."""
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    said = "".join(f"{line}\n" for line in re.findall(r"# prints (.*)", block))
    assert capsys.readouterr().out == said


# The blocks of the page on logging, with the output that the page shows below some of them.
PAGE = re.findall(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", (ROOT / "docs" / "logging.md").read_text(), re.DOTALL)


def but_for_the_moment(text: str) -> str:
    """Return the text without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "NOW", text)
    return re.sub(r'"traceback":"Traceback \(most.*?"}', '"traceback":"..."}', text)


@pytest.mark.parametrize(("block", "output"), PAGE, ids=[re.sub(r"\W+", " ", block)[:40] for block, _ in PAGE])
def test_the_page_on_logging(block: str, output: str, run_python: Callable[..., CompletedProcess[str]]) -> None:
    done = run_python(block)
    assert (done.returncode, done.stderr) == (0, "")
    assert but_for_the_moment(done.stdout) == but_for_the_moment(output)


def test_the_page_on_logging_shows_a_record(tmp_path: Path, run_python: Callable[..., CompletedProcess[str]]) -> None:
    page = (ROOT / "docs" / "logging.md").read_text()
    [shown] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert run_python(PAGE[0][0]).stderr == ""
    record, documented = json.loads((tmp_path / "app.log").read_text()), json.loads(shown)
    assert list(record) == list(documented)
    same = ("level", "logger", "message", "function", "thread", "extra", "line")
    assert [record[name] for name in same] == [documented[name] for name in same]
    # Every field has a row.
    for name in (*FIELDS, "exception", "stack", "extra"):
        assert f"`{name}`" in page


# Pages whose blocks are steps, one after the other in one folder. A block that begins with the name of a file is that
# file; else python and sh are run, and ini is read. What stands below a block as text is what it prints, where … is
# anything, and as a line of its own any lines. What is marked as "before" is shown alone.
STEPS = re.compile(r"^```(\w+)\n(.*?)^```(?:\n\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
NAMES = ("index", "start", "concepts", "command-line", "operations", "troubleshooting", "outbox", "monitoring")
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in NAMES)]
PAGES += sorted((ROOT / "docs" / "how-to").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_steps_of_a_page(page: Path, tmp_path: Path, run_python: Callable[..., CompletedProcess[str]]) -> None:
    for kind, block, output in STEPS.findall(page.read_text()):
        named = re.match(r"# (/?[\w./-]+\.\w+)\n", block)
        if kind == "ini":
            unit = configparser.RawConfigParser(strict=False)
            unit.read_string(block)
            assert unit.sections()
        if named and not named[1].startswith("/"):
            (tmp_path / named[1]).write_text(block)
            if kind == "python":
                compile(block, named[1], "exec")
            continue
        if kind == "python":
            done = run_python(block)
        elif kind == "sh":
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            command = ["bash", "-euo", "pipefail", "-c", block]
            environment = os.environ | {"PATH": path}
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                timeout=120,
            )  # fmt: skip
        else:
            assert kind in {"c", "console", "dockerfile", "ini", "json", "rust", "text", "toml", "yaml"}, kind
            continue
        assert done.returncode == 0, done.stderr
        wanted = re.sub(r"^…\\\n", r"(?:.*\n)*", re.escape(output), flags=re.MULTILINE).replace("…", ".*")
        assert re.fullmatch(wanted, done.stdout), f"{done.stdout}\n{done.stderr}"


def test_what_was_measured_is_drawn(tmp_path: Path) -> None:
    rows = [
        {"row": "put <100> B", "unit": "ns", "value": 62.1, "limit": 48.0, "ratio": 1.29},
        {"row": "always", "unit": "ns", "value": 1.2e6, "limit": None, "ratio": None},
        {"row": "nothing left", "unit": "MiB", "value": 0.0, "limit": 64, "ratio": 0},
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    command = [sys.executable, *map(str, (ROOT / "docs/site/plots.py", tmp_path / "results.json", tmp_path))]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pictures = re.findall(r"!\[Rows of make bench in (\w+)\]\((.*)\)", shown)
    assert [unit for unit, _ in pictures] == ["ns", "MiB"]
    drawn = [ElementTree.parse(tmp_path / name).getroot() for _, name in pictures]
    bars = [[float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")] for root in drawn]
    assert 0 < bars[0][0] < bars[0][1] <= 640
    assert bars[1] == [0]
    words = "".join(drawn[0].itertext())
    assert "put <100> B: 62.1 (beside 48.0)" in words
    assert "always: 1,200,000" in words
