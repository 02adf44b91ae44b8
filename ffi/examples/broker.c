/*
 * Puts lines of standard input into a stream of NATS JetStream or Redis or a table of PostgreSQL, each once:
 *
 *   broker outbox nats://localhost:4222/orders < orders.txt
 *   broker outbox redis://localhost:6379/0/orders < orders.txt
 *   broker outbox postgres://shop@localhost:5432/shop/orders < orders.txt
 *
 * What is not delivered within 30 seconds stays in the outbox and is sent by the next run. The password, if the server
 * wants one, stands in the file that BROKER_PASSWORD_FILE names, and its user in the URL: secrets do not belong in one.
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
  const char *password_file = getenv("BROKER_PASSWORD_FILE");
  const char *const options[] = {password_file ? "password_file" : NULL, password_file, NULL};
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_error *error;
  static char line[65536];
  uint64_t left = 0;
  int status = 0;
  if (argc != 3) {
    fprintf(stderr, "usage: broker OUTBOX URL\n");
    return 2;
  }
  error = unistream_sink_open(argv[2], options, &sink);
  /* The producer owns the sink from here, whether it opens or not. */
  if (!error) error = unistream_producer_open(argv[1], sink, NULL, &producer);
  if (error) return complain(error);
  while (status == 0 && fgets(line, sizeof line, stdin)) {
    error = unistream_producer_put(producer, line, strcspn(line, "\n"));
    if (error) status = complain(error);
  }
  error = unistream_producer_close(producer, 30000, &left);
  if (error) status = complain(error);
  printf("%llu left\n", (unsigned long long)left);
  unistream_producer_free(producer);
  return left != 0 ? 1 : status;
}
