#!/usr/bin/env bash
# Makes target/venv, with the pinned tools of tests/python/requirements.txt and the wheel of this checkout in it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/venv
[ -x $venv/bin/python ] || "${PYTHON:-python3}" -m venv $venv
if ! cmp -s tests/python/requirements.txt $venv/requirements.txt; then
    $venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/python/requirements.txt
    cp tests/python/requirements.txt $venv/requirements.txt
fi
rm -rf target/wheels
$venv/bin/maturin build --release --locked --quiet --manifest-path python/Cargo.toml --out target/wheels \
    --interpreter $venv/bin/python >target/wheel.log 2>&1 || { cat target/wheel.log; exit 1; }
$venv/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps \
    target/wheels/unistream-*.whl
