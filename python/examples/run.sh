#!/usr/bin/env bash
# Runs an example with the wheel of this checkout: python/examples/run.sh simple_producer.py [arguments]
set -euo pipefail
cd "$(dirname "$0")/../.."
python/install.sh
example=$1
shift
exec target/venv/bin/python "python/examples/$example" "$@"
