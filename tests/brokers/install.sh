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
missing() {
    ! command -v redis-server > /dev/null || ! command -v redis-sentinel > /dev/null || ! command -v openssl > /dev/null ||
        ! command -v setpriv > /dev/null || [ -z "$(postgres_programs)" ]
}
# Where initdb and postgres are, of the newest version that is installed.
postgres_programs() {
    for directory in $(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | sort -Vr) $(pg_config --bindir 2> /dev/null); do
        if [ -x "$directory/initdb" ] && [ -x "$directory/postgres" ]; then
            echo "$directory"
            return
        fi
    done
}
if missing; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
        echo "the tests of the brokers' sinks need redis-server, redis-sentinel, postgresql, setpriv and openssl: install them" >&2
        exit 1
    fi
    apt-get -qq update
    # Without the server that Debian's package would make and start by itself.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y redis-server redis-sentinel postgresql util-linux openssl > /dev/null
fi
BROKERS_TEST_POSTGRES=$(postgres_programs)
export BROKERS_TEST_POSTGRES
