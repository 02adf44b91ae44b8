/*
 * Puts lines of standard input, each a key, a tab and a payload, into a topic of Kafka, each once and each key in order:
 *
 *   kafka outbox 'kafka://broker:9092/clicks?compression=lz4' < events.tsv
 *
 * What is not delivered within 30 seconds stays in the outbox and is sent by the next run.
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
  if (argc != 3) {
    fprintf(stderr, "usage: kafka OUTBOX URL\n");
    return 2;
  }
  error = unistream_sink_open(argv[2], NULL, &sink);
  /* The producer owns the sink from here, whether it opens or not. */
  if (!error) error = unistream_producer_open(argv[1], sink, NULL, &producer);
  if (error) return complain(error);
  while (status == 0 && fgets(line, sizeof line, stdin)) {
    unistream_record record = UNISTREAM_RECORD_INIT;
    record.key = line;
    record.key_length = strcspn(line, "\t\n");
    record.data = line + record.key_length + (line[record.key_length] == '\t');
    record.data_length = strcspn((const char *)record.data, "\n");
    error = unistream_producer_put_record(producer, &record, NULL);
    if (error) status = complain(error);
  }
  error = unistream_producer_close(producer, 30000, &left);
  if (error) status = complain(error);
  printf("%llu left\n", (unsigned long long)left);
  unistream_producer_free(producer);
  return left != 0 ? 1 : status;
}
