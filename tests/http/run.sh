#!/bin/sh
# Runs the tests of the HTTP sink against servers that others wrote; they listen on loopback and end with the tests.
# Arguments go to pytest.
set -eu
. "$(dirname "$0")/install.sh"
"$root/tests/build.sh"
HTTP_TEST_PLACE=$place HTTP_TEST_COMMAND=$place/../debug/unistream exec \
    "$place/venv/bin/python" -m pytest -q -p no:cacheprovider "$here" "$@"
