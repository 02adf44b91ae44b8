/* Sinks by URL and by name: those of the library, and one that this program adds. */
#include "check.h"

static unistream_error *put_through(unistream_sink *sink, const char *data) {
  unistream_producer *producer = NULL;
  unistream_error *error = unistream_producer_open(fresh_path(), sink, NULL, &producer);
  if (!error) error = unistream_producer_put(producer, data, strlen(data));
  if (!error) error = unistream_producer_close(producer, PATIENCE_MS, NULL);
  unistream_producer_free(producer);
  return error;
}

static void a_file_is_opened_in_every_way(void) {
  char path[256], url[300], text[64] = "";
  const char *const by_name[] = {"path", path, "sync", "true", NULL};
  const char *const mode[] = {"mode", "0600", NULL};
  const char *const twice[] = {"sync", "true", NULL};
  unistream_sink *sink = NULL;
  FILE *file;
  snprintf(path, sizeof path, "%s", fresh_path());
  snprintf(url, sizeof url, "file:%s?sync=true", path);
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open(url, twice, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("file", mode, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("null", mode, &sink));
  CHECK(sink == NULL);
  OK(unistream_sink_open(url, mode, &sink));
  OK(put_through(sink, "one"));
  OK(unistream_sink_open("file", by_name, &sink));
  OK(put_through(sink, "two"));
  OK(unistream_sink_open("null:", NULL, &sink));
  OK(put_through(sink, "three"));
  file = fopen(path, "r");
  CHECK(file != NULL);
  CHECK(fread(text, 1, sizeof text - 1, file) == 8 && strcmp(text, "one\ntwo\n") == 0);
  fclose(file);
}

/* What a sink of the kind below was made of, and what it was sent. */
typedef struct letters {
  char made_of[256];
  char sent[256];
  int destroyed;
} letters;

static letters all_letters;

static unistream_outcome fly(void *user_data, const unistream_batch *batch, unistream_report *report) {
  letters *kept = (letters *)user_data;
  unistream_record record = UNISTREAM_RECORD_INIT;
  (void)report;
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    snprintf(kept->sent + strlen(kept->sent), sizeof kept->sent - strlen(kept->sent), "%.*s;",
             (int)record.data_length, (const char *)record.data);
  }
  return UNISTREAM_OUTCOME_DELIVERED;
}

static void fly_later(void *user_data, unistream_completion *completion) {
  (void)user_data;
  unistream_completion_free(completion);
}

static unistream_sink *open_pigeon(void *user_data, const char *const *options) {
  letters *kept = (letters *)user_data;
  unistream_sink *sink = NULL;
  kept->made_of[0] = '\0';
  for (; options[0]; options += 2) {
    if (strcmp(options[0], "refuse") == 0) return NULL;
    if (strcmp(options[0], "later") == 0) {
      unistream_error_free(unistream_sink_callback_async(fly_later, kept, NULL, &sink));
      return sink;
    }
    snprintf(kept->made_of + strlen(kept->made_of), sizeof kept->made_of - strlen(kept->made_of), "%s=%s;", options[0],
             options[1]);
  }
  unistream_error_free(unistream_sink_callback(fly, kept, NULL, &sink));
  return sink;
}

static void gone(void *user_data) {
  ((letters *)user_data)->destroyed++;
}

static void a_kind_of_the_program_is_opened_by_its_url(void) {
  const char *const options[] = {"loft", "north", NULL};
  unistream_sink *sink = NULL;
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("pigeon://roof", NULL, &sink));
  OK(unistream_sink_register("pigeon", open_pigeon, &all_letters, gone));
  OK(unistream_sink_open("pigeon://roof%20/a?ring=7", options, &sink));
  CHECK(strcmp(all_letters.made_of, "place=//roof%20/a;ring=7;loft=north;") == 0);
  OK(put_through(sink, "coo"));
  CHECK(strcmp(all_letters.sent, "coo;") == 0);
  OK(unistream_sink_open("pigeon", options, &sink));
  CHECK(strcmp(all_letters.made_of, "loft=north;") == 0);
  unistream_sink_free(sink);
  sink = NULL;
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("pigeon:x?loft=south", options, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("pigeon:x?refuse=it", NULL, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("pigeon:x?later=yes", NULL, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("pigeon:x?nul=%00", NULL, &sink));
  CHECK(sink == NULL && all_letters.destroyed == 0);
}

static void a_kind_that_is_refused_is_destroyed(void) {
  letters lost = {"", "", 0};
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_register("file", open_pigeon, &lost, gone));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_register("No Scheme", open_pigeon, &lost, gone));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_register("\xff", open_pigeon, &lost, gone));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_register("dove", NULL, &lost, gone));
  CHECK(lost.destroyed == 4);
  OK(unistream_sink_register("dove", open_pigeon, &lost, gone));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_register("dove", open_pigeon, &lost, gone));
  CHECK(lost.destroyed == 5);
}

int main(void) {
  RUN(a_file_is_opened_in_every_way);
  RUN(a_kind_of_the_program_is_opened_by_its_url);
  RUN(a_kind_that_is_refused_is_destroyed);
  return failed_tests ? 1 : 0;
}
