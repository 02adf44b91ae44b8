"""Join the rows of all benchmarks in a folder: results.json of the core gets those of C, Python and the sinks."""

import json
import sys
from pathlib import Path

KEYS = ("row", "unit", "value", "limit", "ratio")

folder = Path(sys.argv[1])
rows = json.loads((folder / "results.json").read_text())
rows += [json.loads(line) for line in (folder / "c.jsonl").read_text().splitlines() if line.startswith("{")]
for name in ("python.json", "aws.json", "http.json", "kafka.json", "brokers.json"):
    rows += json.loads((folder / name).read_text())
(folder / "results.json").write_text(json.dumps([{key: row.get(key) for key in KEYS} for row in rows], indent=2))
print(f"{len(rows)} rows in {folder}/results.json")
