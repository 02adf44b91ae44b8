/* Sinks that answer later. */
#include "check.h"

/* A sink that hands its completions to whoever takes them. */
typedef struct desk {
  pthread_mutex_t lock;
  unistream_completion *waiting[16];
  int count;
  int passed;
  int destroyed;
} desk;

#define DESK_INIT {PTHREAD_MUTEX_INITIALIZER, {NULL}, 0, 0, 0}

static void desk_send(void *user_data, unistream_completion *completion) {
  desk *sink = (desk *)user_data;
  pthread_mutex_lock(&sink->lock);
  sink->waiting[sink->count++] = completion;
  sink->passed++;
  pthread_mutex_unlock(&sink->lock);
}

static void desk_destroy(void *user_data) {
  desk *sink = (desk *)user_data;
  pthread_mutex_lock(&sink->lock);
  sink->destroyed++;
  pthread_mutex_unlock(&sink->lock);
}

/* The next completion; NULL if there is none yet. */
static unistream_completion *desk_take(desk *sink) {
  unistream_completion *completion = NULL;
  pthread_mutex_lock(&sink->lock);
  if (sink->count > 0) completion = sink->waiting[--sink->count];
  pthread_mutex_unlock(&sink->lock);
  return completion;
}

static unistream_error *open_async(const char *path, unistream_send_async_callback send, void *user_data,
                                   unistream_destroy_callback destroy, const char *const *pairs,
                                   unistream_producer **producer) {
  unistream_config *config = config_of(pairs);
  unistream_sink *sink = NULL;
  unistream_error *error = unistream_sink_callback_async(send, user_data, destroy, &sink);
  if (!error) error = unistream_producer_open(path, sink, config, producer);
  unistream_config_free(config);
  return error;
}

static void an_answer_comes_from_another_thread(void) {
  desk sink = DESK_INIT;
  unistream_producer *producer = NULL;
  unistream_completion *completion = NULL;
  unistream_record record = UNISTREAM_RECORD_INIT;
  OK(open_async(fresh_path(), desk_send, &sink, desk_destroy, NULL, &producer));
  OK(put_text(producer, "later"));
  FAILS(UNISTREAM_ERROR_TIMEOUT, unistream_producer_flush(producer, 20));
  EVENTUALLY((completion = desk_take(&sink)) != NULL);
  OK(put_text(producer, "meanwhile")); /* Puts do not wait for the answer. */
  CHECK(unistream_batch_count(unistream_completion_batch(completion)) == 1);
  CHECK(unistream_batch_record(unistream_completion_batch(completion), 0, &record));
  CHECK(record.data_length == 5 && memcmp(record.data, "later", 5) == 0);
  unistream_completion_finish(completion, UNISTREAM_OUTCOME_DELIVERED);
  EVENTUALLY(counter(producer, "delivered_records") == 1);
  EVENTUALLY((completion = desk_take(&sink)) != NULL);
  unistream_completion_finish(completion, UNISTREAM_OUTCOME_DELIVERED);
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  unistream_producer_free(producer);
  CHECK(sink.passed == 2 && sink.destroyed == 1);
}

/* Answers before it returns. */
static void at_once(void *user_data, unistream_completion *completion) {
  (void)user_data;
  unistream_completion_finish(completion, UNISTREAM_OUTCOME_DELIVERED);
}

static void an_answer_comes_at_once(void) {
  unistream_producer *producer = NULL;
  OK(open_async(fresh_path(), at_once, NULL, NULL, NULL, &producer));
  for (int i = 0; i < 2000; i++) OK(put_text(producer, "now"));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  EVENTUALLY(counter(producer, "delivered_records") == 2000);
  unistream_producer_free(producer);
}

static void an_answer_speaks_for_each_record(void) {
  const char *const once_full[] = {"linger", "none", "max_records", "3", NULL};
  desk sink = DESK_INIT;
  unistream_producer *producer = NULL;
  unistream_completion *completion = NULL;
  OK(open_async(fresh_path(), desk_send, &sink, NULL, once_full, &producer));
  for (int i = 0; i < 3; i++) OK(put_text(producer, "x"));
  EVENTUALLY((completion = desk_take(&sink)) != NULL);
  unistream_report_record(unistream_completion_report(completion), 0, UNISTREAM_OUTCOME_DELIVERED, NULL);
  unistream_report_record(unistream_completion_report(completion), 1, UNISTREAM_OUTCOME_REJECTED, "never");
  unistream_report_message(unistream_completion_report(completion), "the others");
  unistream_completion_finish(completion, UNISTREAM_OUTCOME_FAILED);
  EVENTUALLY((completion = desk_take(&sink)) != NULL);
  CHECK(unistream_batch_count(unistream_completion_batch(completion)) == 1);
  unistream_completion_finish(completion, UNISTREAM_OUTCOME_DELIVERED);
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  EVENTUALLY(counter(producer, "delivered_records") == 2);
  EVENTUALLY(counter(producer, "rejected_records") == 1);
  EVENTUALLY(counter(producer, "failed_attempts") == 1);
  unistream_producer_free(producer);
}

static void a_dropped_completion_is_a_failed_attempt(void) {
  desk sink = DESK_INIT;
  unistream_producer *producer = NULL;
  unistream_completion *completion = NULL;
  OK(open_async(fresh_path(), desk_send, &sink, NULL, NULL, &producer));
  OK(put_text(producer, "x"));
  EVENTUALLY((completion = desk_take(&sink)) != NULL);
  unistream_completion_free(completion);
  EVENTUALLY(counter(producer, "failed_attempts") == 1);
  EVENTUALLY((completion = desk_take(&sink)) != NULL);
  CHECK(unistream_batch_attempt(unistream_completion_batch(completion)) == 2);
  unistream_completion_finish(completion, UNISTREAM_OUTCOME_DELIVERED);
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  unistream_producer_free(producer);
}

static void close_does_not_wait_for_ever_for_an_answer(void) {
  const char *path = fresh_path();
  desk sink = DESK_INIT;
  kept next = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_completion *completion = NULL;
  unistream_record record = UNISTREAM_RECORD_INIT;
  uint64_t left = 0;
  OK(open_async(path, desk_send, &sink, desk_destroy, NULL, &producer));
  OK(put_text(producer, "unanswered"));
  EVENTUALLY((completion = desk_take(&sink)) != NULL);
  OK(unistream_producer_close(producer, 50, &left));
  CHECK(left == 1);
  unistream_producer_free(producer);
  CHECK(sink.destroyed == 1);
  /* The next run, while the completion is still out. */
  OK(open_kept(path, &next, NULL, &producer));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  CHECK(kept_text_is(&next, "unanswered\n"));
  CHECK(unistream_batch_record(unistream_completion_batch(completion), 0, &record));
  CHECK(record.data_length == 10);
  unistream_completion_finish(completion, UNISTREAM_OUTCOME_DELIVERED); /* Too late; without effect. */
  unistream_producer_free(producer);
}

/* Answers from many threads, several batches in flight. */
static void *answer_some(void *user_data) {
  desk *sink = (desk *)user_data;
  for (int answered = 0; answered < 100;) {
    unistream_completion *completion = desk_take(sink);
    if (completion) {
      unistream_completion_finish(completion, UNISTREAM_OUTCOME_DELIVERED);
      answered++;
    } else {
      sleep_ms(1);
    }
  }
  return NULL;
}

static void several_batches_are_in_flight(void) {
  const char *const parallel[] = {"max_in_flight", "4", "max_records", "1", NULL};
  desk sink = DESK_INIT;
  unistream_producer *producer = NULL;
  pthread_t threads[4];
  OK(open_async(fresh_path(), desk_send, &sink, NULL, parallel, &producer));
  for (int i = 0; i < 400; i++) OK(put_text(producer, "x"));
  EVENTUALLY(counter(producer, "attempts") >= 4); /* Four are out, and none is answered. */
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, answer_some, &sink) == 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  EVENTUALLY(counter(producer, "delivered_records") == 400);
  unistream_producer_free(producer);
}

/* The user's own way to cut a send short. */
typedef struct blocked {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool sending;
  bool interrupted;
} blocked;

static unistream_outcome block(void *user_data, const unistream_batch *batch, unistream_report *report) {
  blocked *sink = (blocked *)user_data;
  (void)batch;
  (void)report;
  pthread_mutex_lock(&sink->lock);
  sink->sending = true;
  while (!sink->interrupted) pthread_cond_wait(&sink->changed, &sink->lock);
  pthread_mutex_unlock(&sink->lock);
  return UNISTREAM_OUTCOME_UNAVAILABLE;
}

static void unblock(void *user_data) {
  blocked *sink = (blocked *)user_data;
  pthread_mutex_lock(&sink->lock);
  sink->interrupted = true;
  pthread_cond_broadcast(&sink->changed);
  pthread_mutex_unlock(&sink->lock);
}

static bool is_sending(blocked *sink) {
  pthread_mutex_lock(&sink->lock);
  bool sending = sink->sending;
  pthread_mutex_unlock(&sink->lock);
  return sending;
}

static void close_interrupts_a_send(void) {
  blocked sink = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};
  unistream_sink_callbacks callbacks = UNISTREAM_SINK_CALLBACKS_INIT;
  unistream_sink *handle = NULL;
  unistream_producer *producer = NULL;
  uint64_t left = 0;
  callbacks.user_data = &sink;
  callbacks.send = block;
  callbacks.interrupt = unblock;
  OK(unistream_sink_new(&callbacks, &handle));
  OK(unistream_producer_open(fresh_path(), handle, NULL, &producer));
  OK(put_text(producer, "x"));
  FAILS(UNISTREAM_ERROR_TIMEOUT, unistream_producer_flush(producer, 20));
  EVENTUALLY(is_sending(&sink));
  OK(unistream_producer_close(producer, 20, &left));
  CHECK(left == 1 && sink.interrupted);
  unistream_producer_free(producer);
}

int main(void) {
  RUN(an_answer_comes_from_another_thread);
  RUN(an_answer_comes_at_once);
  RUN(an_answer_speaks_for_each_record);
  RUN(a_dropped_completion_is_a_failed_attempt);
  RUN(close_does_not_wait_for_ever_for_an_answer);
  RUN(several_batches_are_in_flight);
  RUN(close_interrupts_a_send);
  return failed_tests != 0;
}
