/* Opening, closing, stopping, forking, and calls from where they must not come. */
#include "check.h"

#include <signal.h>

static void destroy_runs_once_whatever_happens(void) {
  const char *path = fresh_path();
  kept first = KEPT_INIT, second = KEPT_INIT, unused = KEPT_INIT;
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL, *other = NULL;
  OK(open_kept(path, &first, NULL, &producer));
  unistream_error *error = open_kept(path, &second, NULL, &other);
  char pid[32];
  snprintf(pid, sizeof pid, "%ld", (long)getpid());
  CHECK(unistream_error_code(error) == UNISTREAM_ERROR_IN_USE && unistream_error_is_retryable(error));
  CHECK(strstr(unistream_error_message(error), pid) != NULL);
  unistream_error_free(error);
  CHECK(other == NULL && second.destroyed == 1);
  CHECK(first.destroyed == 0);
  unistream_producer_free(producer);
  CHECK(first.destroyed == 1);
  OK(unistream_sink_callback(kept_send, &unused, kept_destroy, &sink));
  unistream_sink_free(sink);
  CHECK(unused.destroyed == 1);
}

static void a_closed_producer_says_so(void) {
  const unistream_code closed = UNISTREAM_ERROR_CLOSED;
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_record record = UNISTREAM_RECORD_INIT;
  unistream_stats *stats = NULL;
  size_t accepted = 7;
  uint64_t left = 7;
  OK(open_kept(fresh_path(), &sink, NULL, &producer));
  OK(put_text(producer, "x"));
  OK(unistream_producer_close(producer, PATIENCE_MS, &left));
  CHECK(left == 0);
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  FAILS(closed, put_text(producer, "x"));
  FAILS(closed, unistream_producer_put_record(producer, &record, NULL));
  FAILS(closed, unistream_producer_put_many(producer, &record, 1, &accepted));
  CHECK(accepted == 0);
  FAILS(closed, unistream_producer_flush(producer, 0));
  FAILS(closed, unistream_producer_sync(producer));
  FAILS(closed, unistream_producer_resume(producer));
  OK(unistream_producer_stats(producer, &stats));
  CHECK(unistream_stats_state(stats) == UNISTREAM_STATE_CLOSED);
  unistream_stats_free(stats);
  unistream_producer_free(producer);
  CHECK(kept_text_is(&sink, "x\n") && sink.destroyed == 1);
}

static void what_is_left_is_delivered_by_the_next_run(void) {
  const char *path = fresh_path();
  kept down = KEPT_INIT, up = KEPT_INIT;
  unistream_producer *producer = NULL;
  uint64_t left = 0;
  down.failures = 1 << 30;
  down.answer = UNISTREAM_OUTCOME_UNAVAILABLE;
  OK(open_kept(path, &down, NULL, &producer));
  OK(put_text(producer, "first"));
  OK(put_text(producer, "second"));
  EVENTUALLY(kept_calls(&down) > 0);
  OK(unistream_producer_close(producer, 0, &left));
  CHECK(left == 2);
  unistream_producer_free(producer);
  OK(open_kept(path, &up, NULL, &producer));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  CHECK(kept_text_is(&up, "first\nsecond\n"));
  unistream_producer_free(producer);
}

static void raise_stops_until_resume(void) {
  const char *const raising[] = {"on_exhausted", "raise", "max_attempts", "2", NULL};
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_stats *stats = NULL;
  sink.failures = 2;
  OK(open_kept(fresh_path(), &sink, raising, &producer));
  OK(put_text(producer, "x"));
  unistream_error *error = unistream_producer_flush(producer, PATIENCE_MS);
  CHECK(unistream_error_code(error) == UNISTREAM_ERROR_RETRIES_EXHAUSTED);
  CHECK(unistream_error_cause(error, 0) != NULL);
  CHECK(strcmp(unistream_error_cause(error, 0), "as it was told") == 0);
  unistream_error_free(error);
  error = put_text(producer, "refused");
  CHECK(unistream_error_code(error) == UNISTREAM_ERROR_RETRIES_EXHAUSTED && !unistream_error_record_accepted(error));
  unistream_error_free(error);
  OK(unistream_producer_stats(producer, &stats));
  CHECK(unistream_stats_state(stats) == UNISTREAM_STATE_STOPPED);
  unistream_stats_free(stats);
  OK(unistream_producer_resume(producer));
  OK(put_text(producer, "y"));
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  CHECK(kept_text_is(&sink, "x\ny\n"));
  unistream_producer_free(producer);
}

static void inline_raise_says_that_the_record_is_in(void) {
  const char *const raising[] = {"mode", "inline", "on_exhausted", "raise", "max_attempts", "1", "max_records", "1", NULL};
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  sink.failures = 1;
  OK(open_kept(fresh_path(), &sink, raising, &producer));
  unistream_error *error = put_text(producer, "x");
  CHECK(unistream_error_code(error) == UNISTREAM_ERROR_RETRIES_EXHAUSTED && unistream_error_record_accepted(error));
  unistream_error_free(error);
  OK(unistream_producer_resume(producer));
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  CHECK(kept_text_is(&sink, "x\n"));
  unistream_producer_free(producer);
}

/* Calls everything from inside, and notes what it is told. */
typedef struct inside {
  unistream_producer *producer;
  int calls;
  int reentrant;
  int asked;
  bool stats;
} inside;

static void ask(inside *from, unistream_error *error) {
  from->asked++;
  from->reentrant += unistream_error_code(error) == UNISTREAM_ERROR_REENTRANT;
  unistream_error_free(error);
}

static void ask_everything(inside *from) {
  unistream_record record = UNISTREAM_RECORD_INIT;
  unistream_stats *stats = NULL;
  ask(from, put_text(from->producer, "x"));
  ask(from, unistream_producer_put_record(from->producer, &record, NULL));
  ask(from, unistream_producer_put_many(from->producer, &record, 1, NULL));
  ask(from, unistream_producer_flush(from->producer, UNISTREAM_FOREVER));
  ask(from, unistream_producer_sync(from->producer));
  ask(from, unistream_producer_resume(from->producer));
  ask(from, unistream_producer_close(from->producer, UNISTREAM_FOREVER, NULL));
  unistream_producer_free(from->producer); /* Does nothing here. */
  unistream_error *error = unistream_producer_stats(from->producer, &stats);
  from->stats = error == NULL && unistream_stats_count(stats) > 0;
  unistream_stats_free(stats);
  unistream_error_free(error);
  from->calls++;
}

static unistream_outcome send_and_ask(void *user_data, const unistream_batch *batch, unistream_report *report) {
  (void)batch;
  (void)report;
  ask_everything((inside *)user_data);
  return UNISTREAM_OUTCOME_DELIVERED;
}

static void hear_and_ask(void *user_data, const unistream_event *event) {
  inside *from = (inside *)user_data;
  if (from->producer && strcmp(unistream_event_name(event), "put") == 0) ask_everything(from);
}

static void a_call_from_a_callback_is_an_error(void) {
  const char *const modes[] = {"background", "inline"};
  for (int i = 0; i < 2; i++) {
    const char *const pairs[] = {"mode", modes[i], "linger", "none", NULL};
    inside sink = {NULL, 0, 0, 0, false}, listener = {NULL, 0, 0, 0, false};
    unistream_config *config = config_of(pairs);
    unistream_sink *handle = NULL;
    unistream_producer *producer = NULL;
    OK(unistream_config_on_event(config, UNISTREAM_LEVEL_DEBUG, hear_and_ask, &listener, NULL));
    OK(unistream_sink_callback(send_and_ask, &sink, NULL, &handle));
    OK(unistream_producer_open(fresh_path(), handle, config, &producer));
    unistream_config_free(config);
    sink.producer = listener.producer = producer;
    OK(put_text(producer, "x"));
    OK(unistream_producer_flush(producer, PATIENCE_MS));
    CHECK(sink.calls == 1 && sink.asked == 7 && sink.reentrant == 7 && sink.stats);
    CHECK(listener.calls == 1 && listener.asked == 7 && listener.reentrant == 7 && listener.stats);
    OK(put_text(producer, "still open"));
    OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
    EVENTUALLY(counter(producer, "delivered_records") == 2);
    unistream_producer_free(producer);
  }
}

/* The number of the first check that fails, from 1. */
static int in_a_child(unistream_producer *producer) {
  unistream_record record = UNISTREAM_RECORD_INIT;
  const unistream_code forked = UNISTREAM_ERROR_FORKED;
  if (!expect(put_text(producer, "x"), forked, __FILE__, __LINE__)) return 1;
  if (!expect(unistream_producer_put_many(producer, &record, 1, NULL), forked, __FILE__, __LINE__)) return 2;
  if (!expect(unistream_producer_flush(producer, UNISTREAM_FOREVER), forked, __FILE__, __LINE__)) return 3;
  if (!expect(unistream_producer_sync(producer), forked, __FILE__, __LINE__)) return 4;
  if (!expect(unistream_producer_resume(producer), forked, __FILE__, __LINE__)) return 5;
  if (!expect(unistream_producer_close(producer, UNISTREAM_FOREVER, NULL), forked, __FILE__, __LINE__)) return 6;
  unistream_producer_free(producer);
  return 0;
}

static void a_forked_child_is_told_so(void) {
  const char *path = fresh_path();
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  int answer[2], status = -1;
  char failed = -1;
  OK(open_kept(path, &sink, NULL, &producer));
  OK(put_text(producer, "before"));
  CHECK(pipe(answer) == 0);
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    failed = (char)in_a_child(producer);
    fflush(stdout);
    if (write(answer[1], &failed, 1) == 1) kill(getpid(), SIGKILL); /* Before anyone looks for what a fork leaks. */
    _exit(1);
  }
  close(answer[1]);
  CHECK(read(answer[0], &failed, 1) == 1 && failed == 0);
  close(answer[0]);
  CHECK(waitpid(child, &status, 0) == child);
  OK(put_text(producer, "after"));
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  CHECK(kept_text_is(&sink, "before\nafter\n"));
  unistream_producer_free(producer);
}

static void a_full_buffer_says_so(void) {
  const char *const small[] = {"max_buffer_bytes", "256KiB", "when_full", "error", NULL};
  static char bytes[1000];
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_error *error = NULL;
  uint64_t puts = 0;
  sink.failures = 1 << 30;
  sink.answer = UNISTREAM_OUTCOME_UNAVAILABLE;
  OK(open_kept(fresh_path(), &sink, small, &producer));
  while (puts < 1000 && !error) {
    error = unistream_producer_put(producer, bytes, sizeof bytes);
    puts += error == NULL;
  }
  CHECK(unistream_error_code(error) == UNISTREAM_ERROR_BUFFER_FULL && unistream_error_is_retryable(error));
  CHECK(strcmp(unistream_error_name(error), "buffer_full") == 0);
  unistream_error_free(error);
  CHECK(counter(producer, "pending_records") == puts);
  pthread_mutex_lock(&sink.lock);
  sink.failures = 0;
  pthread_mutex_unlock(&sink.lock);
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  OK(unistream_producer_put(producer, bytes, sizeof bytes)); /* There is room again. */
  unistream_producer_free(producer);
}

int main(void) {
  RUN(destroy_runs_once_whatever_happens);
  RUN(a_closed_producer_says_so);
  RUN(what_is_left_is_delivered_by_the_next_run);
  RUN(raise_stops_until_resume);
  RUN(inline_raise_says_that_the_record_is_in);
  RUN(a_call_from_a_callback_is_an_error);
  RUN(a_forked_child_is_told_so);
  RUN(a_full_buffer_says_so);
  return failed_tests != 0;
}
