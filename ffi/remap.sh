#!/bin/sh
# Prints the RUSTFLAGS with which what is shipped is built: no path of the machine that builds it is in it, and two builds in
# two directories have the same bytes. One set for the library, the command line and the wheel, so that they share what is
# compiled.
root=$(cd "$(dirname "$0")/.." && pwd)
echo "--remap-path-prefix=$root=/unistream --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo${RUSTFLAGS:+ $RUSTFLAGS}"
