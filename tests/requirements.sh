#!/bin/sh
# Writes every requirements.txt anew from the requirements.in beside it: the same versions, with what they need and the
# hashes of all their files, which pip then insists on. `make requirements` after a requirements.in was changed.
set -eu
cd "$(dirname "$0")/.."
. tests/supply_chain/install.sh
for file in tests/python tests/aws tests/http tests/brokers tests/kafka tests/compat tests/compat/old tests/supply_chain tests/wheels python/bench docs/site; do
  echo "$file/requirements.txt"
  "$tools/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file "$file/requirements.new" \
    "$file/requirements.in"
  {
    echo "# Made from requirements.in by make requirements."
    cat "$file/requirements.new"
  } > "$file/requirements.txt"
  rm "$file/requirements.new"
done
