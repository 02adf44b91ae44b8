#!/bin/sh
# Measures the HTTP sink beside clients of Python in one run; prints the rows as JSON.
set -eu
. "$(dirname "$0")/install.sh"
UNISTREAM_BENCH_PYTHON=$place/venv/bin/python exec \
    cargo bench --quiet --locked --manifest-path "$root/Cargo.toml" -p unistream --features http --bench http
