#!/bin/sh
# Puts Prometheus and promtool into target/prometheus, as Debian packages them. The package is unpacked and not installed, so
# that no service is started. Prints the folder of the programs.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
place=${CARGO_TARGET_DIR:-$root/target}/prometheus
if [ -x "$place/usr/bin/promtool" ]; then
    echo "$place/usr/bin"
    exit
fi
if command -v prometheus > /dev/null && command -v promtool > /dev/null; then
    dirname "$(command -v prometheus)"
    exit
fi
if ! command -v apt-get > /dev/null; then
    echo "the tests of the metrics need prometheus and promtool: install them" >&2
    exit 1
fi
mkdir -p "$place/new"
exec 9> "$place/../packages.lock"
flock 9
cd "$place/new"
apt-get -qq download prometheus > /dev/null 2>&1 || { apt-get -qq update; apt-get -qq download prometheus; }
dpkg -x prometheus_*.deb .
mv usr "$place/"
cd "$place"
rm -rf new
echo "$place/usr/bin"
