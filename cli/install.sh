#!/bin/sh
# Installs the command `unistream`: the binary, its man pages, completions for bash, zsh and fish, the licences of all
# that is linked, and the bill of materials (CycloneDX). `make install` builds and calls it.
#
#   PREFIX=/usr/local  DESTDIR=  BINDIR=$PREFIX/bin  MANDIR=$PREFIX/share/man  DOCDIR=$PREFIX/share/doc/unistream-cli
#   COMMAND=target/release/unistream    the binary that was built
#   REMOVE=1                            removes what it lays down instead
#   STRIP=strip                         that of the machine that it is for
#   RUN=$COMMAND                        one that runs on this machine, to write the pages
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
prefix=${PREFIX:-/usr/local}
bindir=${BINDIR:-$prefix/bin}
mandir=${MANDIR:-$prefix/share/man}
docdir=${DOCDIR:-$prefix/share/doc/unistream-cli}
destdir=${DESTDIR:-}
command=${COMMAND:-${CARGO_TARGET_DIR:-$root/target}/release/unistream}
run=${RUN:-$command}

if [ -n "${REMOVE:-}" ]; then
  rm -f "$destdir$bindir/unistream" "$destdir$mandir/man1/unistream.1" "$destdir$mandir"/man1/unistream-*.1 \
    "$destdir$prefix/share/bash-completion/completions/unistream" "$destdir$prefix/share/zsh/site-functions/_unistream" \
    "$destdir$prefix/share/fish/vendor_completions.d/unistream.fish"
  rm -rf "$destdir$docdir"
  exit 0
fi

install -d "$destdir$bindir" "$destdir$docdir"
install -m 755 "$command" "$destdir$bindir/unistream"
"${STRIP:-strip}" "$destdir$bindir/unistream"
"$run" man "$destdir$mandir/man1"
complete() {
  install -d "$destdir$prefix/share/$2"
  "$run" completions "$1" > "$destdir$prefix/share/$2/$3"
}
complete bash bash-completion/completions unistream
complete zsh zsh/site-functions _unistream
complete fish fish/vendor_completions.d unistream.fish
for file in LICENSE-MIT LICENSE-APACHE cli/THIRD-PARTY-NOTICES.txt cli/unistream.cdx.json; do
  install -m 644 "$root/$file" "$destdir$docdir/"
done
