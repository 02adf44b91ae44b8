#!/bin/sh
# Builds the C library twice, from copies of what is committed in two directories, and compares every byte of what is
# installed.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
commit=$(git -C "$root" rev-parse HEAD)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
build() {
  place=$scratch/$1
  mkdir -p "$place"
  git -C "$root" archive "$commit" | tar -x -C "$place"
  (cd "$place" && unset CARGO_TARGET_DIR && make --silent --file=ffi/install.mk install-library DESTDIR="$scratch/installed-$1" PREFIX=/usr)
  rm -rf "$place"
}
build first
build a/second/of/another/length
diff -r "$scratch/installed-first" "$scratch/installed-a/second/of/another/length" || exit 1
echo "two builds, the same bytes"
