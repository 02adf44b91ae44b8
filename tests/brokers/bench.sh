#!/bin/sh
# Measures the NATS, Redis and PostgreSQL sinks beside clients of Python in one run; prints the rows as JSON.
set -eu
. "$(dirname "$0")/install.sh" >&2
bench=$(cargo bench --quiet --locked --manifest-path "$root/Cargo.toml" -p unistream --features nats,postgres,redis --bench brokers --no-run \
    --message-format=json | "$place/venv/bin/python" -c 'import json, sys
for line in sys.stdin:
    said = json.loads(line)
    if said.get("executable") and said["target"]["name"] == "brokers": print(said["executable"])')
BROKERS_TEST_PLACE=$place PYTHONPATH=$here:$here/.. exec "$place/venv/bin/python" "$here/bench.py" "$bench"
