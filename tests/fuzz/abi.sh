#!/bin/sh
# Builds the fuzzer of the C ABI: the library with coverage for libFuzzer and with overflow checks, by the stable Rust
# toolchain; the target by clang with the address and undefined sanitizers. Then runs it: abi.sh [LIBFUZZER ARGUMENTS].
#
# It needs clang and its runtime (Debian: clang and libclang-rt-14-dev).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
target=$(rustc -vV | sed -n 's/^host: //p')
out=$root/target/fuzz-abi
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks" \
  cargo build --quiet --release --locked -p unistream-ffi --no-default-features --target "$target" --target-dir "$out"
clang -std=c99 -D_POSIX_C_SOURCE=200809L -DLIBFUZZER -O1 -g -fsanitize=fuzzer,address,undefined \
  -fno-sanitize-recover=all -Iinclude -Itests/c -o "$out/fuzz_abi" tests/c/fuzz_abi.c \
  "$out/$target/release/libunistream.a" -lpthread -ldl -lm -lgcc_s
mkdir -p "$out/corpus"
exec "$out/fuzz_abi" -max_len=768 -timeout=120 -artifact_prefix="$out/" "$@" "$out/corpus" "$here/corpus/abi"
