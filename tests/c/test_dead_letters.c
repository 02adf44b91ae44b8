/* What was given up on can be read, put again and deleted. */
#include "check.h"

/* Rejects every record that begins with 'r', saying why. */
static unistream_outcome reject(void *user_data, const unistream_batch *batch, unistream_report *report) {
  kept *sink = (kept *)user_data;
  unistream_record record = UNISTREAM_RECORD_INIT;
  pthread_mutex_lock(&sink->lock);
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    if (sink->failures > 0 && ((const char *)record.data)[0] == 'r') {
      unistream_report_record(report, i, UNISTREAM_OUTCOME_REJECTED, "begins with r");
    }
  }
  kept_batch(sink, batch);
  pthread_mutex_unlock(&sink->lock);
  return UNISTREAM_OUTCOME_DELIVERED;
}

/* Opens a producer whose sink rejects, puts, and waits. */
static void put_rejected(const char *path, kept *sink, unistream_producer **producer) {
  const char *const once_full[] = {"linger", "none", NULL};
  unistream_config *config = config_of(once_full);
  unistream_sink_callbacks callbacks = UNISTREAM_SINK_CALLBACKS_INIT;
  unistream_sink *handle = NULL;
  unistream_record record = UNISTREAM_RECORD_INIT;
  sink->failures = 1;
  callbacks.user_data = sink;
  callbacks.send = reject;
  callbacks.name = "picky";
  OK(unistream_sink_new(&callbacks, &handle));
  OK(unistream_producer_open(path, handle, config, producer));
  unistream_config_free(config);
  OK(put_text(*producer, "good"));
  record.data = "r1";
  record.data_length = 2;
  record.id = "own-id";
  record.id_length = 6;
  record.created_at = 42;
  OK(unistream_producer_put_record(*producer, &record, NULL));
  OK(put_text(*producer, "r2"));
  OK(unistream_producer_flush(*producer, PATIENCE_MS));
}

static void a_letter_says_what_happened(void) {
  const char *path = fresh_path();
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_dead_letters *letters = NULL;
  unistream_batch *batch = NULL;
  unistream_record record = UNISTREAM_RECORD_INIT;
  put_rejected(path, &sink, &producer);
  CHECK(!test_failed);
  OK(unistream_producer_dead_letters(producer, &letters));
  CHECK(unistream_dead_letters_count(letters) == 1);
  const unistream_dead_letter *letter = unistream_dead_letters_get(letters, 0);
  CHECK(unistream_dead_letters_get(letters, 1) == NULL);
  CHECK(unistream_dead_letter_id(letter)[0] != '\0');
  CHECK(strcmp(unistream_dead_letter_sink(letter), "picky") == 0);
  CHECK(unistream_dead_letter_first_attempt(letter) > 0);
  CHECK(unistream_dead_letter_last_attempt(letter) >= unistream_dead_letter_first_attempt(letter));
  CHECK(unistream_dead_letter_created_at(letter) >= unistream_dead_letter_first_attempt(letter));
  CHECK(unistream_dead_letter_bytes(letter) > 0);
  for (size_t i = 0; i < 2; i++) {
    CHECK(unistream_dead_letter_is_rejected(letter, i));
    CHECK(strcmp(unistream_dead_letter_reason(letter, i), "begins with r") == 0);
  }
  CHECK(unistream_dead_letter_reason(letter, 2) == NULL && !unistream_dead_letter_is_rejected(letter, 2));
  CHECK(unistream_dead_letter_error(letter, 99) == NULL);
  OK(unistream_dead_letter_batch(letter, &batch));
  CHECK(unistream_batch_count(batch) == 2);
  CHECK(unistream_batch_record(batch, 0, &record));
  CHECK(record.data_length == 2 && memcmp(record.data, "r1", 2) == 0);
  CHECK(record.id_length == 6 && memcmp(record.id, "own-id", 6) == 0 && record.created_at == 42);
  unistream_dead_letters_free(letters);
  unistream_batch_free(batch); /* It does not need its letter. */
  unistream_producer_free(producer);
}

static void a_skipped_batch_tells_its_attempts(void) {
  const char *path = fresh_path();
  const char *const twice[] = {"max_attempts", "2", NULL};
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_dead_letters *letters = NULL;
  sink.failures = 2;
  OK(open_kept(path, &sink, twice, &producer));
  OK(put_text(producer, "poison"));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  EVENTUALLY(counter(producer, "skipped_records") == 1);
  OK(unistream_producer_dead_letters(producer, &letters));
  const unistream_dead_letter *letter = unistream_dead_letters_get(letters, 0);
  CHECK(unistream_dead_letter_attempts(letter) == 2);
  CHECK(!unistream_dead_letter_is_rejected(letter, 0));
  CHECK(strstr(unistream_dead_letter_error(letter, 0), "as it was told") != NULL);
  unistream_dead_letters_free(letters);
  unistream_producer_free(producer);
}

static void a_letter_is_put_again(void) {
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_dead_letters *letters = NULL;
  uint64_t records = 0;
  put_rejected(fresh_path(), &sink, &producer);
  CHECK(!test_failed);
  OK(unistream_producer_dead_letters(producer, &letters));
  pthread_mutex_lock(&sink.lock);
  sink.failures = 0; /* It rejects no more. */
  sink.text[0] = '\0';
  pthread_mutex_unlock(&sink.lock);
  const char *id = unistream_dead_letter_id(unistream_dead_letters_get(letters, 0));
  OK(unistream_producer_replay(producer, id, &records));
  CHECK(records == 2);
  FAILS(UNISTREAM_ERROR_NOT_FOUND, unistream_producer_replay(producer, id, &records));
  OK(unistream_producer_flush(producer, PATIENCE_MS));
  CHECK(kept_text_is(&sink, "r1\nr2\n"));
  unistream_dead_letters_free(letters);
  OK(unistream_producer_dead_letters(producer, &letters));
  CHECK(unistream_dead_letters_count(letters) == 0);
  unistream_dead_letters_free(letters);
  unistream_producer_free(producer);
}

static void a_letter_is_deleted_without_a_producer(void) {
  const char *path = fresh_path();
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_dead_letters *letters = NULL;
  unistream_batch *batch = NULL;
  put_rejected(path, &sink, &producer);
  CHECK(!test_failed);
  unistream_producer_free(producer);
  OK(unistream_dead_letters_open(path, &letters));
  CHECK(unistream_dead_letters_count(letters) == 1);
  const unistream_dead_letter *letter = unistream_dead_letters_get(letters, 0);
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_dead_letters_delete(letters, NULL));
  FAILS(UNISTREAM_ERROR_NOT_FOUND, unistream_dead_letters_delete(letters, "nobody"));
  OK(unistream_dead_letters_delete(letters, unistream_dead_letter_id(letter)));
  FAILS(UNISTREAM_ERROR_NOT_FOUND, unistream_dead_letters_delete(letters, unistream_dead_letter_id(letter)));
  CHECK(unistream_dead_letters_count(letters) == 1); /* The list is what it was. */
  FAILS(UNISTREAM_ERROR_NOT_FOUND, unistream_dead_letter_batch(letter, &batch));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_dead_letter_batch(letter, NULL));
  unistream_dead_letters_free(letters);
  OK(unistream_dead_letters_open(path, &letters));
  CHECK(unistream_dead_letters_count(letters) == 0);
  unistream_dead_letters_free(letters);
}

int main(void) {
  RUN(a_letter_says_what_happened);
  RUN(a_skipped_batch_tells_its_attempts);
  RUN(a_letter_is_put_again);
  RUN(a_letter_is_deleted_without_a_producer);
  return failed_tests != 0;
}
