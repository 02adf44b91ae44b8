/* What a case of fuzz_abi.c has and knows: handles, records and what became of them, and the bytes that choose. */
#ifndef FUZZ_CASE_H
#define FUZZ_CASE_H

#include "check.h"

enum { PATHS = 3, FILES = 2, SLOTS = 4, DESK = 64, RECORDS = 1024, CONTEXTS = 256, LONGEST = 3000 };

/* ------------------------------------------------------------------------------------------------ what is known */

/* What a put was told, and where its record was seen. */
typedef struct record_fate {
  bool accepted, refused, delivered;
  bool excused; /* Given to a sink that keeps nothing, or deleted with its dead letter. */
  size_t length;
} record_fate;

/* A callback's user_data. */
typedef struct context {
  int destroyed;
  int owner; /* The slot of the producer, for calls from inside. */
} context;

static pthread_mutex_t world = PTHREAD_MUTEX_INITIALIZER; /* Guards all that callbacks touch. */
static record_fate fates[RECORDS];
static size_t fate_count;
static context contexts[CONTEXTS];
static size_t context_count;
static unistream_completion *desk[DESK];
static size_t desk_count;
static uint8_t mood; /* How sinks answer. */
static bool draining;

/* Held while a callback uses a producer's handle, and while a handle is taken out of its slot to be freed. */
static pthread_mutex_t handles = PTHREAD_MUTEX_INITIALIZER;
static unistream_producer *producers[SLOTS];
static int producer_path[SLOTS];
static bool producer_closed[SLOTS];

static unistream_config *configs[SLOTS];
/* A sink that keeps nothing, or would call over the network. */
enum { KEPT, NOTHING_KEPT, SERVICE };
static unistream_sink *sinks[SLOTS];
static int sink_kind[SLOTS];
static context *sink_context[SLOTS];
static unistream_batch *batches[SLOTS];
static unistream_dead_letters *letters;
static unistream_stats *stats;
static char root[256], paths[PATHS][300], files[FILES][300];
static bool path_keeps_nothing[PATHS];

static void fault(const char *what) {
  printf("# %s\n", what);
  fflush(stdout);
  abort();
}

#define MUST(condition) ((condition) ? (void)0 : fault(#condition))

/* Looks at an error from all sides and frees it. */
static unistream_code checked(unistream_error *error) {
  unistream_code code = unistream_error_code(error);
  const char *message = unistream_error_message(error);
  MUST((code == UNISTREAM_ERROR_NONE) == (error == NULL));
  MUST(message && message[0] != '\0' && !strchr(message, '\n'));
  MUST(unistream_error_name(error)[0] != '\0');
  size_t causes = 0;
  while (unistream_error_cause(error, causes)) causes++;
  MUST(unistream_error_cause(error, SIZE_MAX) == NULL && causes < 100);
  MUST(error || !unistream_error_is_retryable(error));
  if (code == UNISTREAM_ERROR_INTERNAL) fault(message);
  unistream_error_free(error);
  return code;
}

/* ---------------------------------------------------------------------------------------------------- the bytes */

static const uint8_t *rest;
static size_t rest_length;

static uint8_t byte(void) {
  if (rest_length == 0) return 0;
  rest_length--;
  return *rest++;
}

static size_t below(size_t end) { return byte() % end; }

static const char *text(void) {
  static const char *const texts[] = {
      "", "0", "1", "3", "2ms", "none", "always", "os", "interval", "inline", "manual", "background", "raise", "skip",
      "error", "block", "file", "mapped", "true", "65536", "262144", "100", "18446744073709551616", "-1", "\xff\xfe",
      "a\nb", "max_records", "linger", "kinesis", "cloudwatch-logs", "kinesis://s?region=x&pigeons=7", "file:", "%",
      "file:%ff", "cloudwatch-logs://g/s?region=eu-central-1", "put_records", "..", "0123456789abcdef-1-1"};
  return texts[below(sizeof texts / sizeof *texts)];
}

static int64_t timeout_ms(void) {
  static const int64_t timeouts[] = {0, 0, 1, 5, 20, -2, INT64_MIN};
  return timeouts[below(sizeof timeouts / sizeof *timeouts)];
}

static size_t huge(void) { return (SIZE_MAX >> below(3)) - below(9); }

/* -------------------------------------------------------------------------------------------------- the records */

/* Text that tells which record it is, and where it ends. */
static size_t fill(char *data, size_t number, size_t length) {
  int head = snprintf(data, 32, "<%04zu %04zu ", number, length);
  memset(data + head, 'a' + (int)(number % 26), length);
  data[(size_t)head + length] = '>';
  return (size_t)head + length + 1;
}

/* A new record; NULL when there are enough. */
static record_fate *begin_put(char *data, size_t *length) {
  record_fate *fate = NULL;
  pthread_mutex_lock(&world);
  if (fate_count < RECORDS) {
    fate = &fates[fate_count];
    fate->length = *length;
    *length = fill(data, fate_count++, *length);
  }
  pthread_mutex_unlock(&world);
  return fate;
}

static void end_put(record_fate *fate, bool accepted) {
  pthread_mutex_lock(&world);
  fate->accepted = accepted;
  fate->refused = !accepted;
  if (!accepted && fate->delivered) fault("a record was delivered, but its put was refused");
  pthread_mutex_unlock(&world);
}

/* Which record this is: nothing else may come out. The caller has the world. */
static record_fate *recognise(const void *data, size_t length) {
  static char expected[LONGEST + 64];
  size_t number = RECORDS;
  char head[8] = {0};
  if (length >= 6) memcpy(head, (const char *)data + 1, 4);
  number = (size_t)strtoul(head, NULL, 10);
  if (length < 6 || number >= fate_count) fault("a record that nobody put");
  if (fill(expected, number, fates[number].length) != length || memcmp(expected, data, length) != 0) {
    fault("a record that is not what was put");
  }
  if (fates[number].refused) fault("a record whose put was refused");
  return &fates[number];
}

#endif
