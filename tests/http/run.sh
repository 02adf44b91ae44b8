#!/bin/sh
# Runs the tests of the HTTP sink against servers that others wrote; they listen on loopback and end with the tests.
# Arguments go to pytest.
set -eu
. "$(dirname "$0")/install.sh"
cargo build --quiet --locked --manifest-path "$root/Cargo.toml" -p unistream-cli -p unistream-ffi
cargo build --quiet --locked --manifest-path "$root/Cargo.toml" -p unistream --features http --example elastic
HTTP_TEST_PLACE=$place HTTP_TEST_COMMAND=$place/../debug/unistream exec \
    "$place/venv/bin/python" -m pytest -q -p no:cacheprovider "$here" "$@"
