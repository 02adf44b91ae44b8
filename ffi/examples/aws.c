/*
 * Puts lines of standard input into a stream of Amazon Kinesis Data Streams or CloudWatch Logs. Options of the sink
 * follow as keys and values:
 *
 *   aws outbox kinesis stream clicks region eu-central-1
 *   aws outbox cloudwatch-logs group /app/web stream host-1 create_if_missing true
 *
 * Credentials come from where the AWS tools find them. What is not delivered within 30 seconds stays in the outbox and
 * is sent by the next run.
 */
#include <stdio.h>
#include <string.h>
#include <unistream.h>

static int complain(unistream_error *error) {
  fprintf(stderr, "%s\n", unistream_error_message(error));
  unistream_error_free(error);
  return 1;
}

int main(int argc, char **argv) {
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_error *error;
  static char line[65536];
  uint64_t left = 0;
  int status = 0;
  if (argc < 5) {
    fprintf(stderr, "usage: aws OUTBOX kinesis|cloudwatch-logs KEY VALUE...\n");
    return 2;
  }
  /* What is left of argv ends with NULL, as the options do. */
  if (strcmp(argv[2], "kinesis") == 0) {
    error = unistream_sink_kinesis((const char *const *)(argv + 3), &sink);
  } else {
    error = unistream_sink_cloudwatch_logs((const char *const *)(argv + 3), &sink);
  }
  /* The producer owns the sink from here, whether it opens or not. */
  if (!error) error = unistream_producer_open(argv[1], sink, NULL, &producer);
  if (error) return complain(error);
  while (fgets(line, sizeof line, stdin)) {
    error = unistream_producer_put(producer, line, strcspn(line, "\n"));
    if (error) {
      status = complain(error);
      break;
    }
  }
  error = unistream_producer_close(producer, 30000, &left);
  if (error) status = complain(error);
  printf("%llu left\n", (unsigned long long)left);
  unistream_producer_free(producer);
  return left != 0 ? 1 : status;
}
