#!/bin/sh
# Installs the C library as C people expect it: the shared library under its full version with the links that the
# loader and the linker follow, the static library, the header, unistream.pc, the licences of all that is linked, and the
# bill of materials (CycloneDX). `make install` builds and calls it.
#
#   PREFIX=/usr/local  DESTDIR=  LIBDIR=$PREFIX/lib  INCLUDEDIR=$PREFIX/include  DOCDIR=$PREFIX/share/doc/unistream
#   LIBRARY=target/release    where libunistream.so and libunistream.a were built
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
includedir=${INCLUDEDIR:-$prefix/include}
docdir=${DOCDIR:-$prefix/share/doc/unistream}
destdir=${DESTDIR:-}
library=${LIBRARY:-${CARGO_TARGET_DIR:-$root/target}/release}

version=$(sed -n 's/^#define UNISTREAM_VERSION "\(.*\)"$/\1/p' "$root/include/unistream.h")
major=${version%%.*}

install -d "$destdir$libdir/pkgconfig" "$destdir$includedir" "$destdir$docdir"
install -m 755 "$library/libunistream.so" "$destdir$libdir/libunistream.so.$version"
ln -sf "libunistream.so.$version" "$destdir$libdir/libunistream.so.$major"
ln -sf "libunistream.so.$major" "$destdir$libdir/libunistream.so"
install -m 644 "$library/libunistream.a" "$destdir$libdir/libunistream.a"
install -m 644 "$root/include/unistream.h" "$destdir$includedir/unistream.h"
sed -e "s|@PREFIX@|$prefix|" -e "s|@LIBDIR@|$libdir|" -e "s|@INCLUDEDIR@|$includedir|" -e "s|@VERSION@|$version|" \
  "$root/ffi/unistream.pc.in" > "$destdir$libdir/pkgconfig/unistream.pc"
chmod 644 "$destdir$libdir/pkgconfig/unistream.pc"
for file in LICENSE-MIT LICENSE-APACHE ffi/THIRD-PARTY-NOTICES.txt ffi/unistream.cdx.json; do
  install -m 644 "$root/$file" "$destdir$docdir/"
done
