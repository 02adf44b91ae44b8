#!/bin/sh
# Measures the Kinesis sink beside boto3 in one run, and the library with and without the AWS sinks; prints the rows as
# JSON.
set -eu
. "$(dirname "$0")/install.sh"

# library NAME FLAGS...: builds libunistream.so and keeps it stripped under that name.
library() {
    name=$place/libunistream-$1.so
    shift
    cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml" -p unistream-ffi "$@"
    strip -o "$name" "$place/../release/libunistream.so"
}
library lean --no-default-features
library full
UNISTREAM_BENCH_PYTHON=$place/venv/bin/python UNISTREAM_BENCH_LIBRARIES=$place exec \
    cargo bench --quiet --locked --manifest-path "$root/Cargo.toml" -p unistream --features aws --bench aws
