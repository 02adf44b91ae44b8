#!/usr/bin/env python3
"""Runs the steps of .github/workflows/release.yml here, as far as they need no forge, and says which it did not run.

check.py [JOB...]    these jobs instead of all

A step with a condition on `github` or `runner` is the forge's. Ends with a line "N passed, N failed".
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github/workflows/release.yml"


def main(chosen: list[str]) -> int:
    """Run them, in their order."""
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    if unknown := set(chosen) - set(jobs):
        sys.exit(f"{WORKFLOW.name} has no job {', '.join(sorted(unknown))}")
    passed, failed = 0, 0
    for name, job in jobs.items():
        missing = set(job.get("needs", [])) - set(jobs)
        assert not missing, f"{name} needs {missing}"
        if chosen and name not in chosen:
            continue
        for step in job["steps"]:
            what = step.get("name") or step.get("uses") or step["run"].strip().splitlines()[0]
            if "uses" in step or re.search(r"\b(github|runner)\.", str(step.get("if", ""))):
                print(f"   {name}: not here: {what}", flush=True)
                continue
            print(f"== {name}: {what}", flush=True)
            # As a forge's runner does it.
            done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", step["run"]], cwd=ROOT, check=False)
            passed, failed = passed + (done.returncode == 0), failed + (done.returncode != 0)
            if done.returncode:
                print(f"{name}: {what}: FAILED with {done.returncode}", flush=True)
                break
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
