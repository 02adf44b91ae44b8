/* The program sends by itself. */
#include <fcntl.h>
#include <poll.h>
#include "check.h"

static unistream_error *open_manual(const char *path, const char *const *more, unistream_producer **producer) {
  unistream_config *config = config_of(more);
  unistream_error *error = unistream_config_set(config, "mode", "manual");
  if (!error) error = unistream_producer_open(path, NULL, config, producer);
  unistream_config_free(config);
  return error;
}

/* The next batch, waiting as long as the producer says. */
static unistream_batch *next(const unistream_producer *producer) {
  unistream_batch *batch = NULL;
  for (int waited = 0; !batch && waited < PATIENCE_MS;) {
    int64_t wait = -1;
    unistream_error_free(unistream_producer_next_batch(producer, &batch));
    unistream_error_free(unistream_producer_next_wait(producer, &wait));
    if (!batch) {
      long pause = wait > 0 && wait < 1000 ? (long)wait : 1;
      sleep_ms(pause);
      waited += (int)pause;
    }
  }
  return batch;
}

static void commit_moves_on(void) {
  const char *const pairs[] = {"max_records", "2", "linger", "none", NULL};
  unistream_producer *producer = NULL;
  unistream_batch *batch = NULL;
  unistream_record record = UNISTREAM_RECORD_INIT;
  int64_t wait = 0;
  uint64_t left = 7;
  OK(open_manual(fresh_path(), pairs, &producer));
  OK(unistream_producer_next_batch(producer, &batch));
  CHECK(batch == NULL);
  OK(unistream_producer_next_wait(producer, &wait));
  CHECK(wait == UNISTREAM_FOREVER);
  OK(put_text(producer, "one"));
  OK(put_text(producer, "two"));
  OK(put_text(producer, "three"));
  OK(put_text(producer, "four"));
  OK(unistream_producer_next_wait(producer, &wait));
  CHECK(wait == 0);
  CHECK((batch = next(producer)) != NULL);
  CHECK(unistream_batch_count(batch) == 2 && unistream_batch_record(batch, 1, &record));
  CHECK(record.data_length == 3 && memcmp(record.data, "two", 3) == 0);
  OK(unistream_producer_commit(producer, batch));
  CHECK((batch = next(producer)) != NULL);
  CHECK(unistream_batch_record(batch, 0, &record) && memcmp(record.data, "three", 5) == 0);
  OK(unistream_producer_commit(producer, batch));
  OK(unistream_producer_flush(producer, 0));
  OK(unistream_producer_close(producer, 0, &left));
  CHECK(left == 0);
  unistream_producer_free(producer);
}

static void failed_comes_again_when_its_time_has_come(void) {
  const char *const pairs[] = {"max_records", "1", "schedule_waits", "0.05", "jitter", "none", NULL};
  unistream_producer *producer = NULL;
  unistream_batch *batch = NULL;
  char id[64];
  int64_t wait = 0;
  OK(open_manual(fresh_path(), pairs, &producer));
  OK(put_text(producer, "x"));
  CHECK((batch = next(producer)) != NULL);
  CHECK(unistream_batch_attempt(batch) == 1);
  snprintf(id, sizeof id, "%s", unistream_batch_id(batch));
  OK(unistream_producer_failed(producer, batch, "not today"));
  OK(unistream_producer_next_wait(producer, &wait));
  CHECK(wait >= 0 && wait <= 50);
  CHECK((batch = next(producer)) != NULL);
  CHECK(unistream_batch_attempt(batch) == 2 && strcmp(unistream_batch_id(batch), id) == 0);
  OK(unistream_producer_failed(producer, batch, NULL));
  CHECK((batch = next(producer)) != NULL);
  OK(unistream_producer_commit(producer, batch));
  EVENTUALLY(counter(producer, "failed_attempts") == 2);
  unistream_producer_free(producer);
}

static void settle_speaks_for_each_record(void) {
  const char *const pairs[] = {"max_records", "3", "linger", "none", NULL};
  unistream_producer *producer = NULL;
  unistream_batch *batch = NULL;
  unistream_report *report = unistream_report_new();
  unistream_record record = UNISTREAM_RECORD_INIT;
  OK(open_manual(fresh_path(), pairs, &producer));
  OK(put_text(producer, "taken"));
  OK(put_text(producer, "rejected"));
  OK(put_text(producer, "failed"));
  CHECK((batch = next(producer)) != NULL);
  unistream_report_record(report, 1, UNISTREAM_OUTCOME_REJECTED, "never");
  unistream_report_record(report, 2, UNISTREAM_OUTCOME_FAILED, "again");
  unistream_report_message(report, "partly");
  unistream_report_retry_after(report, 1);
  OK(unistream_producer_settle(producer, batch, UNISTREAM_OUTCOME_DELIVERED, report));
  CHECK((batch = next(producer)) != NULL);
  CHECK(unistream_batch_count(batch) == 1 && unistream_batch_record(batch, 0, &record));
  CHECK(record.data_length == 6);
  /* A report about records that are not there changes nothing, and the batch is still ours. */
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_settle(producer, batch, UNISTREAM_OUTCOME_DELIVERED, report));
  unistream_report_free(report);
  CHECK(counter(producer, "failed_attempts") == 1);
  OK(unistream_producer_settle(producer, batch, UNISTREAM_OUTCOME_UNAVAILABLE, NULL));
  CHECK((batch = next(producer)) != NULL);
  OK(unistream_producer_settle(producer, batch, UNISTREAM_OUTCOME_DELIVERED, NULL));
  EVENTUALLY(counter(producer, "delivered_records") == 2);
  EVENTUALLY(counter(producer, "rejected_records") == 1);
  EVENTUALLY(counter(producer, "unavailable_attempts") == 1);
  unistream_producer_free(producer);
}

static void an_unanswered_batch_stays_in_the_buffer(void) {
  const char *path = fresh_path();
  const char *const pairs[] = {"max_records", "1", NULL};
  unistream_producer *producer = NULL;
  unistream_batch *batch = NULL, *kept_open = NULL;
  unistream_record record = UNISTREAM_RECORD_INIT;
  uint64_t left = 0;
  OK(open_manual(path, pairs, &producer));
  OK(put_text(producer, "x"));
  CHECK((batch = next(producer)) != NULL);
  unistream_batch_free(batch);
  OK(unistream_producer_next_batch(producer, &batch));
  CHECK(batch == NULL); /* Not before the next run. */
  OK(unistream_producer_close(producer, 0, &left));
  CHECK(left == 1);
  unistream_producer_free(producer);
  OK(open_manual(path, pairs, &producer));
  CHECK((kept_open = next(producer)) != NULL);
  OK(unistream_producer_close(producer, 0, &left));
  CHECK(left == 1);
  CHECK(unistream_batch_record(kept_open, 0, &record)); /* Batches outlive the close. */
  FAILS(UNISTREAM_ERROR_CLOSED, unistream_producer_next_batch(producer, &batch));
  FAILS(UNISTREAM_ERROR_CLOSED, unistream_producer_commit(producer, kept_open));
  unistream_producer_free(producer);
  OK(open_manual(path, pairs, &producer));
  CHECK((batch = next(producer)) != NULL);
  OK(unistream_producer_commit(producer, batch));
  unistream_producer_free(producer);
}

static void the_last_attempt_raises(void) {
  const char *const pairs[] = {"max_records", "1", "max_attempts", "1", "on_exhausted", "raise", NULL};
  unistream_producer *producer = NULL;
  unistream_batch *batch = NULL;
  OK(open_manual(fresh_path(), pairs, &producer));
  OK(put_text(producer, "x"));
  CHECK((batch = next(producer)) != NULL);
  FAILS(UNISTREAM_ERROR_RETRIES_EXHAUSTED, unistream_producer_failed(producer, batch, "no"));
  FAILS(UNISTREAM_ERROR_RETRIES_EXHAUSTED, unistream_producer_next_batch(producer, &batch));
  OK(unistream_producer_resume(producer));
  CHECK((batch = next(producer)) != NULL);
  OK(unistream_producer_commit(producer, batch));
  unistream_producer_free(producer);
}

/* It has the id of a batch that is out, and is not that batch. */
static void the_batch_of_a_dead_letter_answers_for_nothing(void) {
  const char *const pairs[] = {"max_records", "2", "linger", "none", NULL};
  unistream_producer *producer = NULL;
  unistream_batch *batch = NULL, *dead = NULL;
  unistream_report *report = unistream_report_new();
  unistream_dead_letters *letters = NULL;
  OK(open_manual(fresh_path(), pairs, &producer));
  OK(put_text(producer, "bad"));
  OK(put_text(producer, "good"));
  CHECK((batch = next(producer)) != NULL);
  unistream_report_record(report, 0, UNISTREAM_OUTCOME_REJECTED, "bad");
  unistream_report_retry_after(report, UINT64_MAX);
  OK(unistream_producer_settle(producer, batch, UNISTREAM_OUTCOME_UNAVAILABLE, report));
  OK(unistream_producer_dead_letters(producer, &letters));
  const unistream_dead_letter *letter = unistream_dead_letters_get(letters, 0);
  OK(unistream_dead_letter_batch(letter, &dead));
  FAILS(UNISTREAM_ERROR_NOT_FOUND, unistream_producer_commit(producer, dead));
  /* The other record waits for a day, whatever was asked; nobody has to wait for that. */
  int64_t wait = 0;
  OK(unistream_producer_next_wait(producer, &wait));
  CHECK(wait > 86000 * INT64_C(1000) && wait <= 86400 * INT64_C(1000));
  OK(unistream_producer_next_batch(producer, &batch));
  CHECK(batch == NULL);
  OK(unistream_producer_resume(producer));
  OK(unistream_producer_next_batch(producer, &batch));
  CHECK(batch != NULL && unistream_batch_attempt(batch) == 1);
  OK(unistream_dead_letter_batch(letter, &dead));
  CHECK(strcmp(unistream_batch_id(dead), unistream_batch_id(batch)) == 0);
  FAILS(UNISTREAM_ERROR_NOT_FOUND, unistream_producer_commit(producer, dead));
  CHECK(counter(producer, "pending_records") == 1);
  OK(unistream_producer_commit(producer, batch));
  CHECK(counter(producer, "pending_records") == 0);
  unistream_dead_letters_free(letters);
  unistream_report_free(report);
  unistream_producer_free(producer);
}

/* Off by one, or minus one: nothing of such a report is believed, and the batch stays the caller's. */
static void an_index_past_the_end_is_refused(void) {
  const char *const pairs[] = {"max_records", "2", "schedule_max", "0", NULL};
  const size_t indices[] = {2, SIZE_MAX};
  const unistream_outcome outcomes[] = {UNISTREAM_OUTCOME_FAILED, UNISTREAM_OUTCOME_DELIVERED};
  unistream_producer *producer = NULL;
  unistream_batch *batch = NULL;
  OK(open_manual(fresh_path(), pairs, &producer));
  OK(put_text(producer, "one"));
  OK(put_text(producer, "two"));
  CHECK((batch = next(producer)) != NULL);
  for (int i = 0; i < 2; i++) {
    unistream_report *report = unistream_report_new();
    unistream_report_record(report, indices[i], outcomes[i], NULL);
    FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_settle(producer, batch, UNISTREAM_OUTCOME_DELIVERED, report));
    unistream_report_free(report);
  }
  CHECK(counter(producer, "failed_attempts") == 0 && counter(producer, "delivered_records") == 0);
  CHECK(unistream_batch_count(batch) == 2);
  OK(unistream_producer_commit(producer, batch));
  CHECK(counter(producer, "delivered_records") == 2);
  unistream_producer_free(producer);
}

static void other_modes_have_no_next_batch(void) {
  kept sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_batch *batch = NULL;
  OK(open_kept(fresh_path(), &sink, NULL, &producer));
  FAILS(UNISTREAM_ERROR_WRONG_MODE, unistream_producer_next_batch(producer, &batch));
  CHECK(batch == NULL);
  unistream_producer_free(producer);
}

static void a_null_batch_is_an_error(void) {
  unistream_producer *producer = NULL;
  OK(open_manual(fresh_path(), NULL, &producer));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_next_batch(producer, NULL));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_next_wait(producer, NULL));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_commit(producer, NULL));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_failed(producer, NULL, "x"));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_settle(producer, NULL, UNISTREAM_OUTCOME_DELIVERED, NULL));
  unistream_producer_free(producer);
}

/* The program keeps a memo with a batch before it sends it; it comes again with the batch. */
static void a_memo_is_kept_by_hand(void) {
  const char *const quick[] = {"schedule_max", "0", "max_records", "1", NULL};
  unistream_producer *producer = NULL;
  unistream_batch *batch = NULL;
  char long_one[4097] = {0};
  size_t length = 7;
  const char *path = fresh_path();
  OK(open_manual(path, quick, &producer));
  OK(put_text(producer, "x"));
  CHECK((batch = next(producer)) != NULL);
  CHECK(unistream_batch_memo(batch, &length) == NULL && length == 0);
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_keep_memo(producer, batch, long_one, sizeof long_one));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_keep_memo(producer, batch, NULL, 1));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_keep_memo(producer, NULL, "a", 1));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_keep_memo(NULL, batch, "a", 1));
  CHECK(unistream_batch_memo(batch, NULL) == NULL);
  OK(unistream_producer_keep_memo(producer, batch, "a\0memo", 6));
  CHECK(memcmp(unistream_batch_memo(batch, &length), "a\0memo", 6) == 0 && length == 6);
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_keep_memo(producer, batch, "b", 1));
  OK(unistream_producer_failed(producer, batch, "no"));
  CHECK((batch = next(producer)) != NULL);
  CHECK(memcmp(unistream_batch_memo(batch, &length), "a\0memo", 6) == 0 && length == 6);
  unistream_batch_free(batch);
  OK(unistream_producer_close(producer, 0, NULL));
  unistream_producer_free(producer);
  /* In the next process too; and an empty one is one. */
  producer = NULL;
  OK(open_manual(path, quick, &producer));
  CHECK((batch = next(producer)) != NULL);
  CHECK(memcmp(unistream_batch_memo(batch, &length), "a\0memo", 6) == 0 && length == 6);
  OK(unistream_producer_commit(producer, batch));
  OK(put_text(producer, "y"));
  CHECK((batch = next(producer)) != NULL);
  OK(unistream_producer_keep_memo(producer, batch, NULL, 0));
  length = 7;
  CHECK(unistream_batch_memo(batch, &length) != NULL && length == 0);
  OK(unistream_producer_commit(producer, batch));
  OK(unistream_producer_close(producer, 0, NULL));
  unistream_producer_free(producer);
}

/* A program that only polls: no timer, and nothing that wakes it in vain but the record that begins a batch. */
static int is_readable(int fd, int within_ms) {
  struct pollfd polled = {fd, POLLIN, 0};
  return poll(&polled, 1, within_ms) == 1;
}

static void the_descriptor_is_readable_when_a_batch_may_be_ready(void) {
  const char *const pairs[] = {"max_records", "2", "linger", "50ms", "schedule_waits", "50ms", "jitter", "none", NULL};
  unistream_producer *producer = NULL;
  unistream_batch *batch = NULL;
  int fd = -1, again = -1;
  OK(open_manual(fresh_path(), pairs, &producer));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_fd(producer, NULL));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_fd(NULL, &fd));
  CHECK(fd == -1);
  OK(unistream_producer_fd(producer, &fd));
  CHECK(fd > 2 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
  CHECK(!is_readable(fd, 0));
  OK(put_text(producer, "one"));
  OK(put_text(producer, "two"));
  for (int attempt = 1; attempt <= 2; attempt++) {
    CHECK(is_readable(fd, PATIENCE_MS));
    OK(unistream_producer_next_batch(producer, &batch));
    CHECK(batch && unistream_batch_attempt(batch) == (uint32_t)attempt);
    OK(attempt == 1 ? unistream_producer_failed(producer, batch, "no") : unistream_producer_commit(producer, batch));
  }
  CHECK(!is_readable(fd, 0));
  OK(put_text(producer, "three"));
  int woken = 0;
  for (batch = NULL; !batch && woken < 9; woken++) {
    CHECK(is_readable(fd, PATIENCE_MS));
    OK(unistream_producer_next_batch(producer, &batch));
  }
  CHECK(batch && woken <= 2);
  unistream_batch_free(batch);
  OK(unistream_producer_close(producer, 0, NULL));
  CHECK(is_readable(fd, PATIENCE_MS));
  OK(unistream_producer_fd(producer, &again));
  CHECK(again == fd);
  unistream_producer_free(producer);
  CHECK(fcntl(fd, F_GETFD) == -1);
}

int main(void) {
  RUN(the_descriptor_is_readable_when_a_batch_may_be_ready);
  RUN(a_memo_is_kept_by_hand);
  RUN(commit_moves_on);
  RUN(failed_comes_again_when_its_time_has_come);
  RUN(settle_speaks_for_each_record);
  RUN(an_unanswered_batch_stays_in_the_buffer);
  RUN(the_last_attempt_raises);
  RUN(the_batch_of_a_dead_letter_answers_for_nothing);
  RUN(an_index_past_the_end_is_refused);
  RUN(other_modes_have_no_next_batch);
  RUN(a_null_batch_is_an_error);
  return failed_tests != 0;
}
