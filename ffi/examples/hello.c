/* The least that delivers: records survive the program, and end up as lines of events.log. */
#include <stdio.h>
#include <unistream.h>

int main(void) {
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_error *error = unistream_sink_file("events.log", 0, &sink);
  if (!error) error = unistream_producer_open("outbox", sink, NULL, &producer);
  if (!error) error = unistream_producer_put(producer, "hello", 5);
  if (!error) error = unistream_producer_close(producer, 30000, NULL);
  if (error) fprintf(stderr, "%s\n", unistream_error_message(error));
  int status = error ? 1 : 0;
  unistream_error_free(error);
  unistream_producer_free(producer);
  return status;
}
