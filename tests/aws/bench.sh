#!/bin/sh
# Measures the Kinesis sink beside boto3 in one run; prints the rows as JSON.
set -eu
. "$(dirname "$0")/install.sh"
UNISTREAM_BENCH_PYTHON=$place/venv/bin/python exec \
    cargo bench --quiet --locked --manifest-path "$root/Cargo.toml" -p unistream --features aws --bench aws
