/* What a listener hears. */
#include "check.h"

typedef struct heard {
  pthread_mutex_t lock;
  char names[4096]; /* one a line */
  unistream_level lowest;
  bool senseless; /* an event without a name or a message */
  bool batch;     /* send_started had its batch */
  bool error;     /* send_failed had its error */
  int destroyed;
} heard;

#define HEARD_INIT {PTHREAD_MUTEX_INITIALIZER, "", UNISTREAM_LEVEL_ERROR, false, false, false, 0}

static void hear(void *user_data, const unistream_event *event) {
  heard *log = (heard *)user_data;
  pthread_mutex_lock(&log->lock);
  const char *name = unistream_event_name(event), *message = unistream_event_message(event);
  if (!name || !message || !name[0] || !message[0]) log->senseless = true;
  size_t used = strlen(log->names);
  snprintf(log->names + used, sizeof log->names - used, "%s\n", name);
  if (unistream_event_level(event) < log->lowest) log->lowest = unistream_event_level(event);
  const unistream_batch *batch = unistream_event_batch(event);
  const unistream_error *error = unistream_event_error(event);
  if (strcmp(name, "send_started") == 0) {
    log->batch = unistream_batch_count(batch) == 1 && unistream_batch_id(batch)[0] != '\0' && error == NULL;
  }
  if (strcmp(name, "send_failed") == 0) {
    log->error = batch != NULL && unistream_error_code(error) != UNISTREAM_ERROR_NONE;
  }
  if (strcmp(name, "put") == 0 && (batch || error)) log->senseless = true;
  pthread_mutex_unlock(&log->lock);
}

static void unhear(void *user_data) {
  heard *log = (heard *)user_data;
  pthread_mutex_lock(&log->lock);
  log->destroyed++;
  pthread_mutex_unlock(&log->lock);
}

/* Puts a record that fails once, and listens. */
static void fail_once(unistream_level level, heard *log) {
  const char *const quick[] = {"max_records", "1", "jitter", "none", NULL};
  kept sink = KEPT_INIT;
  unistream_config *config = config_of(quick);
  unistream_sink *handle = NULL;
  unistream_producer *producer = NULL;
  sink.failures = 1;
  OK(unistream_config_on_event(config, level, hear, log, unhear));
  OK(unistream_sink_callback(kept_send, &sink, NULL, &handle));
  OK(unistream_producer_open(fresh_path(), handle, config, &producer));
  unistream_config_free(config);
  CHECK(log->destroyed == 0);
  OK(put_text(producer, "x"));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  unistream_producer_free(producer);
  CHECK(log->destroyed == 1);
}

static void a_listener_hears_everything(void) {
  heard log = HEARD_INIT;
  fail_once(UNISTREAM_LEVEL_DEBUG, &log);
  CHECK(!log.senseless && log.batch && log.error && log.lowest == UNISTREAM_LEVEL_DEBUG);
  CHECK(strstr(log.names, "put\n") != NULL);
  CHECK(strstr(log.names, "send_started\n") != NULL);
  CHECK(strstr(log.names, "send_failed\n") != NULL);
  CHECK(strstr(log.names, "send_succeeded\n") != NULL);
}

static void a_listener_chooses_its_level(void) {
  heard log = HEARD_INIT;
  fail_once(UNISTREAM_LEVEL_WARNING, &log);
  /* One line when it begins and one when it is over; single attempts are below that level. */
  CHECK(strcmp(log.names, "sink_down\nsink_up\n") == 0 && log.lowest == UNISTREAM_LEVEL_WARNING);
}

static void a_listener_is_destroyed_once(void) {
  heard first = HEARD_INIT, second = HEARD_INIT, none = HEARD_INIT;
  unistream_config *config = unistream_config_new();
  OK(unistream_config_on_event(config, UNISTREAM_LEVEL_INFO, hear, &first, unhear));
  OK(unistream_config_on_event(config, UNISTREAM_LEVEL_INFO, hear, &second, unhear));
  CHECK(first.destroyed == 1 && second.destroyed == 0);
  OK(unistream_config_on_event(config, UNISTREAM_LEVEL_INFO, NULL, &none, unhear)); /* Takes the listener away. */
  CHECK(second.destroyed == 1 && none.destroyed == 1);
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_config_on_event(config, 99, hear, &none, unhear));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_config_on_event(NULL, 0, hear, &none, unhear));
  CHECK(none.destroyed == 3);
  OK(unistream_config_on_event(config, UNISTREAM_LEVEL_INFO, hear, &none, unhear));
  unistream_config_free(config);
  CHECK(none.destroyed == 4);
}

int main(void) {
  RUN(a_listener_hears_everything);
  RUN(a_listener_chooses_its_level);
  RUN(a_listener_is_destroyed_once);
  return failed_tests != 0;
}
