#!/usr/bin/env bash
# Builds the wheel, installs it into a fresh place, and runs every check of the Python side.
#   tests/python/run.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=target/venv
python=$venv/bin/python
[ -x "$python" ] || "${PYTHON:-python3}" -m venv "$venv"
requirements=tests/python/requirements.txt
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
    "$python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/requirements.txt"
fi

echo "== build"
rm -rf target/wheels
"$venv/bin/maturin" build --release --locked --quiet --manifest-path python/Cargo.toml --out target/wheels --interpreter "$python"
"$python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps target/wheels/unistream-*.whl

echo "== lint"
"$venv/bin/ruff" check --config python/pyproject.toml python tests/python tests/fixtures
"$venv/bin/ruff" format --check --config python/pyproject.toml python tests/python tests/fixtures
echo "== types"
export MYPY_CACHE_DIR=target/mypy
"$venv/bin/mypy" --config-file python/pyproject.toml python/unistream python/examples tests/python
# From a folder without the sources, so that what was installed is what is checked.
(cd tests/python && MYPY_CACHE_DIR=../../target/mypy "../../$venv/bin/stubtest" unistream --mypy-config-file ../../python/pyproject.toml)
echo "== tests"
"$python" -m pytest -c python/pyproject.toml --rootdir . -p no:cacheprovider tests/python "$@"
