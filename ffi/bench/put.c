/* The C row of run.sh: put BYTES DIRECTORY prints the median cost of unistream_producer_put() in nanoseconds. */
#include "bench.h"

#include <unistream.h>

static void check(unistream_error *error) {
  if (!error) return;
  fprintf(stderr, "%s\n", unistream_error_message(error));
  exit(1);
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  size_t bytes = strtoul(arguments[1], NULL, 10);
  long puts = puts_of(bytes);
  void *data = payload(bytes);
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_stats *stats = NULL;
  uint64_t delivered = 0;
  check(unistream_sink_null(&sink));
  check(unistream_producer_open(arguments[2], sink, NULL, &producer));
  for (int round = 0; round < WARM_UP + ROUNDS; round++) {
    double start = now_ns();
    for (long i = 0; i < puts; i++) {
      unistream_error *error = unistream_producer_put(producer, data, bytes);
      if (error) check(error);
    }
    costs[round] = (now_ns() - start) / (double)puts;
    check(unistream_producer_flush(producer, 60000));
  }
  check(unistream_producer_stats(producer, &stats));
  check(unistream_stats_get(stats, "delivered_records", &delivered));
  unistream_stats_free(stats);
  check(unistream_producer_close(producer, 60000, NULL));
  unistream_producer_free(producer);
  free(data);
  if (delivered != (uint64_t)((WARM_UP + ROUNDS) * puts)) {
    fprintf(stderr, "%llu records were delivered\n", (unsigned long long)delivered);
    return 1;
  }
  print_median();
  return 0;
}
