/*
 * Puts documents, lines of standard input, into an index of Elasticsearch or of what speaks like it, each once:
 *
 *   elastic outbox 'http://localhost:9200/logs?preset=elastic' < events.ndjson
 *
 * What is not delivered within 30 seconds stays in the outbox and is sent by the next run. The token, if the server
 * wants one, stands in the file that ELASTIC_TOKEN_FILE names: secrets do not belong in a URL.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistream.h>

static int complain(unistream_error *error) {
  fprintf(stderr, "%s\n", unistream_error_message(error));
  unistream_error_free(error);
  return 1;
}

int main(int argc, char **argv) {
  const char *token_file = getenv("ELASTIC_TOKEN_FILE");
  const char *const options[] = {token_file ? "token_file" : NULL, token_file, NULL};
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_error *error;
  static char line[65536];
  uint64_t left = 0;
  int status = 0;
  if (argc != 3) {
    fprintf(stderr, "usage: elastic OUTBOX URL\n");
    return 2;
  }
  error = unistream_sink_open(argv[2], options, &sink);
  /* The producer owns the sink from here, whether it opens or not. */
  if (!error) error = unistream_producer_open(argv[1], sink, NULL, &producer);
  if (error) return complain(error);
  while (status == 0 && fgets(line, sizeof line, stdin)) {
    error = unistream_producer_put(producer, line, strcspn(line, "\n"));
    /* What is no JSON object would never be a document. Everything else is a reason to stop. */
    if (error && unistream_error_code(error) == UNISTREAM_ERROR_INVALID_ARGUMENT) {
      fprintf(stderr, "left out: %s\n", unistream_error_message(error));
      unistream_error_free(error);
    } else if (error) {
      status = complain(error);
    }
  }
  error = unistream_producer_close(producer, 30000, &left);
  if (error) status = complain(error);
  printf("%llu left\n", (unsigned long long)left);
  unistream_producer_free(producer);
  return left != 0 ? 1 : status;
}
