/* What C can get wrong in a call is an error with a message, never a crash. */
#include "check.h"

static void versions_agree(void) {
  char text[32];
  snprintf(text, sizeof text, "%d.%d.%d", UNISTREAM_VERSION_MAJOR, UNISTREAM_VERSION_MINOR, UNISTREAM_VERSION_PATCH);
  CHECK(strcmp(unistream_version(), UNISTREAM_VERSION) == 0);
  CHECK(strcmp(unistream_version(), text) == 0);
  CHECK(unistream_version_number() == UNISTREAM_VERSION_NUMBER);
}

static void every_free_takes_null(void) {
  unistream_error_free(NULL);
  unistream_config_free(NULL);
  unistream_sink_free(NULL);
  unistream_producer_free(NULL);
  unistream_batch_free(NULL);
  unistream_report_free(NULL);
  unistream_completion_free(NULL);
  unistream_stats_free(NULL);
  unistream_dead_letters_free(NULL);
}

static void what_cannot_fail_takes_null(void) {
  unistream_record record = UNISTREAM_RECORD_INIT;
  CHECK(unistream_error_code(NULL) == UNISTREAM_ERROR_NONE);
  CHECK(strcmp(unistream_error_name(NULL), "none") == 0);
  CHECK(strcmp(unistream_error_message(NULL), "success") == 0);
  CHECK(unistream_error_cause(NULL, 0) == NULL);
  CHECK(!unistream_error_is_retryable(NULL));
  CHECK(!unistream_error_record_accepted(NULL));
  CHECK(unistream_event_name(NULL) == NULL);
  CHECK(unistream_event_level(NULL) == UNISTREAM_LEVEL_DEBUG);
  CHECK(unistream_event_message(NULL) == NULL);
  CHECK(unistream_event_batch(NULL) == NULL);
  CHECK(unistream_event_error(NULL) == NULL);
  CHECK(unistream_batch_id(NULL) == NULL);
  CHECK(unistream_batch_count(NULL) == 0);
  CHECK(unistream_batch_first_seq(NULL) == 0);
  CHECK(unistream_batch_last_seq(NULL) == 0);
  CHECK(unistream_batch_attempt(NULL) == 0);
  CHECK(!unistream_batch_record(NULL, 0, &record));
  CHECK(unistream_batch_record_id(NULL, 0, NULL, 0) == 0);
  unistream_report_record(NULL, 0, UNISTREAM_OUTCOME_FAILED, "message");
  unistream_report_message(NULL, "message");
  unistream_report_retry_after(NULL, 1);
  CHECK(unistream_completion_batch(NULL) == NULL);
  CHECK(unistream_completion_report(NULL) == NULL);
  unistream_completion_finish(NULL, UNISTREAM_OUTCOME_DELIVERED);
  CHECK(unistream_stats_count(NULL) == 0);
  CHECK(unistream_stats_name(NULL, 0) == NULL);
  CHECK(unistream_stats_value(NULL, 0) == 0);
  CHECK(unistream_stats_state(NULL) == UNISTREAM_STATE_CLOSED);
  CHECK(unistream_stats_state_name(NULL) == NULL);
  CHECK(unistream_stats_last_error(NULL) == NULL);
  CHECK(unistream_dead_letters_count(NULL) == 0);
  CHECK(unistream_dead_letters_get(NULL, 0) == NULL);
  CHECK(unistream_dead_letter_id(NULL) == NULL);
  CHECK(unistream_dead_letter_sink(NULL) == NULL);
  CHECK(unistream_dead_letter_attempts(NULL) == 0);
  CHECK(unistream_dead_letter_first_attempt(NULL) == 0);
  CHECK(unistream_dead_letter_last_attempt(NULL) == 0);
  CHECK(unistream_dead_letter_created_at(NULL) == 0);
  CHECK(unistream_dead_letter_bytes(NULL) == 0);
  CHECK(unistream_dead_letter_error(NULL, 0) == NULL);
  CHECK(unistream_dead_letter_reason(NULL, 0) == NULL);
  CHECK(!unistream_dead_letter_is_rejected(NULL, 0));
}

static void a_null_handle_is_an_error(void) {
  const unistream_code invalid = UNISTREAM_ERROR_INVALID_ARGUMENT;
  unistream_record record = UNISTREAM_RECORD_INIT;
  unistream_sink *sink = NULL;
  unistream_batch *batch = NULL;
  unistream_stats *stats = NULL;
  unistream_dead_letters *letters = NULL;
  const char *text = NULL;
  size_t accepted = 7;
  uint64_t number = 7;
  int64_t wait = 7;
  FAILS(invalid, unistream_config_set(NULL, "linger", "1"));
  FAILS(invalid, unistream_config_get(NULL, "linger", &text));
  FAILS(invalid, unistream_config_on_event(NULL, UNISTREAM_LEVEL_INFO, NULL, NULL, NULL));
  FAILS(invalid, unistream_sink_file(NULL, 0, &sink));
  FAILS(invalid, unistream_sink_open(NULL, NULL, &sink));
  FAILS(invalid, unistream_sink_register(NULL, NULL, NULL, NULL));
  FAILS(invalid, unistream_sink_new(NULL, &sink));
  FAILS(invalid, unistream_sink_callback(NULL, NULL, NULL, &sink));
  FAILS(invalid, unistream_sink_callback_async(NULL, NULL, NULL, &sink));
  FAILS(invalid, unistream_producer_put(NULL, "x", 1));
  FAILS(invalid, unistream_producer_put_record(NULL, &record, &number));
  FAILS(invalid, unistream_producer_put_reported(NULL, &record, NULL, NULL, &number));
  unistream_report_receipt(NULL, 0, "nobody hears it");
  CHECK(!unistream_batch_wants_receipts(NULL));
  FAILS(invalid, unistream_producer_put_many(NULL, &record, 1, &accepted));
  CHECK(accepted == 0); /* The one out parameter that is written on failure too. */
  FAILS(invalid, unistream_producer_flush(NULL, 0));
  FAILS(invalid, unistream_producer_sync(NULL));
  FAILS(invalid, unistream_producer_resume(NULL));
  FAILS(invalid, unistream_producer_close(NULL, 0, &number));
  FAILS(invalid, unistream_producer_stats(NULL, &stats));
  char *scraped = NULL;
  FAILS(invalid, unistream_producer_prometheus(NULL, &scraped));
  CHECK(scraped == NULL);
  unistream_text_free(NULL);
  FAILS(invalid, unistream_producer_next_batch(NULL, &batch));
  FAILS(invalid, unistream_producer_next_wait(NULL, &wait));
  FAILS(invalid, unistream_producer_commit(NULL, NULL));
  FAILS(invalid, unistream_producer_failed(NULL, NULL, NULL));
  FAILS(invalid, unistream_producer_settle(NULL, NULL, UNISTREAM_OUTCOME_DELIVERED, NULL));
  FAILS(invalid, unistream_producer_dead_letters(NULL, &letters));
  FAILS(invalid, unistream_producer_replay(NULL, "id", &number));
  FAILS(invalid, unistream_stats_get(NULL, "attempts", &number));
  FAILS(invalid, unistream_dead_letters_open(NULL, &letters));
  FAILS(invalid, unistream_dead_letters_delete(NULL, "id"));
  FAILS(invalid, unistream_dead_letter_batch(NULL, &batch));
  CHECK(sink == NULL && batch == NULL && stats == NULL && letters == NULL && text == NULL && number == 7 && wait == 7);
}

static void a_null_out_parameter_is_an_error(void) {
  const unistream_code invalid = UNISTREAM_ERROR_INVALID_ARGUMENT;
  kept kept_sink = KEPT_INIT;
  unistream_config *config = unistream_config_new();
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_stats *stats = NULL;
  FAILS(invalid, unistream_config_get(config, "linger", NULL));
  unistream_config_free(config);
  FAILS(invalid, unistream_sink_null(NULL));
  FAILS(invalid, unistream_sink_file("/nowhere", 0, NULL));
  FAILS(invalid, unistream_sink_callback(kept_send, &kept_sink, kept_destroy, NULL));
  CHECK(kept_sink.destroyed == 1);
  OK(unistream_sink_callback(kept_send, &kept_sink, kept_destroy, &sink));
  FAILS(invalid, unistream_producer_open(fresh_path(), sink, NULL, NULL));
  CHECK(kept_sink.destroyed == 2);
  OK(open_kept(fresh_path(), &kept_sink, NULL, &producer));
  FAILS(invalid, unistream_producer_stats(producer, NULL));
  FAILS(invalid, unistream_producer_prometheus(producer, NULL));
  FAILS(invalid, unistream_producer_dead_letters(producer, NULL));
  FAILS(invalid, unistream_dead_letters_open(fresh_path(), NULL));
  OK(unistream_producer_stats(producer, &stats));
  FAILS(invalid, unistream_stats_get(stats, "attempts", NULL));
  FAILS(invalid, unistream_stats_get(stats, NULL, NULL));
  unistream_stats_free(stats);
  unistream_producer_free(producer);
  CHECK(kept_sink.destroyed == 3);
}

static void options_are_checked(void) {
  const unistream_code invalid = UNISTREAM_ERROR_INVALID_ARGUMENT;
  unistream_config *config = unistream_config_new();
  const char *value = NULL;
  OK(unistream_config_set(config, "max_records", "7"));
  FAILS(invalid, unistream_config_set(config, "max_recrods", "7"));
  FAILS(invalid, unistream_config_set(config, "max_records", "seven"));
  FAILS(invalid, unistream_config_set(config, "max_records", "0"));
  FAILS(invalid, unistream_config_set(config, "max_records", ""));
  FAILS(invalid, unistream_config_set(config, "max_records", "\xff\xfe"));
  FAILS(invalid, unistream_config_set(config, "\xff\xfe", "7"));
  FAILS(invalid, unistream_config_set(config, NULL, "7"));
  FAILS(invalid, unistream_config_set(config, "max_records", NULL));
  OK(unistream_config_get(config, "max_records", &value));
  CHECK(strcmp(value, "7") == 0); /* The refused values changed nothing. */
  FAILS(UNISTREAM_ERROR_NOT_FOUND, unistream_config_get(config, "max_recrods", &value));
  FAILS(invalid, unistream_config_get(config, NULL, &value));
  FAILS(invalid, unistream_config_on_event(config, 4, NULL, NULL, NULL));
  FAILS(invalid, unistream_config_on_event(config, -1, NULL, NULL, NULL));
  unistream_config_free(config);
}

static void every_option_takes_its_default(void) {
  unistream_config *config = unistream_config_new();
  size_t count = 0;
  for (const char *key; (key = unistream_option(count, UNISTREAM_OPTION_KEY)) != NULL; count++) {
    const char *value = NULL;
    OK(unistream_config_set(config, key, unistream_option(count, UNISTREAM_OPTION_DEFAULT)));
    OK(unistream_config_get(config, key, &value));
    CHECK(value != NULL);
    CHECK(unistream_option(count, UNISTREAM_OPTION_KIND)[0] != '\0');
    CHECK(unistream_option(count, UNISTREAM_OPTION_RANGE)[0] != '\0');
    CHECK(unistream_option(count, UNISTREAM_OPTION_DOC)[0] != '\0');
  }
  CHECK(count > 10);
  CHECK(unistream_option(0, 5) == NULL && unistream_option(0, -1) == NULL);
  CHECK(unistream_option(SIZE_MAX, UNISTREAM_OPTION_KEY) == NULL);
  unistream_config_free(config);
}

static void an_error_says_what_is_wrong(void) {
  unistream_config *config = unistream_config_new();
  unistream_error *error = unistream_config_set(config, "linger", "soon");
  CHECK(unistream_error_code(error) == UNISTREAM_ERROR_INVALID_ARGUMENT);
  CHECK(strcmp(unistream_error_name(error), "invalid_argument") == 0);
  CHECK(strstr(unistream_error_message(error), "linger") != NULL);
  CHECK(strstr(unistream_error_message(error), "soon") != NULL);
  CHECK(!unistream_error_is_retryable(error));
  CHECK(!unistream_error_record_accepted(error));
  CHECK(unistream_error_cause(error, 0) == NULL);
  unistream_error_free(error);
  unistream_config_free(config);
}

static void a_failed_open_has_a_cause(void) {
  kept kept_sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  unistream_error *error = open_kept("/dev/null/buffer", &kept_sink, NULL, &producer);
  CHECK(error != NULL && producer == NULL);
  CHECK(unistream_error_code(error) == UNISTREAM_ERROR_IO);
  CHECK(unistream_error_cause(error, 0) != NULL);
  CHECK(unistream_error_cause(error, 99) == NULL);
  CHECK(kept_sink.destroyed == 1);
  unistream_error_free(error);
}

static void what_open_refuses(void) {
  const unistream_code invalid = UNISTREAM_ERROR_INVALID_ARGUMENT;
  kept kept_sink = KEPT_INIT;
  const char *const manual[] = {"mode", "manual", NULL};
  unistream_producer *producer = NULL;
  FAILS(invalid, open_kept(NULL, &kept_sink, NULL, &producer));
  FAILS(invalid, open_kept("\xff\xfe", &kept_sink, NULL, &producer));
  FAILS(invalid, open_kept("", &kept_sink, NULL, &producer));
  FAILS(invalid, open_kept(fresh_path(), &kept_sink, manual, &producer)); /* A sink in mode manual. */
  FAILS(invalid, unistream_producer_open(fresh_path(), NULL, NULL, &producer)); /* None in another mode. */
  CHECK(producer == NULL && kept_sink.destroyed == 4);
}

static void later(void *user_data, unistream_completion *completion) {
  (void)user_data;
  unistream_completion_finish(completion, UNISTREAM_OUTCOME_DELIVERED);
}

static void inline_mode_refuses_asynchronous_sinks(void) {
  const char *const inline_mode[] = {"mode", "inline", NULL};
  kept kept_sink = KEPT_INIT;
  unistream_config *config = config_of(inline_mode);
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  OK(unistream_sink_callback_async(later, &kept_sink, kept_destroy, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_producer_open(fresh_path(), sink, config, &producer));
  CHECK(kept_sink.destroyed == 1);
  unistream_config_free(config);
}

static void what_a_put_refuses(void) {
  const unistream_code invalid = UNISTREAM_ERROR_INVALID_ARGUMENT;
  const char *const small[] = {"max_record_bytes", "100", NULL};
  kept kept_sink = KEPT_INIT;
  unistream_producer *producer = NULL;
  char bytes[128] = {0};
  OK(open_kept(fresh_path(), &kept_sink, small, &producer));
  FAILS(invalid, unistream_producer_put(producer, NULL, 1));
  FAILS(UNISTREAM_ERROR_RECORD_TOO_LARGE, unistream_producer_put(producer, bytes, 101));
  FAILS(UNISTREAM_ERROR_RECORD_TOO_LARGE, unistream_producer_put(producer, bytes, SIZE_MAX));
  FAILS(UNISTREAM_ERROR_RECORD_TOO_LARGE, unistream_producer_put(producer, bytes, SIZE_MAX / 2 + 1));

  unistream_record record = UNISTREAM_RECORD_INIT;
  record.data = bytes;
  record.data_length = 1;
  FAILS(invalid, unistream_producer_put_record(producer, NULL, NULL));
  FAILS(invalid, unistream_producer_put_record(producer, (const unistream_record *)(const void *)(bytes + 1), NULL));
  record.size = 0;
  FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
  record.size = SIZE_MAX;
  FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
  FAILS(invalid, unistream_producer_put_many(producer, &record, 1, NULL));
  record.size = sizeof record;
  FAILS(invalid, unistream_producer_put_many(producer, NULL, 1, NULL));
  FAILS(invalid, unistream_producer_put_many(producer, &record, SIZE_MAX, NULL));
  {
    const unistream_header good = {"n", 1, "v", 1};
    unistream_header many[101];
    unistream_header bad = good;
    for (int i = 0; i < 101; i++) many[i] = good;
    record.header_count = 1;
    FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
    record.headers = (const unistream_header *)(const void *)(bytes + 1);
    FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
    record.headers = many;
    record.header_count = 101;
    FAILS(UNISTREAM_ERROR_RECORD_TOO_LARGE, unistream_producer_put_record(producer, &record, NULL));
    FAILS(UNISTREAM_ERROR_RECORD_TOO_LARGE, unistream_producer_put_many(producer, &record, 1, NULL));
    record.header_count = SIZE_MAX;
    FAILS(UNISTREAM_ERROR_RECORD_TOO_LARGE, unistream_producer_put_record(producer, &record, NULL));
    record.headers = &bad;
    record.header_count = 1;
    bad.name = NULL;
    FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
    bad.name_length = 0;
    FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
    bad.name = "\xff", bad.name_length = 1;
    FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
    bad.name = "a\nb", bad.name_length = 3;
    FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
    bad = good, bad.value = NULL;
    FAILS(invalid, unistream_producer_put_many(producer, &record, 1, NULL));
    bad = good, bad.value_length = SIZE_MAX;
    FAILS(UNISTREAM_ERROR_RECORD_TOO_LARGE, unistream_producer_put_record(producer, &record, NULL));
    record.headers = NULL;
    record.header_count = 0;
    record.topic_length = 1;
    FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
    record.topic = "\xff";
    FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
    record.topic_length = 0;
    FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
    record.topic = NULL;
    record.expires_at = INT64_MAX;
    FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
    record.expires_at = 0;
  }
  record.id = "\xff\xfe";
  record.id_length = 2;
  FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
  record.id = NULL;
  FAILS(invalid, unistream_producer_put_record(producer, &record, NULL));
  record.id_length = 0;
  record.key = bytes;
  record.key_length = 65536;
  unistream_error *error = unistream_producer_put_record(producer, &record, NULL);
  CHECK(error != NULL);
  unistream_error_free(error);
  record.key_length = SIZE_MAX;
  error = unistream_producer_put_record(producer, &record, NULL);
  CHECK(error != NULL);
  unistream_error_free(error);

  FAILS(invalid, unistream_producer_flush(producer, -2));
  FAILS(invalid, unistream_producer_close(producer, INT64_MIN, NULL));
  FAILS(UNISTREAM_ERROR_NOT_FOUND, unistream_producer_replay(producer, "nobody", NULL));
  FAILS(invalid, unistream_producer_replay(producer, NULL, NULL));
  CHECK(counter(producer, "put_records") == 0);
  unistream_producer_free(producer);
}

static void what_a_sink_refuses(void) {
  const unistream_code invalid = UNISTREAM_ERROR_INVALID_ARGUMENT;
  kept kept_sink = KEPT_INIT;
  unistream_sink *sink = NULL;
  unistream_sink_callbacks callbacks = UNISTREAM_SINK_CALLBACKS_INIT;
  callbacks.user_data = &kept_sink;
  callbacks.destroy = kept_destroy;
  FAILS(invalid, unistream_sink_new(&callbacks, &sink)); /* Neither send nor send_async. */
  callbacks.send = kept_send;
  callbacks.name = "\xff\xfe";
  FAILS(invalid, unistream_sink_new(&callbacks, &sink));
  CHECK(kept_sink.destroyed == 2);
  callbacks.size = 8; /* Without a size there is no destroy to rely on. */
  FAILS(invalid, unistream_sink_new(&callbacks, &sink));
  CHECK(kept_sink.destroyed == 2 && sink == NULL);
  FAILS(invalid, unistream_sink_file(fresh_path(), 4, &sink));
  FAILS(invalid, unistream_sink_file("\xff\xfe", 0, &sink));
  FAILS(invalid, unistream_sink_file("", 0, &sink));
  FAILS(UNISTREAM_ERROR_IO, unistream_sink_file("/dev/null/file", 0, &sink));
  FAILS(invalid, unistream_sink_open("kinesis", NULL, &sink));
  FAILS(invalid, unistream_sink_open("carrier-pigeon://roof", NULL, &sink));
  FAILS(invalid, unistream_sink_open("kinesis://stream?region=nowhere&pigeons=7", NULL, &sink));
  FAILS(invalid, unistream_sink_open("carrier-pigeon", NULL, &sink));
  CHECK(sink == NULL);
}

/* Making a sink talks to nobody: the keys and the address are looked at, not used. */
static void service_sinks_are_made_of_text(void) {
  const char *const options[] = {"stream", "events", "region", "eu-central-1", "access_key_id", "id",
                                 "secret_access_key", "secret", NULL};
  const char *const group[] = {"group", "/app/web", "stream", "host-1", "region", "eu-central-1", NULL};
  const char *const half[] = {"stream", "events", "region", NULL};
  const char *const unknown[] = {"stream", "events", "pigeons", "7", NULL};
  unistream_sink *sink = NULL;
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("kinesis", half, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("kinesis", unknown, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("kinesis", options, NULL));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_kinesis(NULL, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_kinesis(unknown, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_kinesis(options, NULL));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_cloudwatch_logs(options, &sink)); /* It needs a group. */
  CHECK(sink == NULL);
  OK(unistream_sink_open("kinesis", options, &sink));
  unistream_sink_free(sink);
  OK(unistream_sink_kinesis(options, &sink));
  unistream_sink_free(sink);
  OK(unistream_sink_cloudwatch_logs(group, &sink));
  unistream_sink_free(sink);
  OK(unistream_sink_open("cloudwatch-logs://group/stream?region=eu-central-1", NULL, &sink));
  unistream_sink_free(sink);
}

int main(void) {
  RUN(versions_agree);
  RUN(every_free_takes_null);
  RUN(what_cannot_fail_takes_null);
  RUN(a_null_handle_is_an_error);
  RUN(a_null_out_parameter_is_an_error);
  RUN(options_are_checked);
  RUN(every_option_takes_its_default);
  RUN(an_error_says_what_is_wrong);
  RUN(a_failed_open_has_a_cause);
  RUN(what_open_refuses);
  RUN(inline_mode_refuses_asynchronous_sinks);
  RUN(what_a_put_refuses);
  RUN(what_a_sink_refuses);
  RUN(service_sinks_are_made_of_text);
  return failed_tests != 0;
}
