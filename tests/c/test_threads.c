/* Many threads on one producer: nothing is lost, nothing hangs, and the close may come at any moment. */
#include "check.h"

enum { PUTTERS = 8, PUTS = 2000 };

typedef struct crowd {
  unistream_producer *producer;
  pthread_mutex_t lock;
  uint64_t accepted;
  uint64_t delivered;
  uint64_t last_of[PUTTERS]; /* the number of each thread's last record delivered, from 1 */
  bool in_order;
  bool unexpected; /* an error that is not about the close */
  bool done;
  int destroyed;
} crowd;

static void crowd_init(crowd *all) {
  memset(all, 0, sizeof *all);
  pthread_mutex_init(&all->lock, NULL);
  all->in_order = true;
}

/* One sender at a time; each thread's records arrive in the order in which it put them. */
static unistream_outcome count_in_order(void *user_data, const unistream_batch *batch, unistream_report *report) {
  crowd *all = (crowd *)user_data;
  unistream_record record = UNISTREAM_RECORD_INIT;
  (void)report;
  pthread_mutex_lock(&all->lock);
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    uint64_t stamp[2];
    memcpy(stamp, record.data, sizeof stamp);
    all->in_order = all->in_order && all->last_of[stamp[0]] < stamp[1];
    all->last_of[stamp[0]] = stamp[1];
    all->delivered++;
  }
  pthread_mutex_unlock(&all->lock);
  return UNISTREAM_OUTCOME_DELIVERED;
}

static void crowd_destroy(void *user_data) {
  crowd *all = (crowd *)user_data;
  pthread_mutex_lock(&all->lock);
  all->destroyed++;
  pthread_mutex_unlock(&all->lock);
}

static void crowd_open(crowd *all, const char *path) {
  unistream_sink *sink = NULL;
  OK(unistream_sink_callback(count_in_order, all, crowd_destroy, &sink));
  OK(unistream_producer_open(path, sink, NULL, &all->producer));
}

/* Notes the error; returns whether the producer still takes calls. */
static bool goes_on(crowd *all, unistream_error *error) {
  unistream_code code = unistream_error_code(error);
  if (code != UNISTREAM_ERROR_NONE && code != UNISTREAM_ERROR_CLOSED && code != UNISTREAM_ERROR_TIMEOUT) {
    printf("# %s\n", unistream_error_message(error));
    pthread_mutex_lock(&all->lock);
    all->unexpected = true;
    pthread_mutex_unlock(&all->lock);
  }
  unistream_error_free(error);
  return code != UNISTREAM_ERROR_CLOSED;
}

typedef struct putter {
  crowd *all;
  uint64_t number;
  uint64_t accepted;
} putter;

static void *put_all(void *argument) {
  putter *self = (putter *)argument;
  for (uint64_t i = 1; i <= PUTS; i++) {
    uint64_t stamp[2] = {self->number, i};
    unistream_error *error = unistream_producer_put(self->all->producer, stamp, sizeof stamp);
    if (!error) self->accepted++;
    if (!goes_on(self->all, error)) break;
  }
  return NULL;
}

static bool is_done(crowd *all) {
  pthread_mutex_lock(&all->lock);
  bool done = all->done;
  pthread_mutex_unlock(&all->lock);
  return done;
}

static void *look_at_stats(void *argument) {
  crowd *all = (crowd *)argument;
  while (!is_done(all)) {
    unistream_stats *stats = NULL;
    goes_on(all, unistream_producer_stats(all->producer, &stats));
    unistream_stats_free(stats);
  }
  return NULL;
}

static void *flush_often(void *argument) {
  crowd *all = (crowd *)argument;
  while (!is_done(all) && goes_on(all, unistream_producer_flush(all->producer, 5))) {
    goes_on(all, unistream_producer_sync(all->producer));
  }
  return NULL;
}

static void *close_soon(void *argument) {
  crowd *all = (crowd *)argument;
  sleep_ms(2);
  goes_on(all, unistream_producer_close(all->producer, PATIENCE_MS, NULL));
  return NULL;
}

/* Puts from 8 threads while others look, flush and, if asked, close. */
static void run_crowd(crowd *all, bool closing) {
  pthread_t putters[PUTTERS], others[4];
  putter state[PUTTERS];
  int helpers = 0;
  for (int i = 0; i < PUTTERS; i++) {
    putter self = {all, (uint64_t)i, 0};
    state[i] = self;
    CHECK(pthread_create(&putters[i], NULL, put_all, &state[i]) == 0);
  }
  CHECK(pthread_create(&others[helpers++], NULL, look_at_stats, all) == 0);
  CHECK(pthread_create(&others[helpers++], NULL, flush_often, all) == 0);
  if (closing) {
    CHECK(pthread_create(&others[helpers++], NULL, close_soon, all) == 0);
    CHECK(pthread_create(&others[helpers++], NULL, close_soon, all) == 0);
  }
  for (int i = 0; i < PUTTERS; i++) {
    pthread_join(putters[i], NULL);
    all->accepted += state[i].accepted;
  }
  pthread_mutex_lock(&all->lock);
  all->done = true;
  pthread_mutex_unlock(&all->lock);
  for (int i = 0; i < helpers; i++) pthread_join(others[i], NULL);
}

static void many_threads_put(void) {
  crowd all;
  crowd_init(&all);
  crowd_open(&all, fresh_path());
  run_crowd(&all, false);
  OK(unistream_producer_close(all.producer, PATIENCE_MS, NULL));
  unistream_producer_free(all.producer);
  CHECK(!all.unexpected && all.in_order && all.destroyed == 1);
  CHECK(all.accepted == PUTTERS * PUTS && all.delivered == all.accepted);
}

static void close_comes_while_threads_put(void) {
  for (int round = 0; round < 10; round++) {
    crowd all;
    const char *path = fresh_path();
    uint64_t left = 0;
    crowd_init(&all);
    crowd_open(&all, path);
    run_crowd(&all, true);
    OK(unistream_producer_close(all.producer, 0, &left));
    unistream_producer_free(all.producer);
    CHECK(!all.unexpected && all.in_order && all.destroyed == 1);
    CHECK(all.delivered + left == all.accepted);
    /* What was accepted after the last batch went out is there in the next run. */
    crowd_open(&all, path);
    OK(unistream_producer_close(all.producer, PATIENCE_MS, NULL));
    unistream_producer_free(all.producer);
    CHECK(all.in_order && all.delivered == all.accepted);
  }
}

int main(void) {
  RUN(many_threads_put);
  RUN(close_comes_while_threads_put);
  return failed_tests != 0;
}
