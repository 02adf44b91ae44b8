# Sourced: installs what the tests and the benchmark of the AWS sinks need, at fixed versions, from npm and PyPI into
# target/aws, and sets `root`, `here` and `place`.
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/aws
place=${CARGO_TARGET_DIR:-$root/target}/aws
mkdir -p "$place/node"
if ! cmp -s "$here/package-lock.json" "$place/node/package-lock.json" || [ ! -d "$place/node/node_modules" ]; then
    cp "$here/package.json" "$here/package-lock.json" "$place/node/"
    npm ci --prefix "$place/node" --no-audit --no-fund --loglevel=error
fi
if ! cmp -s "$here/requirements.txt" "$place/requirements.txt"; then
    "${PYTHON:-python3}" -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$place/requirements.txt"
fi
