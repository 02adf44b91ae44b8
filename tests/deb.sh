#!/bin/sh
# Checks the packages of `make deb` in target/dist: lintian has nothing to say; unpacked, a program is built by pkg-config and runs,
# the library finds nothing of the machine that built it, the command knows its version; debuggers find their part.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
version=$(sed -n 's/^#define UNISTREAM_VERSION "\(.*\)"$/\1/p' include/unistream.h)
machine=$(dpkg --print-architecture)
command -v lintian > /dev/null || { echo "lintian is not installed: apt-get install lintian" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
[ "$(dpkg-parsechangelog -l debian/changelog -S Version)" = "$version" ] || { echo "debian/changelog is not of $version" >&2; exit 1; }
for package in libunistream0 libunistream-dev unistream; do
  file=target/dist/${package}_${version}_$machine.deb
  lintian --allow-root --fail-on error,warning "$file"
  dpkg -x "$file" "$scratch/tree"
done
for package in libunistream0 unistream; do
  dpkg -x "target/dist/$package-dbgsym_${version}_$machine.deb" "$scratch/debug"
done
libdir=$scratch/tree/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
export LD_LIBRARY_PATH="$libdir" PKG_CONFIG_PATH="$libdir/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$scratch/tree"
# shellcheck disable=SC2046
cc -std=c99 -o "$scratch/hello" ffi/examples/hello.c $(pkg-config --cflags --libs unistream)
(cd "$scratch" && timeout 120 ./hello && [ "$(cat events.log)" = hello ])
[ "$("$scratch/tree/usr/bin/unistream" --version)" = "unistream $version" ]
for file in "$libdir/libunistream.so.$version" "$scratch/tree/usr/bin/unistream"; do
  ! readelf -SW "$file" | grep -q '\.debug_'
  ! strings -a "$file" | grep -F -e "$root" -e "${CARGO_HOME:-$HOME/.cargo}"
  id=$(readelf -n "$file" | sed -n 's/.*Build ID: //p')
  readelf -SW "$scratch/debug/usr/lib/debug/.build-id/$(echo "$id" | cut -c1-2)/$(echo "$id" | cut -c3-).debug" | grep -q '\.debug_line'
done
echo "the packages of $version are in order"
