/* A sink of one's own: appends records to a file, refuses empty ones for ever, and says when the file cannot be written. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistream.h>

static unistream_outcome append(void *user_data, const unistream_batch *batch, unistream_report *report) {
  const char *name = (const char *)user_data;
  unistream_record record = UNISTREAM_RECORD_INIT;
  FILE *file = fopen(name, "ab");
  if (!file) {
    unistream_report_message(report, strerror(errno));
    return UNISTREAM_OUTCOME_UNAVAILABLE; /* not now: tried again, for as long as it takes */
  }
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    if (record.data_length == 0) {
      /* never: into the dead letters, with the reason */
      unistream_report_record(report, i, UNISTREAM_OUTCOME_REJECTED, "empty");
    } else {
      fwrite(record.data, 1, record.data_length, file);
      fputc('\n', file);
    }
  }
  /* a write that failed may stand in ferror() alone: whoever looks only at fclose() says delivered of bytes that are lost */
  int failed = ferror(file);
  if (fclose(file) != 0 || failed) {
    unistream_report_message(report, "the file cannot be written");
    return UNISTREAM_OUTCOME_UNAVAILABLE;
  }
  return UNISTREAM_OUTCOME_DELIVERED; /* of every record that has no answer of its own */
}

int main(void) {
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_error *error = unistream_sink_callback(append, "received.txt", NULL, &sink);
  if (!error) error = unistream_producer_open("outbox", sink, NULL, &producer);
  if (!error) error = unistream_producer_put(producer, "one", 3);
  if (!error) error = unistream_producer_put(producer, "", 0);
  if (!error) error = unistream_producer_put(producer, "two", 3);
  if (!error) error = unistream_producer_close(producer, 30000, NULL);
  if (error) fprintf(stderr, "%s\n", unistream_error_message(error));
  int status = error ? 1 : 0;
  unistream_error_free(error);
  unistream_producer_free(producer);
  return status;
}
