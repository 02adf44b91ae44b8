#!/bin/sh
# Runs the tests of the AWS sinks against emulators that others wrote; they listen on loopback and end with the
# tests. Arguments go to pytest.
set -eu
. "$(dirname "$0")/install.sh"
if cargo tree --locked --manifest-path "$root/Cargo.toml" -p unistream-ffi --no-default-features -e normal --prefix none |
    grep -E '^(ureq|rustls|ring|reqsign|http)'; then
    echo "the build without the AWS sinks has HTTP or TLS in it" >&2
    exit 1
fi
"$root/tests/build.sh"
PREFIX=/usr DESTDIR="$place/c" LIBRARY="$place/../debug" "$root/ffi/install.sh"
"${CC:-cc}" -std=c99 -Wall -Wextra -Wpedantic -Werror -I"$place/c/usr/include" -o "$place/c/aws" \
    "$root/ffi/examples/aws.c" -L"$place/c/usr/lib" -lunistream -Wl,-rpath,"$place/c/usr/lib"
rm -rf "$place/python"
mkdir "$place/python"
cp -R "$root/python/unistream" "$place/python/"
cp "$place/../debug/lib_native.so" "$place/python/unistream/_native.abi3.so"
AWS_TEST_PLACE=$place exec "$place/venv/bin/python" -m pytest -q -p no:cacheprovider "$here" "$@"
