#!/bin/sh
# The C rows of `make bench`: the cost of a put from C, beside Rust's in the same run, and beside librdkafka's
# rd_kafka_produce() where its headers are installed (Debian: librdkafka-dev). One JSON object a line.
#
# The programs take turns, so that a noisy minute hurts all of them; a row is the median of its turns.
#
#   TURNS=5                how often each program runs
#   UNISTREAM_BENCH_DIR=   where the buffers lie; default: a temporary directory
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
turns=${TURNS:-5}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch" "${buffers:-}"' EXIT
trap 'exit 1' INT TERM
buffers=$(mktemp -d "${UNISTREAM_BENCH_DIR:-${TMPDIR:-/tmp}}/unistream-bench-XXXXXX")

cd "$root"
cargo build --release --locked -q -p unistream-ffi >&2
# Built as the library is built: the Rust row differs from the C row in the language only.
rust=$(cargo bench --locked -p unistream-ffi --bench put --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*\/put-[^"]*\)".*/\1/p' | tail -n 1)
DESTDIR=$scratch PREFIX=/usr "$root/ffi/install.sh"
${CC:-cc} -std=c99 -D_POSIX_C_SOURCE=200809L -O2 -Wall -Wextra -Werror -I"$scratch/usr/include" \
  -o "$scratch/put" "$here/put.c" -L"$scratch/usr/lib" -lunistream
LD_LIBRARY_PATH=$scratch/usr/lib
export LD_LIBRARY_PATH
programs="rust c"
if echo '#include <librdkafka/rdkafka.h>' | ${CC:-cc} -E - > /dev/null 2>&1; then
  ${CC:-cc} -std=c99 -D_POSIX_C_SOURCE=200809L -O2 -Wall -Wextra -Werror -o "$scratch/rdkafka" "$here/rdkafka.c" -lrdkafka
  programs="$programs rdkafka rdkafka-poll"
else
  echo "librdkafka-dev is not installed: no row to compare with" >&2
fi

for bytes in 100 1024; do
  turn=0
  while [ "$turn" -lt "$turns" ]; do
    turn=$((turn + 1))
    for program in $programs; do
      rm -rf "$buffers/buffer"
      case $program in
        rust) "$rust" "$bytes" "$buffers/buffer" ;;
        c) "$scratch/put" "$bytes" "$buffers/buffer" ;;
        rdkafka) "$scratch/rdkafka" "$bytes" 2> /dev/null ;;
        rdkafka-poll) "$scratch/rdkafka" "$bytes" poll 2> /dev/null ;;
      esac >> "$scratch/$program-$bytes"
    done
  done
  for program in $programs; do
    case $program in
      rust) row="put, Rust" ;;
      c) row="put, C" ;;
      rdkafka) row="rd_kafka_produce, mock cluster" ;;
      rdkafka-poll) row="rd_kafka_produce and rd_kafka_poll, mock cluster" ;;
    esac
    sort -n "$scratch/$program-$bytes" | awk -v row="$row, $bytes B" '
      { values[NR] = $1 }
      END {
        printf "{\"row\": \"%s\", \"unit\": \"ns\", \"value\": %.1f, \"min\": %.1f, \"max\": %.1f, \"turns\": %d}\n",
          row, values[int((NR + 1) / 2)], values[1], values[NR], NR
      }'
  done
done
