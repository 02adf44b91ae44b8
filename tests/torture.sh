#!/bin/sh
# The deep part of the proofs on a real disk: programs in C and Python, with several threads, killed hundreds of times.
# Prints one line a language: kills, records acknowledged, lost, twice. And the tests of servers that take long.
#   tests/torture.sh [KILLS]
set -eu
cd "$(dirname "$0")/.."
UNISTREAM_KILLS=${1:-150}
export UNISTREAM_KILLS
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM

make -s -f ffi/install.mk install PREFIX=/usr DESTDIR="$scratch/tree"
gcc -std=c99 -D_POSIX_C_SOURCE=200809L -O2 -I"$scratch/tree/usr/include" -o "$scratch/test_crash" tests/c/test_crash.c \
  -L"$scratch/tree/usr/lib" -lunistream -lpthread
status=0
LD_LIBRARY_PATH=$scratch/tree/usr/lib TMPDIR=$scratch "$scratch/test_crash" > "$scratch/out" 2>&1 || status=$?
if [ "$status" -ne 0 ]; then
  cat "$scratch/out"
  echo "c: FAILED"
else
  sed -n 's/^# \(.*kills.*\)/c: \1/p' "$scratch/out"
fi

python/install.sh
if target/venv/bin/python -m pytest -c python/pyproject.toml --rootdir . -p no:cacheprovider --basetemp "$scratch/python" \
  -q -s tests/python/test_kill.py > "$scratch/out" 2>&1; then
  grep '^python, ' "$scratch/out"
else
  status=1
  cat "$scratch/out"
  echo "python: FAILED"
fi
if target/venv/bin/python -m pytest -c python/pyproject.toml --rootdir . -p no:cacheprovider --basetemp "$scratch/servers" \
  -q -m deep tests/python/test_outbox_servers.py > "$scratch/out" 2>&1; then
  echo "python, workers of Celery killed and restarted: 0 lost"
else
  status=1
  cat "$scratch/out"
  echo "python, Celery: FAILED"
fi
exit "$status"
