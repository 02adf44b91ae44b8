"""The examples of the documentation run as they stand."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
import unistream

README = Path(__file__).parents[2] / "python" / "README.md"
MODULES = ["unistream", "unistream._options", "unistream._producer", "unistream._registry"]


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


BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split("\n")[0][:40] for block in BLOCKS])
def test_readme(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run a block; what its comments say after `# prints` is what it prints."""
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    said = "".join(f"{line}\n" for line in re.findall(r"# prints (.*)", block))
    assert capsys.readouterr().out == said
