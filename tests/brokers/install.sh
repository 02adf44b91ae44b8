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
if ! command -v redis-server > /dev/null || ! command -v redis-sentinel > /dev/null || ! command -v openssl > /dev/null; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
        echo "the tests of the brokers' sinks need redis-server, redis-sentinel and openssl: install them" >&2
        exit 1
    fi
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y redis-server redis-sentinel openssl > /dev/null
fi
