#!/bin/sh
# Builds what the tests of the C ABI, of the command line and of the sinks run: the library, the program, the extension module
# and the examples, in target/debug. All parts of `make test` build the same packages with the same features, because another
# choice would be compiled anew, and would take the place of what another part is running at that moment.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --locked -p unistream-ffi -p unistream-cli -p unistream-python
cargo build --quiet --locked -p unistream --features "$(sed -n 's/^FEATURES = //p' Makefile)" --example ship --example elastic
