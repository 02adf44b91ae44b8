#!/usr/bin/env bash
# Runs the Python rows of the benchmark beside what is compared with, where that installs.
set -euo pipefail
cd "$(dirname "$0")/../.."
python/install.sh
python=target/venv/bin/python
$python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    --require-hashes -r python/bench/requirements.txt ||
    echo "what is compared with does not install here: its rows are left out"
# The predecessor has this package's name, so it lives in a place of its own.
$python -m pip install --quiet --disable-pip-version-check --upgrade --target target/predecessor unistream==0.1.2 ||
    echo "unistream 0.1.2 does not install here: its rows are left out"
exec $python python/bench/rows.py "$@"
