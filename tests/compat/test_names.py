"""Every name of every public module of 0.1.2 is here and the same, or docs/coming-from-0.1.2.md says that it is not."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import OLD, run

ROOT = Path(__file__).parents[2]
DESCRIBE = Path(__file__).with_name("describe.py")
PAGE = (ROOT / "docs" / "coming-from-0.1.2.md").read_text()

Names = dict[str, dict[str, Any]]


def describe(interpreter: str) -> Names:
    described: Names = json.loads(run(interpreter, DESCRIBE, folder=ROOT))
    return described


THEIRS = describe(OLD)
OURS = describe(sys.executable)


def left_out() -> list[tuple[str, str]]:
    """Return the rows of the page's table: modules, and names that they have not any more, `*` for any."""
    table = PAGE.split("## What is left out")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    pairs = []
    for module, names, instead in rows[2:]:
        assert instead, f"what to do without {names}?"
        path = "*" if module == "any" else module.strip("`")
        pairs += [(path, name) for name in (["*"] if names == "all" else re.findall(r"`([^`]+)`", names))]
    return pairs


MISSING = [(module, name) for module, names in THEIRS.items() for name in names if name not in OURS.get(module, {})]
SAME = [(module, name) for module, names in THEIRS.items() for name in names if name in OURS.get(module, {})]


def test_nothing_is_missing_without_a_line_in_the_page() -> None:
    assert {"unistream.api", "unistream.consumers.simple", "unistream.vendor.better_enum"} <= set(THEIRS)
    assert len(SAME) > 100
    rows = set(left_out())
    silent = [(module, name) for module, name in MISSING if not {(module, name), (module, "*"), ("*", name)} & rows]
    assert silent == []


def test_every_line_of_the_page_is_about_something_that_is_missing() -> None:
    idle = [
        (module, name)
        for module, name in left_out()
        if not any(module in ("*", there) and name in ("*", what) for there, what in MISSING)
    ]
    assert idle == []
    # A module is left out as a whole, or not at all.
    assert {module for module, name in left_out() if name == "*"} == set(THEIRS) - set(OURS)


def as_theirs(signature: Any, theirs: Any) -> Any:
    """Return a signature of ours without what is only added: `*args` in front of `**kwargs`."""
    if signature and ["args", "VAR_POSITIONAL", ""] not in (theirs or []):
        return [parameter for parameter in signature if parameter != ["args", "VAR_POSITIONAL", ""]]
    return signature


@pytest.mark.parametrize(("module", "name"), SAME, ids=[f"{module}.{name}" for module, name in SAME])
def test_a_name_is_the_same(module: str, name: str) -> None:
    old, new = THEIRS[module][name], OURS[module][name]
    assert new["is"] == old["is"]
    match old["is"]:
        case "class":
            compare_classes(old, new)
        case "function":
            assert new["signature"] == old["signature"]
        case "type variable":
            assert new["bound"] == old["bound"]
        case "value":
            for attribute, signature in old["public"].items():
                assert new["public"][attribute] == signature, attribute


def compare_classes(old: dict[str, Any], new: dict[str, Any]) -> None:
    if old["module"] == "tenacity":
        assert f"`{new['module']}.RetryError`" in PAGE
        return
    # What was in its sources of others has another home.
    if not old["module"].startswith("unistream.vendor."):
        assert new["module"] == old["module"]
    bases = [base for base in old["bases"] if not base.startswith("unistream.vendor.")]
    assert [base for base in new["bases"] if base in bases] == bases
    assert new["abstract"] == old["abstract"]
    assert new["fields"] == old["fields"]
    assert new["values"] == old["values"]
    for member, seen in old["members"].items():
        assert member in new["members"], member
        ours = new["members"][member]
        assert as_theirs(ours["signature"], seen["signature"]) == seen["signature"], member
        assert (ours["kind"] == "property") == (seen["kind"] == "property"), member
