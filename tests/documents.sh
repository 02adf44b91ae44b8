#!/bin/sh
# Every file and folder that a document names is there.
set -eu
cd "$(dirname "$0")/.."
status=0
for path in $(git grep -ohE '`(cli|core|docs|ffi|include|python|tests)/[A-Za-z0-9_./-]+`' -- '*.md' | tr -d '`' | sort -u); do
  if [ ! -e "$path" ]; then
    git grep -nF "\`$path\`" -- '*.md' | cut -d: -f1,2 | sed "s|\$|: $path is not there|"
    status=1
  fi
done
# And every link between documents leads somewhere.
"${PYTHON:-python3}" docs/site/assemble.py "${CARGO_TARGET_DIR:-target}/site/pages" || status=1
exit $status
