#!/usr/bin/env bash
# Checks the wheel of `make wheels`: what is in it, its metadata, that it keeps to the stable ABI; then installs it into every
# CPython from 3.11 on that is found, uses it and ends, in five ways, some of which leave threads at it. Ends with a line
# "N passed, N failed".
#   TIMES=50        how often for each CPython
#   PYTHONS=...     these instead of those that are found
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/wheels/install.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
passed=0
failed=0
check() {
  label=$1
  shift
  if "$@" > "$scratch/out" 2>&1; then
    passed=$((passed + 1))
    echo "$label: passed"
  else
    failed=$((failed + 1))
    echo "$label: FAILED"
  fi
  sed 's/^/    /' "$scratch/out" | tail -n 20
}

wheel=$(ls target/dist/unistream-*-manylinux_2_17_"$(uname -m)"*.whl 2> /dev/null | tail -n 1)
[ -n "$wheel" ] || { echo "no wheel of this machine in target/dist: make wheels" >&2; exit 1; }
echo "$wheel"
check "the library in it" "$place/venv/bin/python" tests/wheels/inspect_wheel.py "$wheel"
runs_on_old() {
  "$place/venv/bin/auditwheel" show "$wheel" | tr '\n' ' ' > "$scratch/show" && grep -o 'consistent with[^.]*"manylinux_2_17[^.]*' "$scratch/show"
}
check "auditwheel" runs_on_old
check "abi3audit" "$place/venv/bin/abi3audit" --strict --summary "$wheel"
check "twine check" "$place/venv/bin/twine" check --strict "$wheel"

# Each once, by the directory of its standard library: names in PATH may be links and shims.
found() {
  for python in ${PYTHONS:-$(compgen -c python3 | grep -E '^python3(\.[0-9]+t?)?$' | sort -u) "$HOME"/.pyenv/versions/*/bin/python3 /usr/bin/python3}; do
    "$python" - 2> /dev/null << 'END'
import os, sys
if sys.implementation.name == "cpython" and sys.version_info >= (3, 11):
    print(os.path.realpath(sys.executable), sys.version.split()[0], getattr(sys, "abiflags", "") or "-")
END
  done | sort -u
}
times=${TIMES:-50}
ends_well() {
  rm -rf "$scratch/venv"
  "$1" -m venv "$scratch/venv" 2> "$scratch/venv.log" || { "$place/venv/bin/python" -m venv --help > /dev/null; cat "$scratch/venv.log"; return 1; }
  "$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel" || return 1
  "$scratch/venv/bin/unistream" --version || return 1
  crashed=0
  for number in $(seq "$times"); do
    mkdir "$scratch/run"
    status=0
    timeout 120 "$scratch/venv/bin/python" tests/wheels/smoke.py "$number" "$scratch/run" > "$scratch/said" 2>&1 || status=$?
    if [ "$status" -ne 0 ] || [ "$(cat "$scratch/said")" != ok ]; then
      crashed=$((crashed + 1))
      echo "run $number ended with $status"
      tail -n 5 "$scratch/said"
    fi
    rm -rf "$scratch/run"
  done
  echo "$times runs, $crashed that did not end well"
  [ "$crashed" -eq 0 ]
}
while read -r python version flags; do
  [ -n "$python" ] || continue
  case $flags in
    *t*)
      echo "$version ($python) is free-threaded, for which the stable ABI of 3.11 does not hold: passed over"
      continue
      ;;
  esac
  check "CPython $version ($python)" ends_well "$python"
done <<< "$(found)"

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
