# Sourced: installs what the tests of the brokers' sinks need, at fixed versions: servers and clients from PyPI into
# target/brokers, Redis and PostgreSQL as the system packages them. Sets `root`, `here` and `place`.
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/brokers
place=${CARGO_TARGET_DIR:-$root/target}/brokers
mkdir -p "$place"
if ! cmp -s "$here/requirements.txt" "$place/requirements.txt"; then
    "${PYTHON:-python3}" -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$place/requirements.txt"
fi
# Debian's package would make a server and start it by itself.
settings=/etc/postgresql-common/createcluster.conf
if [ "$(id -u)" -eq 0 ] && ! command -v pg_createcluster > /dev/null && [ ! -e $settings ]; then
    mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" > $settings
fi
"$root/tests/packages.sh" redis-server redis-sentinel openssl setpriv=util-linux pg_createcluster=postgresql
# Where initdb and postgres are, of the newest version.
BROKERS_TEST_POSTGRES=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)")
export BROKERS_TEST_POSTGRES
