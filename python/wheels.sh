#!/usr/bin/env bash
# Builds the wheel that runs on any Linux with glibc 2.17 or later, for every CPython from 3.11 on, into target/dist.
#   ARCH=x86_64    or aarch64, for which rustc needs its standard library (rustup target add aarch64-unknown-linux-gnu) and
#                  LIBGCC names a libgcc_s.so.1 (Debian: libgcc-s1-arm64-cross)
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
arch=${ARCH:-$(uname -m)}
target=$arch-unknown-linux-gnu
if [ ! -d "$(rustc --print target-libdir --target "$target")" ]; then
  echo "rustc has no standard library for $target: rustup target add $target" >&2
  exit 1
fi
. tests/wheels/install.sh
export ZIG_PYTHON=$place/venv/bin/python ZIG_TARGET=$arch-linux-gnu.2.17
export ZIG_LIBGCC=${LIBGCC:-$(cc -print-file-name=libgcc_s.so.1)}
[ -e "$ZIG_LIBGCC" ] || { echo "no libgcc_s.so.1 for $arch: say LIBGCC=" >&2; exit 1; }
underscored=${target//-/_}
linker=CARGO_TARGET_$(echo "$underscored" | tr '[:lower:]' '[:upper:]')_LINKER
export "$linker=$root/python/zig-cc.sh" "CC_$underscored=$root/python/zig-cc.sh" "AR_$underscored=$root/python/zig-ar.sh"
mkdir -p target/dist
RUSTFLAGS="$(ffi/remap.sh)" "$place/venv/bin/maturin" build --release --locked --quiet --manifest-path python/Cargo.toml \
  --target "$target" --compatibility manylinux_2_17 --interpreter "$place/venv/bin/python" --out target/dist
