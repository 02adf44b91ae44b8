/* Sends a record through the sink of a name or URL, with options as keys and values. */
#include <stdio.h>
#include <unistream.h>

int main(int count, char **arguments) {
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  (void)count;
  unistream_error *error = unistream_sink_open(arguments[2], (const char *const *)arguments + 3, &sink);
  if (!error) error = unistream_producer_open(arguments[1], sink, NULL, &producer);
  if (!error) error = unistream_producer_put(producer, "C", 1);
  if (!error) error = unistream_producer_close(producer, 30000, NULL);
  if (error) fprintf(stderr, "%s\n", unistream_error_message(error));
  int status = error ? 1 : 0;
  unistream_error_free(error);
  unistream_producer_free(producer);
  return status;
}
