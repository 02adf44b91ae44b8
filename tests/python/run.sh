#!/usr/bin/env bash
# Builds the wheel, installs it into a fresh place, and runs every check of the Python side.
#   tests/python/run.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/../.."
python/install.sh
venv=target/venv

echo "== lint"
$venv/bin/ruff check --config python/pyproject.toml python tests/python tests/brokers tests/compat tests/fixtures tests/kafka tests/release tests/supply_chain tests/wheels docs/site
$venv/bin/ruff format --check --config python/pyproject.toml python tests/python tests/brokers tests/compat tests/fixtures tests/kafka tests/release tests/supply_chain tests/wheels docs/site
echo "== types"
export MYPY_CACHE_DIR=target/mypy
$venv/bin/mypy --config-file python/pyproject.toml python/unistream python/examples tests/python
MYPYPATH=tests $venv/bin/mypy --config-file python/pyproject.toml tests/compat/*.py
$venv/bin/mypy --config-file python/pyproject.toml tests/brokers/{chaos,proxy,server}.py
$venv/bin/pyright --project python/examples/pyrightconfig.json --pythonpath $venv/bin/python
# From a folder without the sources, so that what was installed is what is checked.
(cd tests/python && MYPY_CACHE_DIR=../../target/mypy ../../$venv/bin/stubtest unistream \
    --mypy-config-file ../../python/pyproject.toml --allowlist stubtest-allowlist.txt --ignore-unused-allowlist)
echo "== tests"
PYTHONMALLOC=debug $venv/bin/python -m pytest -c python/pyproject.toml --rootdir . -p no:cacheprovider tests/python "$@"
