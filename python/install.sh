#!/usr/bin/env bash
# Makes target/venv, with the pinned tools of tests/python/requirements.txt and the wheel of this checkout in it.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target
exec 9> target/install.lock
flock 9
venv=target/venv
[ -x $venv/bin/python ] || "${PYTHON:-python3}" -m venv $venv
if ! cmp -s tests/python/requirements.txt $venv/requirements.txt; then
    $venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/python/requirements.txt
    cp tests/python/requirements.txt $venv/requirements.txt
fi
# Several may ask for it at once, and none takes away what another is using: the same wheel is not installed again.
rm -rf target/wheels.new
RUSTFLAGS="$(ffi/remap.sh)" $venv/bin/maturin build --release --locked --quiet --manifest-path python/Cargo.toml --out target/wheels.new \
    --interpreter $venv/bin/python >target/wheel.log 2>&1 || { cat target/wheel.log; exit 1; }
wheel=$(basename target/wheels.new/unistream-*.whl)
if ! cmp -s "target/wheels.new/$wheel" "target/wheels/$wheel" || [ ! -e "$venv/$wheel" ]; then
    rm -rf target/wheels "$venv"/unistream-*.whl
    mv target/wheels.new target/wheels
    $venv/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "target/wheels/$wheel"
    touch "$venv/$wheel"
fi
