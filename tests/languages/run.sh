#!/usr/bin/env bash
# Runs the examples of other languages over the C ABI (ffi/examples/language.*, Language.java), against the library as it is
# developed. Each does three things in a fresh directory, and all print the same. Ends with a line "N passed, N failed".
#
# Ruby and LuaJIT are installed from Debian if that is possible. A language that is not there is named, and is no failure, except
# Node, which the project needs. koffi and JNA are installed at fixed versions under target/languages.
#
#   NO_INSTALL=1   never call apt-get
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/languages
examples=$root/ffi/examples
place=${CARGO_TARGET_DIR:-$root/target}/languages
mkdir -p "$place"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
passed=0
failed=0
missing=

has() {
  command -v "$1" > /dev/null 2>&1
}

wanted=
has ruby || wanted="$wanted ruby"
has luajit || wanted="$wanted luajit"
if [ -n "$wanted" ] && [ -z "${NO_INSTALL:-}" ] && [ "$(id -u)" -eq 0 ] && has apt-get; then
  # Other parts may be installing at this moment.
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $wanted > /dev/null 2>&1 ||
    echo "could not install:$wanted"
fi

cargo build -q --locked -p unistream-ffi || exit 1
tree=$scratch/tree
PREFIX=/usr DESTDIR=$tree LIBRARY=${CARGO_TARGET_DIR:-$root/target}/debug "$root/ffi/install.sh" || exit 1
export LD_LIBRARY_PATH=$tree/usr/lib PKG_CONFIG_PATH=$tree/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$tree

# run LANGUAGE COMMAND...: the example, in a directory of its own.
run() {
  language=$1
  shift
  directory=$scratch/$language
  mkdir -p "$directory"
  if (cd "$directory" && timeout 300 "$@" > printed 2> errors) &&
    [ "$(cat "$directory/printed")" = "$(printf 'callback: called back\nmanual: by hand')" ] &&
    [ "$(cat "$directory/events.log")" = hello ]; then
    passed=$((passed + 1))
    echo "$language: passed"
  else
    failed=$((failed + 1))
    echo "$language: FAILED"
    tail -n 40 "$directory/printed" "$directory/errors" "$directory/events.log" 2>&1 | sed 's/^/    /'
  fi
}

# The linker of LuaJIT and JNA's loader look for the name without a version, Ruby and Node for that which programs record.
node_example() {
  if ! cmp -s "$here/package-lock.json" "$place/package-lock.json" || [ ! -d "$place/node_modules" ]; then
    cp "$here/package.json" "$here/package-lock.json" "$place/"
    npm ci --prefix "$place" --no-audit --no-fund --ignore-scripts --loglevel=error 1>&2 || return 1
  fi
  NODE_PATH=$place/node_modules node "$examples/language.js"
}
java_example() {
  if ! (cd "$place" && sha256sum --quiet -c "$here/jars.sha256" > /dev/null 2>&1); then
    mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy -Dartifact=net.java.dev.jna:jna:5.19.1 \
      -DoutputDirectory="$place" 1>&2 && (cd "$place" && sha256sum --quiet -c "$here/jars.sha256" 1>&2) || return 1
  fi
  java -cp "$place/jna-5.19.1.jar" "$examples/Language.java"
}
go_example() {
  GOTOOLCHAIN=local GOCACHE=$place/go-cache GOFLAGS=-mod=mod CGO_ENABLED=1 go run "$examples/language.go"
}
export -f node_example java_example go_example
export here place examples

# What a language is found by, its name, and how it is run.
if has node; then
  run Node bash -c node_example
else
  failed=$((failed + 1))
  echo "Node: FAILED: it is not installed, and the project needs it"
fi
if has go && has pkg-config; then run Go bash -c go_example; else missing="$missing Go"; fi
if has java && has mvn; then run Java bash -c java_example; else missing="$missing Java-with-Maven"; fi
if has ruby; then run Ruby ruby "$examples/language.rb"; else missing="$missing Ruby"; fi
if has luajit; then run LuaJIT luajit "$examples/language.lua"; else missing="$missing LuaJIT"; fi

if [ -n "$missing" ]; then echo "NOT RUN, because not installed:$missing"; fi
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
