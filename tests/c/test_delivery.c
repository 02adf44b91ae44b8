/* Records go in, batches come out, sinks answer. */
#include "check.h"

/* Looks at one record with everything set, and at one with nothing set. */
typedef struct seen {
  bool right;
  bool called;
  uint64_t seq;
} seen;

static unistream_outcome look(void *user_data, const unistream_batch *batch, unistream_report *report) {
  seen *seen_here = (seen *)user_data;
  unistream_record record = UNISTREAM_RECORD_INIT;
  char id[64];
  (void)report;
  bool right = unistream_batch_count(batch) == 2 && unistream_batch_attempt(batch) == 1 &&
               unistream_batch_last_seq(batch) == unistream_batch_first_seq(batch) + 1;
  right = right && unistream_batch_record(batch, 0, &record) && record.data_length == 4 &&
          memcmp(record.data, "a\0\n\xff", 4) == 0 && record.key_length == 3 && memcmp(record.key, "k\0y", 3) == 0 &&
          record.id_length == 8 && memcmp(record.id, "order-17", 8) == 0 && record.created_at == 1234567 &&
          record.seq == seen_here->seq;
  right = right && unistream_batch_record_id(batch, 0, id, sizeof id) == 8 && strcmp(id, "order-17") == 0;
  right = right && unistream_batch_record_id(batch, 0, id, 4) == 8 && strcmp(id, "ord") == 0;
  right = right && unistream_batch_record_id(batch, 0, NULL, 0) == 8;
  right = right && unistream_batch_record(batch, 1, &record) && record.data_length == 0 && record.key == NULL &&
          record.id == NULL && record.id_length == 0 && record.created_at > 1234567 &&
          record.seq == seen_here->seq + 1;
  right = right && unistream_batch_record_id(batch, 1, id, sizeof id) == strlen(id) && strlen(id) > 17;
  right = right && !unistream_batch_record(batch, 2, &record) && unistream_batch_record_id(batch, 2, id, 64) == 0;
  record.size = 0;
  right = right && !unistream_batch_record(batch, 0, &record) && !unistream_batch_record(batch, 0, NULL);
  seen_here->right = right;
  seen_here->called = true;
  return UNISTREAM_OUTCOME_DELIVERED;
}

static void a_record_arrives_as_it_was_put(void) {
  const char *const inline_mode[] = {"mode", "inline", "linger", "none", NULL};
  seen result = {false, false, 0};
  unistream_config *config = config_of(inline_mode);
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_record record = UNISTREAM_RECORD_INIT;
  OK(unistream_sink_callback(look, &result, NULL, &sink));
  OK(unistream_producer_open(fresh_path(), sink, config, &producer));
  unistream_config_free(config);
  record.data = "a\0\n\xff";
  record.data_length = 4;
  record.key = "k\0y";
  record.key_length = 3;
  record.id = "order-17";
  record.id_length = 8;
  record.created_at = 1234567;
  OK(unistream_producer_put_record(producer, &record, &result.seq));
  OK(unistream_producer_put(producer, NULL, 0));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  CHECK(result.called && result.right);
  unistream_producer_free(producer);
}

static void put_many_keeps_the_order(void) {
  enum { COUNT = 100 };
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_record records[COUNT];
  char payloads[COUNT][8];
  char expected[4096] = "";
  size_t accepted = 0;
  uint64_t left = 7;
  for (int i = 0; i < COUNT; i++) {
    unistream_record record = UNISTREAM_RECORD_INIT;
    snprintf(payloads[i], sizeof payloads[i], "%d", i);
    record.data = payloads[i];
    record.data_length = strlen(payloads[i]);
    records[i] = record;
    strcat(strcat(expected, payloads[i]), "\n");
  }
  OK(open_kept(fresh_path(), &sink, NULL, &producer));
  OK(unistream_producer_put_many(producer, records, COUNT, &accepted));
  CHECK(accepted == COUNT);
  OK(unistream_producer_put_many(producer, NULL, 0, &accepted));
  CHECK(accepted == 0);
  OK(unistream_producer_close(producer, PATIENCE_MS, &left));
  CHECK(left == 0 && sink.records == COUNT);
  CHECK(kept_text_is(&sink, expected));
  unistream_producer_free(producer);
  CHECK(sink.destroyed == 1);
}

/* A time in nanoseconds, where microseconds are wanted, is no date. */
static void a_refused_put_says_how_many_went_in_and_is_counted(void) {
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_record record = UNISTREAM_RECORD_INIT;
  unistream_record records[3];
  size_t accepted = 7;
  record.data = "good";
  record.data_length = 4;
  for (int i = 0; i < 3; i++) records[i] = record;
  records[2].created_at = INT64_C(1700000000000000000);
  OK(open_kept(fresh_path(), &sink, NULL, &producer));
  unistream_error *error = unistream_producer_put_many(producer, records, 3, &accepted);
  CHECK(unistream_error_code(error) == UNISTREAM_ERROR_INVALID_ARGUMENT && accepted == 2);
  CHECK(strstr(unistream_error_message(error), "nanoseconds") != NULL);
  CHECK(strstr(unistream_error_message(error), "2 of 3 records were put") != NULL);
  unistream_error_free(error);
  CHECK(counter(producer, "invalid_puts") == 1 && counter(producer, "refused_puts") == 0);
  CHECK(counter(producer, "unavailable_since") == 0);
  unistream_producer_free(producer);
}

static void put_many_stops_at_the_first_that_is_refused(void) {
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_record record = UNISTREAM_RECORD_INIT;
  unistream_record records[4];
  size_t accepted = 7;
  record.data = "good";
  record.data_length = 4;
  for (int i = 0; i < 4; i++) records[i] = record;
  records[2].data = NULL;
  OK(open_kept(fresh_path(), &sink, NULL, &producer));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_put_many(producer, records, 4, &accepted));
  CHECK(accepted == 2);
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  CHECK(kept_text_is(&sink, "good\ngood\n"));
  unistream_producer_free(producer);
}

/* A structure of a program that was compiled with a later header. */
static void records_may_grow(void) {
  struct later {
    unistream_record record;
    uint64_t more[2];
  } records[2];
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  size_t accepted = 0;
  memset(records, 0xff, sizeof records);
  for (int i = 0; i < 2; i++) {
    memset(&records[i].record, 0, sizeof records[i].record);
    records[i].record.size = sizeof records[i];
    records[i].record.data = i ? "second" : "first";
    records[i].record.data_length = strlen(i ? "second" : "first");
  }
  OK(open_kept(fresh_path(), &sink, NULL, &producer));
  OK(unistream_producer_put_many(producer, &records[0].record, 2, &accepted));
  CHECK(accepted == 2);
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  CHECK(kept_text_is(&sink, "first\nsecond\n"));
  unistream_producer_free(producer);
}

/* The structure as programs have it that were compiled before it had headers. */
typedef struct early_record {
  size_t size;
  const void *data;
  size_t data_length;
  const void *key;
  size_t key_length;
  const char *id;
  size_t id_length;
  int64_t created_at;
  uint64_t seq;
} early_record;

static bool header_is(const unistream_header *header, const char *name, const char *value, size_t value_length) {
  return header->name_length == strlen(name) && memcmp(header->name, name, strlen(name)) == 0 &&
         header->value_length == value_length && memcmp(header->value, value, value_length) == 0;
}

static void a_record_carries_headers_topic_and_expiry(void) {
  const char *const manual[] = {"mode", "manual", "linger", "none", "max_records", "4", NULL};
  const unistream_header headers[] = {{"traceparent", 11, "00-4bf9", 7}, {"none", 4, NULL, 0}, {"none", 4, "\0\n", 2}};
  unistream_producer *producer = NULL;
  unistream_config *config = config_of(manual);
  unistream_record record = UNISTREAM_RECORD_INIT;
  unistream_record records[3];
  size_t accepted = 0;
  OK(unistream_producer_open(fresh_path(), NULL, config, &producer));
  unistream_config_free(config);
  record.data = "data";
  record.data_length = 4;
  for (int i = 0; i < 3; i++) records[i] = record;
  record.headers = headers;
  record.header_count = 3;
  record.topic = "a/topic";
  record.topic_length = 7;
  record.expires_at = -1;
  OK(unistream_producer_put_record(producer, &record, NULL));
  records[1].headers = headers + 1;
  records[1].header_count = 1;
  records[2].topic = "t";
  records[2].topic_length = 1;
  OK(unistream_producer_put_many(producer, records, 3, &accepted));
  CHECK(accepted == 3);

  unistream_batch *batch = NULL;
  OK(unistream_producer_next_batch(producer, &batch));
  unistream_record found = UNISTREAM_RECORD_INIT;
  unistream_record again = UNISTREAM_RECORD_INIT;
  CHECK(unistream_batch_record(batch, 0, &found) && found.header_count == 3 && found.expires_at == -1);
  CHECK(header_is(&found.headers[0], "traceparent", "00-4bf9", 7));
  CHECK(header_is(&found.headers[1], "none", "", 0) && header_is(&found.headers[2], "none", "\0\n", 2));
  CHECK(found.topic_length == 7 && memcmp(found.topic, "a/topic", 7) == 0);
  CHECK(unistream_batch_record(batch, 1, &again) && again.header_count == 0 && again.headers == NULL);
  CHECK(again.topic == NULL && again.topic_length == 0 && again.expires_at == 0);
  CHECK(unistream_batch_record(batch, 2, &again) && again.header_count == 1 && again.topic == NULL);
  CHECK(header_is(&again.headers[0], "none", "", 0));
  CHECK(unistream_batch_record(batch, 3, &again) && again.header_count == 0 && again.topic_length == 1);
  /* What came out goes in again as it is; the headers of the batch live as long as it does. */
  for (size_t i = 0; unistream_batch_record(batch, i, &again); i++) {
    OK(unistream_producer_put_record(producer, i ? &again : &found, NULL));
  }
  OK(unistream_producer_commit(producer, batch));
  OK(unistream_producer_next_batch(producer, &batch));
  CHECK(unistream_batch_record(batch, 0, &found) && found.header_count == 3 && found.expires_at == -1);
  CHECK(header_is(&found.headers[2], "none", "\0\n", 2) && found.topic_length == 7);
  OK(unistream_producer_commit(producer, batch));
  unistream_producer_free(producer);
}

/* A program that was compiled with the first header: nothing behind its structure is read or written. */
static void a_program_of_before_headers_runs_as_it_did(void) {
  const char *const manual[] = {"mode", "manual", "linger", "none", "max_records", "3", NULL};
  const unistream_header header = {"name", 4, "value", 5};
  unistream_producer *producer = NULL;
  unistream_config *config = config_of(manual);
  unistream_record record = UNISTREAM_RECORD_INIT;
  size_t accepted = 0;
  /* Of its own size exactly, so that valgrind and the sanitizers see a step beyond it. */
  early_record *early = (early_record *)calloc(2, sizeof *early);
  CHECK(early != NULL);
  if (!early) return;
  OK(unistream_producer_open(fresh_path(), NULL, config, &producer));
  unistream_config_free(config);
  record.headers = &header;
  record.header_count = 1;
  OK(unistream_producer_put_record(producer, &record, NULL));
  for (int i = 0; i < 2; i++) {
    early[i].size = sizeof early[i];
    early[i].data = i ? "second" : "first";
    early[i].data_length = strlen(i ? "second" : "first");
    early[i].key = "k";
    early[i].key_length = 1;
  }
  OK(unistream_producer_put_many(producer, (const unistream_record *)(const void *)early, 2, &accepted));
  CHECK(accepted == 2);
  unistream_batch *batch = NULL;
  OK(unistream_producer_next_batch(producer, &batch));
  early_record *seen = (early_record *)calloc(1, sizeof *seen);
  CHECK(seen != NULL);
  if (seen) {
    seen->size = sizeof *seen;
    CHECK(unistream_batch_record(batch, 0, (unistream_record *)(void *)seen) && seen->seq == 1 && seen->size == 72);
    CHECK(unistream_batch_record(batch, 2, (unistream_record *)(void *)seen) && seen->key_length == 1);
    CHECK(seen->data_length == 6 && memcmp(seen->data, "second", 6) == 0);
  }
  OK(unistream_producer_commit(producer, batch));
  free(early);
  free(seen);
  unistream_producer_free(producer);
}

static void a_failed_batch_comes_again_unchanged(void) {
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  sink.failures = 3;
  OK(open_kept(fresh_path(), &sink, NULL, &producer));
  OK(put_text(producer, "one"));
  OK(put_text(producer, "two"));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  CHECK(sink.calls >= 4 && kept_text_is(&sink, "one\ntwo\n"));
  EVENTUALLY(counter(producer, "failed_attempts") == 3);
  EVENTUALLY(counter(producer, "delivered_records") == 2);
  OK(unistream_producer_close(producer, 0, NULL));
  unistream_producer_free(producer);
}

static void an_unavailable_sink_uses_up_no_attempts(void) {
  const char *const once[] = {"max_attempts", "1", NULL};
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  sink.failures = 5;
  sink.answer = UNISTREAM_OUTCOME_UNAVAILABLE;
  OK(open_kept(fresh_path(), &sink, once, &producer));
  OK(put_text(producer, "patient"));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  CHECK(kept_text_is(&sink, "patient\n"));
  EVENTUALLY(counter(producer, "unavailable_attempts") == 5);
  CHECK(counter(producer, "failed_attempts") == 0);
  CHECK(counter(producer, "dead_letters") == 0);
  unistream_producer_free(producer);
}

/* Says that it is unavailable for an hour. */
static unistream_outcome in_an_hour(void *user_data, const unistream_batch *batch, unistream_report *report) {
  (void)user_data;
  (void)batch;
  unistream_report_message(report, "come again in an hour");
  unistream_report_retry_after(report, 3600 * 1000);
  return UNISTREAM_OUTCOME_UNAVAILABLE;
}

static void retry_after_is_a_floor(void) {
  unistream_config *config = config_of(NULL);
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_stats *stats = NULL;
  uint64_t wait = 0;
  OK(unistream_sink_callback(in_an_hour, NULL, NULL, &sink));
  OK(unistream_producer_open(fresh_path(), sink, config, &producer));
  unistream_config_free(config);
  OK(put_text(producer, "patient"));
  FAILS(UNISTREAM_ERROR_TIMEOUT, unistream_producer_flush(producer, 200));
  EVENTUALLY(counter(producer, "unavailable_attempts") == 1);
  EVENTUALLY((wait = counter(producer, "next_attempt_ms")) > 0);
  CHECK(wait > 3000 * 1000 && wait <= 3600 * 1000);
  OK(unistream_producer_stats(producer, &stats));
  CHECK(unistream_stats_state(stats) == UNISTREAM_STATE_UNAVAILABLE);
  CHECK(strcmp(unistream_stats_state_name(stats), "unavailable") == 0);
  CHECK(strstr(unistream_stats_last_error(stats), "come again in an hour") != NULL);
  unistream_stats_free(stats);
  char *text = NULL;
  OK(unistream_producer_prometheus(producer, &text));
  CHECK(strstr(text, "\nunistream_unavailable_attempts_total{path=\"") != NULL);
  CHECK(strstr(text, "state=\"unavailable\"} 1\n") != NULL);
  unistream_text_free(text);
  unistream_producer_free(producer);
}

/* Takes what begins with 'd', rejects 'r', and fails 'f' the first time. */
static unistream_outcome by_record(void *user_data, const unistream_batch *batch, unistream_report *report) {
  kept *sink = (kept *)user_data;
  unistream_record record = UNISTREAM_RECORD_INIT;
  pthread_mutex_lock(&sink->lock);
  kept_batch(sink, batch);
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    char first = ((const char *)record.data)[0];
    if (first == 'r') unistream_report_record(report, i, UNISTREAM_OUTCOME_REJECTED, "begins with r");
    if (first == 'f' && sink->failures > 0) unistream_report_record(report, i, UNISTREAM_OUTCOME_FAILED, NULL);
  }
  sink->failures--;
  pthread_mutex_unlock(&sink->lock);
  return UNISTREAM_OUTCOME_DELIVERED;
}

static void a_sink_answers_for_each_record(void) {
  const char *const once_full[] = {"linger", "none", "max_records", "4", NULL};
  kept sink = KEPT_INIT;
  unistream_config *config = config_of(once_full);
  unistream_sink *handle = NULL;
  unistream_producer *producer = NULL;
  sink.failures = 1;
  OK(unistream_sink_callback(by_record, &sink, kept_destroy, &handle));
  OK(unistream_producer_open(fresh_path(), handle, config, &producer));
  unistream_config_free(config);
  OK(put_text(producer, "d1"));
  OK(put_text(producer, "r2"));
  OK(put_text(producer, "f3"));
  OK(put_text(producer, "d4"));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  /* Only what failed is sent again. */
  CHECK(kept_text_is(&sink, "d1\nr2\nf3\nd4\nf3\n"));
  EVENTUALLY(counter(producer, "delivered_records") == 3);
  EVENTUALLY(counter(producer, "rejected_records") == 1);
  EVENTUALLY(counter(producer, "dead_letters") == 1);
  unistream_producer_free(producer);
  CHECK(sink.destroyed == 1);
}

/* What was reported, by the first letter of the record's text. */
typedef struct {
  pthread_mutex_t lock;
  int told;
  unistream_delivery delivery[8];
  char said[8][64];
} reports;

static void on_report(void *user_data, uint64_t seq, unistream_delivery delivery, const char *reason,
                      const char *receipt) {
  reports *all = (reports *)user_data;
  pthread_mutex_lock(&all->lock);
  all->told++;
  all->delivery[seq] = delivery;
  snprintf(all->said[seq], sizeof all->said[seq], "%s%s", reason, receipt ? receipt : "");
  pthread_mutex_unlock(&all->lock);
}

static int told(reports *all) {
  pthread_mutex_lock(&all->lock);
  int count = all->told;
  pthread_mutex_unlock(&all->lock);
  return count;
}

static unistream_error *put_reported(unistream_producer *producer, const char *text, reports *all) {
  unistream_record record = UNISTREAM_RECORD_INIT;
  record.data = text;
  record.data_length = strlen(text);
  return unistream_producer_put_reported(producer, &record, on_report, all, NULL);
}

/* As by_record, and says where a record is. */
static unistream_outcome with_receipts(void *user_data, const unistream_batch *batch, unistream_report *report) {
  if (unistream_batch_wants_receipts(batch)) unistream_report_receipt(report, 0, "offset 7");
  unistream_report_receipt(report, 1, NULL);
  return by_record(user_data, batch, report);
}

static void a_record_is_reported_once(void) {
  const char *const once_full[] = {"linger", "none", "max_records", "4", "max_attempts", "1", NULL};
  kept sink = KEPT_INIT;
  reports all = {PTHREAD_MUTEX_INITIALIZER, 0, {0}, {{0}}};
  unistream_config *config = config_of(once_full);
  unistream_sink *handle = NULL;
  unistream_producer *producer = NULL;
  sink.failures = 1;
  OK(unistream_sink_callback(with_receipts, &sink, kept_destroy, &handle));
  OK(unistream_producer_open(fresh_path(), handle, config, &producer));
  unistream_config_free(config);
  OK(put_reported(producer, "d1", &all));
  OK(put_reported(producer, "r2", &all));
  OK(put_reported(producer, "f3", &all));
  OK(put_text(producer, "d4"));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  EVENTUALLY(told(&all) == 3);
  OK(put_reported(producer, "d5", &all));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_put_reported(producer, NULL, on_report, &all, NULL));
  OK(unistream_producer_close(producer, 0, NULL));
  unistream_producer_free(producer);
  CHECK(told(&all) == 4);
  CHECK(all.delivery[1] == UNISTREAM_DELIVERY_DELIVERED && strcmp(all.said[1], "offset 7") == 0);
  CHECK(all.delivery[2] == UNISTREAM_DELIVERY_DEAD_LETTERED && strcmp(all.said[2], "begins with r") == 0);
  CHECK(all.delivery[3] == UNISTREAM_DELIVERY_DEAD_LETTERED && strcmp(all.said[3], "the sink failed") == 0);
  CHECK(all.delivery[5] == UNISTREAM_DELIVERY_CLOSED || all.delivery[5] == UNISTREAM_DELIVERY_DELIVERED);
}

/* Answers nonsense the first time. */
static unistream_outcome nonsense(void *user_data, const unistream_batch *batch, unistream_report *report) {
  kept *sink = (kept *)user_data;
  pthread_mutex_lock(&sink->lock);
  kept_batch(sink, batch);
  int call = sink->calls;
  pthread_mutex_unlock(&sink->lock);
  if (call == 1) return 4711;
  if (call == 2) unistream_report_record(report, 99, UNISTREAM_OUTCOME_DELIVERED, NULL);
  if (call == 3) unistream_report_record(report, 0, -1, "\xff\xfe");
  if (call == 4) unistream_report_message(report, "\xff\xfe");
  return call == 4 ? UNISTREAM_OUTCOME_FAILED : UNISTREAM_OUTCOME_DELIVERED;
}

static void a_senseless_answer_is_a_failed_attempt(void) {
  kept sink = KEPT_INIT;
  unistream_config *config = config_of(NULL);
  unistream_sink *handle = NULL;
  unistream_producer *producer = NULL;
  OK(unistream_sink_callback(nonsense, &sink, kept_destroy, &handle));
  OK(unistream_producer_open(fresh_path(), handle, config, &producer));
  unistream_config_free(config);
  OK(put_text(producer, "x"));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  EVENTUALLY(counter(producer, "failed_attempts") == 4);
  EVENTUALLY(counter(producer, "delivered_records") == 1);
  CHECK(sink.calls == 5);
  unistream_producer_free(producer);
}

static void a_sink_states_its_limits(void) {
  const char *const once_full[] = {"linger", "none", NULL};
  kept sink = KEPT_INIT;
  unistream_config *config = config_of(once_full);
  unistream_sink_callbacks callbacks = UNISTREAM_SINK_CALLBACKS_INIT;
  unistream_sink *handle = NULL;
  unistream_producer *producer = NULL;
  callbacks.user_data = &sink;
  callbacks.destroy = kept_destroy;
  callbacks.send = kept_send;
  callbacks.name = "limited";
  callbacks.max_records = 2;
  callbacks.max_bytes = 1000;
  callbacks.max_record_bytes = 5;
  OK(unistream_sink_new(&callbacks, &handle));
  OK(unistream_producer_open(fresh_path(), handle, config, &producer));
  unistream_config_free(config);
  FAILS(UNISTREAM_ERROR_RECORD_TOO_LARGE, put_text(producer, "longer"));
  for (int i = 0; i < 6; i++) OK(put_text(producer, "short"));
  EVENTUALLY(kept_records(&sink) == 6); /* Without a flush: full batches go by themselves. */
  CHECK(kept_calls(&sink) == 3);
  unistream_producer_free(producer);
}

static void the_file_sink_writes_lines(void) {
  const char *path = fresh_path();
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  char text[64] = "";
  OK(unistream_sink_file(path, UNISTREAM_FILE_SYNC, &sink));
  OK(unistream_producer_open(fresh_path(), sink, NULL, &producer));
  OK(put_text(producer, "one"));
  OK(put_text(producer, "two"));
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  unistream_producer_free(producer);
  FILE *file = fopen(path, "rb");
  CHECK(file != NULL);
  CHECK(fread(text, 1, sizeof text, file) == 8);
  fclose(file);
  CHECK(strcmp(text, "one\ntwo\n") == 0);
}

static void the_file_sink_prefixes_lengths(void) {
  const char *path = fresh_path();
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  char bytes[64] = "";
  OK(unistream_sink_file(path, UNISTREAM_FILE_LENGTH_PREFIXED, &sink));
  OK(unistream_producer_open(fresh_path(), sink, NULL, &producer));
  OK(put_text(producer, "a\nb"));
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  unistream_producer_free(producer);
  FILE *file = fopen(path, "rb");
  CHECK(file != NULL);
  CHECK(fread(bytes, 1, sizeof bytes, file) == 7);
  fclose(file);
  CHECK(memcmp(bytes, "\3\0\0\0a\nb", 7) == 0);
}

static void the_null_sink_takes_everything(void) {
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  OK(unistream_sink_null(&sink));
  unistream_sink_free(sink); /* One that no producer took over. */
  OK(unistream_sink_null(&sink));
  OK(unistream_producer_open(fresh_path(), sink, NULL, &producer));
  for (int i = 0; i < 1000; i++) OK(put_text(producer, "x"));
  OK(unistream_producer_sync(producer));
  OK(unistream_producer_flush(producer, UNISTREAM_FOREVER));
  EVENTUALLY(counter(producer, "delivered_records") == 1000);
  unistream_producer_free(producer);
}

static void statistics_have_names(void) {
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_stats *stats = NULL;
  uint64_t value = 0;
  OK(open_kept(fresh_path(), &sink, NULL, &producer));
  OK(put_text(producer, "12345"));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  OK(unistream_producer_stats(producer, &stats));
  unistream_producer_free(producer);
  /* The snapshot outlives the producer. */
  CHECK(unistream_stats_count(stats) > 10);
  for (size_t i = 0; i < unistream_stats_count(stats); i++) {
    OK(unistream_stats_get(stats, unistream_stats_name(stats, i), &value));
    CHECK(value == unistream_stats_value(stats, i));
  }
  CHECK(unistream_stats_name(stats, unistream_stats_count(stats)) == NULL);
  CHECK(unistream_stats_value(stats, unistream_stats_count(stats)) == 0);
  OK(unistream_stats_get(stats, "put_bytes", &value));
  CHECK(value == 5);
  FAILS(UNISTREAM_ERROR_NOT_FOUND, unistream_stats_get(stats, "nonsense", &value));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_stats_get(stats, "\xff\xfe", &value));
  CHECK(unistream_stats_state(stats) == UNISTREAM_STATE_RUNNING);
  CHECK(strcmp(unistream_stats_last_error(stats), "") == 0);
  unistream_stats_free(stats);
}

/* Keeps a memo with a batch and fails twice. */
typedef struct keeper {
  int prepared;
  int sent;
  bool right;
} keeper;

static int64_t keep(void *user_data, const unistream_batch *batch, void *memo) {
  keeper *here = (keeper *)user_data;
  size_t length = 7;
  here->right = here->right && unistream_batch_memo(batch, &length) == NULL && length == 0;
  here->prepared++;
  memcpy(memo, "a\0memo", 6);
  return here->prepared == 1 ? -1 : 6;
}

static unistream_outcome send_kept(void *user_data, const unistream_batch *batch, unistream_report *report) {
  keeper *here = (keeper *)user_data;
  size_t length = 0;
  const void *memo = unistream_batch_memo(batch, &length);
  (void)report;
  here->right = here->right && memo != NULL && length == 6 && memcmp(memo, "a\0memo", 6) == 0;
  here->sent++;
  return here->sent < 3 ? UNISTREAM_OUTCOME_FAILED : UNISTREAM_OUTCOME_DELIVERED;
}

static void a_memo_comes_with_every_attempt(void) {
  const char *const quick[] = {"schedule_max", "0", "max_records", "1", "max_attempts", "10", NULL};
  keeper here = {0, 0, true};
  unistream_sink_callbacks callbacks = UNISTREAM_SINK_CALLBACKS_INIT;
  unistream_config *config = config_of(quick);
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  size_t length = 7;
  callbacks.user_data = &here;
  callbacks.send = send_kept;
  callbacks.prepare = keep;
  OK(unistream_sink_new(&callbacks, &sink));
  OK(unistream_producer_open(fresh_path(), sink, config, &producer));
  unistream_config_free(config);
  OK(put_text(producer, "x"));
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  unistream_producer_free(producer);
  CHECK(here.right && here.prepared == 2 && here.sent == 3);
  CHECK(unistream_batch_memo(NULL, &length) == NULL && length == 0);
  CHECK(unistream_batch_memo(NULL, NULL) == NULL);
}

int main(void) {
  RUN(a_record_arrives_as_it_was_put);
  RUN(put_many_keeps_the_order);
  RUN(put_many_stops_at_the_first_that_is_refused);
  RUN(a_refused_put_says_how_many_went_in_and_is_counted);
  RUN(records_may_grow);
  RUN(a_record_carries_headers_topic_and_expiry);
  RUN(a_program_of_before_headers_runs_as_it_did);
  RUN(a_memo_comes_with_every_attempt);
  RUN(a_failed_batch_comes_again_unchanged);
  RUN(an_unavailable_sink_uses_up_no_attempts);
  RUN(retry_after_is_a_floor);
  RUN(a_sink_answers_for_each_record);
  RUN(a_record_is_reported_once);
  RUN(a_senseless_answer_is_a_failed_attempt);
  RUN(a_sink_states_its_limits);
  RUN(the_file_sink_writes_lines);
  RUN(the_file_sink_prefixes_lengths);
  RUN(the_null_sink_takes_everything);
  RUN(statistics_have_names);
  return failed_tests != 0;
}
