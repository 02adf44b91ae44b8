#!/bin/sh
# Installs packages of Debian that tests need, where their commands or files are not there yet:
# packages.sh COMMAND[=PACKAGE]... /FILE=PACKAGE...
# Without root it says what to install, and fails. Parts of `make test` that run side by side wait for each other here.
set -eu
missing=
for need in "$@"; do
    case $need in
    /*) [ -e "${need%%=*}" ] ;;
    *) command -v "${need%%=*}" > /dev/null 2>&1 ;;
    esac || missing="$missing ${need#*=}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "the tests need these packages of Debian, or what is as good:$missing" >&2
    exit 1
fi
place=${CARGO_TARGET_DIR:-$(dirname "$0")/../target}
mkdir -p "$place"
exec 9> "$place/packages.lock"
flock 9
install() {
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing
}
# The lists of a fresh machine are empty, and those of another may be old.
if ! install > "$place/packages.log" 2>&1 && ! { apt-get -qq update && install; } >> "$place/packages.log" 2>&1; then
    cat "$place/packages.log" >&2
    echo "the tests need these packages, which could not be installed:$missing" >&2
    exit 1
fi
