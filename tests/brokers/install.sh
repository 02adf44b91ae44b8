# Sourced: installs what the tests of the brokers' sinks need, at fixed versions: servers and clients from PyPI into
# target/brokers, Redis as the system packages it. Sets `root`, `here` and `place`.
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/brokers
place=${CARGO_TARGET_DIR:-$root/target}/brokers
mkdir -p "$place"
if ! cmp -s "$here/requirements.txt" "$place/requirements.txt"; then
    "${PYTHON:-python3}" -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$place/requirements.txt"
fi
"$root/tests/packages.sh" redis-server redis-sentinel openssl
