#!/bin/sh
# Runs the tests of the AWS sinks against emulators that others wrote; they listen on loopback and end with the
# tests. Arguments go to pytest.
set -eu
. "$(dirname "$0")/install.sh"
cargo build --quiet --locked --manifest-path "$root/Cargo.toml" -p unistream --features aws --example ship
AWS_TEST_PLACE=$place exec "$place/venv/bin/python" -m pytest -q -p no:cacheprovider "$here" "$@"
