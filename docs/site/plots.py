"""Draws what `make bench` has measured: one picture for each unit, with a bar for each row and a mark for its limit.

    python docs/site/plots.py target/bench/results.json FOLDER

Prints the Markdown that shows the pictures. Nothing but the standard library is needed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LABEL, ROW = 640, 24, 44
STYLE = """<style>
  svg { background: #fff; font: 14px system-ui, "DejaVu Sans", sans-serif; }
  .bar { fill: #3f6fb5; } .limit { stroke: #a33a2e; stroke-width: 3; }
  .name { fill: #1f2328; } .note { fill: #4a525a; font-size: 12px; }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117; } .bar { fill: #5b8fdc; } .limit { stroke: #e5796d; }
    .name { fill: #e6edf3; } .note { fill: #aab4be; }
  }
</style>"""


def limit_of(row: dict[str, Any]) -> float | None:
    """Return what a row stands beside, if it does."""
    limit = row.get("limit")
    return float(limit) if isinstance(limit, int | float) and limit > 0 else None


def number(value: float) -> str:
    """Return three digits that count."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if digits < 6 else f"{value:.2g}"


def picture(unit: str, rows: list[dict[str, Any]]) -> str:
    """Return one picture: lengths are logarithms where the rows are far apart."""
    values = [float(row["value"]) for row in rows] + [limit for row in rows if (limit := limit_of(row))]
    positive = [value for value in values if value > 0] or [1.0]
    largest, smallest = max(positive), min(positive)
    logarithmic = largest / smallest > 50

    def length(value: float) -> float:
        if value <= 0:
            return 0
        if not logarithmic:
            return value / largest * (WIDTH - 20)
        return 20 + math.log(value / smallest) / math.log(largest / smallest) * (WIDTH - 40)

    height = LABEL + ROW * len(rows) + 8
    scale = ", on a logarithmic scale" if logarithmic else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="Rows of make bench in {escape(unit)}">{STYLE}',
        f'<text class="note" x="4" y="16">{escape(unit)}{scale}; the red line is what the row stands beside</text>',
    ]
    for place, row in enumerate(rows):
        top = LABEL + ROW * place
        value, limit = float(row["value"]), limit_of(row)
        beside = f" (beside {number(limit)})" if limit else ""
        parts.append(
            f'<text class="name" x="4" y="{top + 14}">{escape(str(row["row"]))}: {number(value)}'
            f'<tspan class="note">{escape(beside)}</tspan></text>'
            f'<rect class="bar" x="4" y="{top + 20}" width="{length(value):.1f}" height="12" rx="2"/>'
        )
        if limit:
            x = 4 + length(limit)
            parts.append(f'<path class="limit" d="M{x:.1f} {top + 17}v18"/>')
    return "\n".join([*parts, "</svg>\n"])


def draw(rows: Iterable[dict[str, Any]], folder: Path) -> str:
    """Write the pictures into a folder. Return the Markdown that shows them."""
    by_unit: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_unit.setdefault(str(row["unit"]), []).append(row)
    shown = []
    for place, (unit, of_unit) in enumerate(by_unit.items()):
        name = f"bench-{place}.svg"
        (folder / name).write_text(picture(unit, of_unit))
        shown.append(f"![Rows of make bench in {unit}]({name})")
    return "\n\n".join(shown)


if __name__ == "__main__":
    print(draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))
