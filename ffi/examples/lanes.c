/*
 * Order by key: each of 64 keys keeps its order, and eight calls are under way at once.
 *
 * The sink takes 50 ms a call, whatever is in it. The program sends the same records twice: one batch at a time, then in eight
 * lanes. It fails if a key has lost its order or a record is missing, and prints how much faster the lanes were.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistream.h>

enum { KEYS = 64, RECORDS = 64 * 98 };

/* What the sink has seen: how many records, and the last number of each key. Several threads call the sink. */
typedef struct seen {
  pthread_mutex_t lock;
  unsigned records;
  bool in_order;
  int last[KEYS];
} seen;

/* The squares of a chessboard. */
static void key_of(int number, char key[3]) {
  key[0] = (char)('a' + number % 8);
  key[1] = (char)('1' + number / 8 % 8);
  key[2] = '\0';
}

static unistream_outcome receive(void *user_data, const unistream_batch *batch, unistream_report *report) {
  seen *books = (seen *)user_data;
  const struct timespec call = {0, 50 * 1000 * 1000};
  unistream_record record = UNISTREAM_RECORD_INIT;
  (void)report;
  nanosleep(&call, NULL);
  pthread_mutex_lock(&books->lock);
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    const char *key = (const char *)record.key;
    char digits[16] = "";
    memcpy(digits, record.data, record.data_length < 15 ? record.data_length : 15);
    int number = atoi(digits);
    int *last = &books->last[(key[0] - 'a') + 8 * (key[1] - '1')];
    if (*last >= number) books->in_order = false;
    *last = number;
    books->records++;
  }
  pthread_mutex_unlock(&books->lock);
  return UNISTREAM_OUTCOME_DELIVERED;
}

static void check(unistream_error *error) {
  if (!error) return;
  fprintf(stderr, "%s\n", unistream_error_message(error));
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Records a second. */
static double run(const char *order, const char *in_flight) {
  seen books = {PTHREAD_MUTEX_INITIALIZER, 0, true, {0}};
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_config *config = unistream_config_new();
  for (int key = 0; key < KEYS; key++) books.last[key] = -1;
  check(unistream_config_set(config, "order", order));
  check(unistream_config_set(config, "max_in_flight", in_flight));
  check(unistream_config_set(config, "max_records", "80"));
  check(unistream_config_set(config, "linger", "none"));
  check(unistream_sink_callback(receive, &books, NULL, &sink));
  check(unistream_producer_open("outbox", sink, config, &producer));
  unistream_config_free(config);

  double begin = now();
  for (int number = 0; number < RECORDS; number++) {
    char key[3], data[16];
    unistream_record record = UNISTREAM_RECORD_INIT;
    key_of(number, key);
    record.data_length = (size_t)snprintf(data, sizeof data, "%d", number);
    record.data = (const uint8_t *)data;
    record.key = (const uint8_t *)key;
    record.key_length = 2;
    check(unistream_producer_put_record(producer, &record, NULL));
  }
  check(unistream_producer_flush(producer, 60000));
  double rate = RECORDS / (now() - begin);
  check(unistream_producer_close(producer, 10000, NULL));
  unistream_producer_free(producer);
  if (books.records != RECORDS || !books.in_order) {
    fprintf(stderr, "order %s: %u records, %s\n", order, books.records, books.in_order ? "in order" : "out of order");
    exit(1);
  }
  printf("order %s, %s in flight: %.0f records/s, each key in order\n", order, in_flight, rate);
  return rate;
}

int main(void) {
  double one = run("total", "1");
  double eight = run("key", "8");
  printf("%.1f times the records\n", eight / one);
  return 0;
}
