#!/bin/sh
# Measures the Kafka sink beside librdkafka on Apache Kafka in one run; prints the rows as JSON. Without Java there are none.
set -eu
. "$(dirname "$0")/install.sh" >&2
if [ ! -d "$place/jars" ]; then
    echo "[]"
    exit
fi
bench=$(cargo bench --quiet --locked --manifest-path "$root/Cargo.toml" -p unistream --features kafka --bench kafka --no-run \
    --message-format=json | "$place/venv/bin/python" -c 'import json, sys
for line in sys.stdin:
    said = json.loads(line)
    if said.get("executable") and said["target"]["name"] == "kafka": print(said["executable"])')
KAFKA_TEST_PLACE=$place exec "$place/venv/bin/python" "$here/bench.py" "$bench"
