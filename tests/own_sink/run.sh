#!/usr/bin/env bash
# Adds a sink to a copy of the tree as a contributor would, by its folder, its `mod` and one line in the registry, and reaches
# it from Rust, from C, from Python, on the command line, in the header and in the pages. Nothing else of the copy is changed.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
python/install.sh
export CARGO_TARGET_DIR=$root/target
scratch=$(mktemp -d)
receiver=
end() {
  [ -z "$receiver" ] || kill "$receiver" 2> /dev/null || true
  rm -rf "$scratch"
}
trap end EXIT
trap 'exit 1' INT TERM
copy=$scratch/tree
mkdir "$copy"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference -t "$copy"

# The folder and the two lines.
cp -r tests/own_sink/udp "$copy/core/src/sink/udp"
sed -i 's/^mod url;$/mod udp;\nmod url;/' "$copy/core/src/sink/mod.rs"
sed -i 's/&null::KIND/\&null::KIND, \&super::udp::KIND/' "$copy/core/src/sink/registry.rs"
cd "$copy"

${PYTHON:-python3} "$root/tests/own_sink/receive.py" "$scratch/port" > "$scratch/received" &
receiver=$!
while [ ! -e "$scratch/port" ]; do sleep 0.05; done
udp=udp://127.0.0.1:$(cat "$scratch/port")

# The pages and the header: made anew, then compared as ever.
features=$(sed -n 's/^FEATURES = //p' Makefile)
for write in 1 ""; do
  ${write:+env UPDATE_DOCS=1} cargo test --quiet --locked -p unistream --features "$features" --test sink_pages
  ${write:+env UNISTREAM_WRITE_HEADER=1} cargo test --quiet --locked -p unistream-ffi -p unistream-cli -p unistream-python --test header
done > "$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
# Who adds a sink is not warned of what the tree does with it.
if grep -A8 '^warning' "$scratch/log"; then exit 1; fi
grep -q '^| `prefix` | text | any text | `` | What stands before each record. |$' docs/sinks/udp.md
grep -q '^## Networks$' docs/sinks/udp.md
grep -q '^| \[udp\](udp.md) | Sends each record as a datagram. |' docs/sinks/README.md
grep -q '^ \* udp://ADDRESS$' include/unistream.h

tests/build.sh
built=$CARGO_TARGET_DIR/debug
# Rust, by the URL.
"$built/examples/ship" "$scratch/rust" "$udp" <<< Rust
# C, by the name and options.
cc -std=c99 -Wall -Wextra -Werror -Iinclude -o "$scratch/main" "$root/tests/own_sink/main.c" "$built/libunistream.a" \
  -lpthread -ldl -lm
"$scratch/main" "$scratch/c" udp address "${udp#udp://}" prefix "from "
# Python, and the command line.
python=$root/target/venv/bin/python
"$root/target/venv/bin/maturin" build --quiet --locked --manifest-path python/Cargo.toml --out "$scratch/wheels" --interpreter "$python" \
  > "$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$scratch/site" "$scratch"/wheels/*.whl
cd "$scratch"
PYTHONPATH=$scratch/site "$python" - "$udp" << 'EOF'
import sys
import unistream

assert "udp" in {kind.scheme for kind in unistream.sinks()}
assert [row["key"] for row in unistream.options("udp")] == ["address", "prefix"]
with unistream.Producer("python", unistream.sink(sys.argv[1], prefix="from ")) as producer:
    producer.put("Python")
EOF
PYTHONPATH=$scratch/site "$python" -m unistream put --quiet --to "$udp?prefix=from%20" cli <<< "the command line of the wheel"
"$built/unistream" put --quiet --to "$udp?prefix=from%20" cli <<< "the command line"
PYTHONPATH=$scratch/site "$python" -m unistream put --quiet --to "$udp" cli <<< end

wait "$receiver"
receiver=
diff - "$scratch/received" << 'EOF'
Rust
from C
from Python
from the command line of the wheel
from the command line
EOF
echo "a sink of one folder and one line: reached from Rust, C, Python, the command line, the header and the pages"
