/*
 * What the test programs share: checks, fresh buffers, and a sink that keeps what it is sent.
 *
 * Every program is valid C99 and C++17. A test is a function; RUN(test) prints "ok <test>" or "FAILED <test>".
 */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unistream.h"

/* Longer than anything here takes, on any machine, under valgrind. */
#define PATIENCE_MS 120000

static bool test_failed;

/* A check that fails ends its test. */
#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition); \
      test_failed = true; \
      return; \
    } \
  } while (0)

#define OK(call) CHECK(expect((call), UNISTREAM_ERROR_NONE, __FILE__, __LINE__))
#define FAILS(code, call) CHECK(expect((call), (code), __FILE__, __LINE__))

#define RUN(test) \
  do { \
    test_failed = false; \
    test(); \
    printf("%s %s\n", test_failed ? "FAILED" : "ok", #test); \
    fflush(stdout); \
    failed_tests += test_failed; \
  } while (0)

static int failed_tests;

/* Frees the error; every error must have a name and a message. */
static inline bool expect(unistream_error *error, unistream_code code, const char *file, int line) {
  bool fits = unistream_error_code(error) == code && unistream_error_message(error)[0] != '\0' &&
              unistream_error_name(error)[0] != '\0';
  if (!fits) {
    printf("# %s:%d: expected %" PRId32 ", got %s: %s\n", file, line, code, unistream_error_name(error),
           unistream_error_message(error));
  }
  unistream_error_free(error);
  return fits;
}

/* A path that no other test uses. run.sh removes the directory that they all lie in. */
static inline const char *fresh_path(void) {
  static char paths[64][256];
  static int used;
  const char *directory = getenv("TMPDIR");
  char *path = paths[used++ % 64];
  snprintf(path, sizeof paths[0], "%s/%ld-%d", directory ? directory : "/tmp", (long)getpid(), used);
  return path;
}

static inline void sleep_ms(long milliseconds) {
  struct timespec time;
  time.tv_sec = milliseconds / 1000;
  time.tv_nsec = milliseconds % 1000 * 1000000;
  nanosleep(&time, NULL);
}

/* Waits until the expression holds; the test fails if it never does. */
#define EVENTUALLY(condition) \
  do { \
    for (int waited = 0; !(condition); waited++) { \
      CHECK(waited < PATIENCE_MS && "in time: " #condition); \
      sleep_ms(1); \
    } \
  } while (0)

/* A sink that keeps what it is sent, and answers as it is told. */
typedef struct kept {
  pthread_mutex_t lock;
  int calls;             /* sends */
  size_t records;        /* records in them */
  char text[4096];       /* their payloads, one a line */
  char ids[4096];        /* the ids of the batches, one a line */
  int destroyed;         /* calls of destroy */
  /* What to answer while `failures` is above 0; it counts down. */
  unistream_outcome answer;
  int failures;
} kept;

#define KEPT_INIT {PTHREAD_MUTEX_INITIALIZER, 0, 0, "", "", 0, UNISTREAM_OUTCOME_FAILED, 0}

static inline void kept_batch(kept *kept, const unistream_batch *batch) {
  unistream_record record = UNISTREAM_RECORD_INIT;
  kept->calls++;
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    size_t used = strlen(kept->text);
    kept->records++;
    if (used + record.data_length + 2 < sizeof kept->text) {
      memcpy(kept->text + used, record.data, record.data_length);
      strcpy(kept->text + used + record.data_length, "\n");
    }
  }
  size_t used = strlen(kept->ids);
  snprintf(kept->ids + used, sizeof kept->ids - used, "%s\n", unistream_batch_id(batch));
}

static inline unistream_outcome kept_send(void *user_data, const unistream_batch *batch, unistream_report *report) {
  kept *sink = (kept *)user_data;
  unistream_outcome outcome = UNISTREAM_OUTCOME_DELIVERED;
  pthread_mutex_lock(&sink->lock);
  if (sink->failures > 0) {
    sink->failures--;
    sink->calls++;
    unistream_report_message(report, "as it was told");
    outcome = sink->answer;
  } else {
    kept_batch(sink, batch);
  }
  pthread_mutex_unlock(&sink->lock);
  return outcome;
}

static inline void kept_destroy(void *user_data) {
  kept *sink = (kept *)user_data;
  pthread_mutex_lock(&sink->lock);
  sink->destroyed++;
  pthread_mutex_unlock(&sink->lock);
}

static inline size_t kept_records(kept *sink) {
  pthread_mutex_lock(&sink->lock);
  size_t records = sink->records;
  pthread_mutex_unlock(&sink->lock);
  return records;
}

static inline bool kept_text_is(kept *sink, const char *text) {
  pthread_mutex_lock(&sink->lock);
  bool same = strcmp(sink->text, text) == 0;
  pthread_mutex_unlock(&sink->lock);
  return same;
}

static inline int kept_calls(kept *sink) {
  pthread_mutex_lock(&sink->lock);
  int calls = sink->calls;
  pthread_mutex_unlock(&sink->lock);
  return calls;
}

/* A configuration of pairs of key and value, NULL behind the last, that neither lingers nor waits to retry. */
static inline unistream_config *config_of(const char *const *pairs) {
  unistream_config *config = unistream_config_new();
  unistream_error_free(unistream_config_set(config, "linger", "5ms"));
  unistream_error_free(unistream_config_set(config, "schedule_waits", "1ms"));
  for (; pairs && *pairs; pairs += 2) {
    unistream_error *error = unistream_config_set(config, pairs[0], pairs[1]);
    if (error) printf("# %s\n", unistream_error_message(error));
    unistream_error_free(error);
  }
  return config;
}

/* Opens a producer with a kept sink. */
static inline unistream_error *open_kept(const char *path, kept *sink, const char *const *pairs,
                                         unistream_producer **producer) {
  unistream_sink *handle = NULL;
  unistream_config *config = config_of(pairs);
  unistream_error *error = unistream_sink_callback(kept_send, sink, kept_destroy, &handle);
  if (!error) error = unistream_producer_open(path, handle, config, producer);
  unistream_config_free(config);
  return error;
}

/* What was sent counts a moment after the flush that waits for it has returned: use EVENTUALLY. */
static inline uint64_t counter(const unistream_producer *producer, const char *name) {
  unistream_stats *stats = NULL;
  uint64_t value = UINT64_MAX;
  unistream_error_free(unistream_producer_stats(producer, &stats));
  unistream_error_free(unistream_stats_get(stats, name, &value));
  unistream_stats_free(stats);
  return value;
}

static inline unistream_error *put_text(const unistream_producer *producer, const char *text) {
  return unistream_producer_put(producer, text, strlen(text));
}

#endif
