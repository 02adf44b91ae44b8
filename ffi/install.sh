#!/bin/sh
# Installs the C library as C people expect it: the shared library, stripped, under its full version with the links that
# the loader and the linker follow; its debug information beside it, where debuggers look; the static library as one
# object that shows nothing but unistream_*; the header and the manual page that is made of it; what pkg-config and CMake
# ask; suppressions for ThreadSanitizer; the licences of all that is linked, and the bill of materials (CycloneDX).
# `make install` builds and calls it, `make uninstall` takes away what it lays down.
#
#   PREFIX=/usr/local  DESTDIR=  LIBDIR=$PREFIX/lib  INCLUDEDIR=$PREFIX/include  MANDIR=$PREFIX/share/man
#   DOCDIR=$PREFIX/share/doc/unistream
#   LIBRARY=target/release    where libunistream.so and libunistream.a were built
#   OBJCOPY, STRIP, LD, AR, NM    those of the machine that it is for
#   REMOVE=1                  removes instead
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
includedir=${INCLUDEDIR:-$prefix/include}
mandir=${MANDIR:-$prefix/share/man}
docdir=${DOCDIR:-$prefix/share/doc/unistream}
cmakedir=$libdir/cmake/unistream
supdir=$prefix/share/unistream
destdir=${DESTDIR:-}
library=${LIBRARY:-${CARGO_TARGET_DIR:-$root/target}/release}

version=$(sed -n 's/^#define UNISTREAM_VERSION "\(.*\)"$/\1/p' "$root/include/unistream.h")
major=${version%%.*}
# What the static library needs besides libc and the compiler's own libraries, which the compiler adds as it links.
libs="-lutil -lrt -lpthread -lm -ldl"

if [ -n "${REMOVE:-}" ]; then
  rm -f "$destdir$libdir/libunistream.so" "$destdir$libdir/libunistream.so.$major" "$destdir$libdir/libunistream.so.$version" \
    "$destdir$libdir/.debug/libunistream.so.$version.debug" "$destdir$libdir/libunistream.a" "$destdir$libdir/pkgconfig/unistream.pc" \
    "$destdir$includedir/unistream.h" "$destdir$mandir/man3/unistream.3"
  rm -rf "$destdir$cmakedir" "$destdir$supdir" "$destdir$docdir"
  # Only if nothing of others is in it.
  rmdir "$destdir$libdir/.debug" 2> /dev/null || true
  exit 0
fi

install -d "$destdir$libdir/pkgconfig" "$destdir$libdir/.debug" "$destdir$includedir" "$destdir$docdir" "$destdir$mandir/man3" \
  "$destdir$cmakedir" "$destdir$supdir"

# The shared library.
installed=$destdir$libdir/libunistream.so.$version
debug=$destdir$libdir/.debug/libunistream.so.$version.debug
rm -f "$installed" "$debug"
"${OBJCOPY:-objcopy}" --only-keep-debug --compress-debug-sections "$library/libunistream.so" "$debug"
install -m 755 "$library/libunistream.so" "$installed"
"${STRIP:-strip}" --strip-unneeded "$installed"
"${OBJCOPY:-objcopy}" --add-gnu-debuglink="$debug" "$installed"
chmod 644 "$debug"
ln -sf "libunistream.so.$version" "$destdir$libdir/libunistream.so.$major"
ln -sf "libunistream.so.$major" "$destdir$libdir/libunistream.so"

# The static library: Rust's standard library is in it, whose symbols would meet those of another one.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
"${NM:-nm}" -D --defined-only "$library/libunistream.so" | awk '{ print $3 }' > "$scratch/names"
"${LD:-ld}" -r --force-group-allocation --gc-sections -e unistream_version $(sed 's/^/-u /' "$scratch/names") \
  -o "$scratch/unistream.o" "$library/libunistream.a"
# What is kept for link-time optimisation by the compiler that made it is of no use to another.
"${OBJCOPY:-objcopy}" --strip-debug -R .llvmbc -R .llvmcmd --keep-global-symbols="$scratch/names" "$scratch/unistream.o"
"${STRIP:-strip}" --strip-unneeded "$scratch/unistream.o"
rm -f "$destdir$libdir/libunistream.a"
"${AR:-ar}" rcsD "$destdir$libdir/libunistream.a" "$scratch/unistream.o"
chmod 644 "$destdir$libdir/libunistream.a"

# fill FILE TARGET: a file with the places filled in.
fill() {
  sed -e "s|@PREFIX@|$prefix|" -e "s|@LIBDIR@|$libdir|" -e "s|@INCLUDEDIR@|$includedir|" -e "s|@VERSION@|$version|" \
    -e "s|@MAJOR@|$major|" -e "s|@LIBS@|$libs|" -e "s|@TO_ROOT@|$(echo "${cmakedir#/}" | sed 's|[^/][^/]*|..|g')|" "$root/ffi/$1" > "$scratch/filled"
  install -m 644 "$scratch/filled" "$2"
}
fill unistream.pc.in "$destdir$libdir/pkgconfig/unistream.pc"
# Relative to where CMake finds it, so that a tree may be moved.
for file in unistreamConfig.cmake unistreamConfigVersion.cmake; do
  fill "$file.in" "$destdir$cmakedir/$file"
done
awk -v "version=$version" -f "$root/ffi/manual.awk" "$root/include/unistream.h" > "$scratch/filled"
install -m 644 "$scratch/filled" "$destdir$mandir/man3/unistream.3"
install -m 644 "$root/include/unistream.h" "$destdir$includedir/unistream.h"
install -m 644 "$root/ffi/tsan.supp" "$destdir$supdir/tsan.supp"
for file in LICENSE-MIT LICENSE-APACHE ffi/THIRD-PARTY-NOTICES.txt ffi/unistream.cdx.json; do
  install -m 644 "$root/$file" "$destdir$docdir/"
done
