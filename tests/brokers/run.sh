#!/bin/sh
# Runs the tests of the sinks to brokers and databases against servers that others wrote; they listen on loopback and end with
# the tests. Arguments go to pytest.
set -eu
. "$(dirname "$0")/install.sh"
"$root/tests/build.sh"
BROKERS_TEST_PLACE=$place BROKERS_TEST_COMMAND=$place/../debug/unistream exec \
    "$place/venv/bin/python" -m pytest -q -p no:cacheprovider "$here" "$@"
