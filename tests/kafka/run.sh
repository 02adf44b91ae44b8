#!/bin/sh
# Runs the tests of the Kafka sink against Apache Kafka, on loopback; its brokers end with the tests. Arguments go to pytest.
set -eu
. "$(dirname "$0")/install.sh"
"$root/tests/build.sh"
KAFKA_TEST_PLACE=$place KAFKA_TEST_COMMAND=$place/../debug/unistream exec \
    "$place/venv/bin/python" -m pytest -q -p no:cacheprovider "$here" "$@"
