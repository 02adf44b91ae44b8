/*
 * The rows to compare with: rdkafka BYTES prints the median cost of librdkafka's rd_kafka_produce() in nanoseconds;
 * rdkafka BYTES poll that of rd_kafka_produce() and rd_kafka_poll(), which its manual asks for at regular intervals and
 * its examples call after every message. It enqueues in memory; its target is librdkafka's own mock cluster, in this
 * process, on the loopback interface.
 */
#include "bench.h"

#include <librdkafka/rdkafka.h>

static long delivered;

static void on_delivery(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque) {
  (void)kafka;
  (void)opaque;
  delivered += message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value) {
  char reason[512];
  if (rd_kafka_conf_set(conf, key, value, reason, sizeof reason) == RD_KAFKA_CONF_OK) return;
  fprintf(stderr, "%s\n", reason);
  exit(1);
}

int main(int count, char **arguments) {
  if (count != 2 && count != 3) return 2;
  size_t bytes = strtoul(arguments[1], NULL, 10);
  long puts = puts_of(bytes);
  void *data = payload(bytes);
  char reason[512];
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  set(conf, "test.mock.num.brokers", "1");
  set(conf, "linger.ms", "5");
  set(conf, "queue.buffering.max.messages", "1000000");
  rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
  rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
  if (!kafka) {
    fprintf(stderr, "%s\n", reason);
    return 1;
  }
  rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka, "bench", NULL);
  for (int round = 0; round < WARM_UP + ROUNDS; round++) {
    double start = now_ns();
    for (long i = 0; i < puts; i++) {
      if (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, data, bytes, NULL, 0, NULL) != 0) {
        fprintf(stderr, "%s\n", rd_kafka_err2str(rd_kafka_last_error()));
        return 1;
      }
      if (count == 3) rd_kafka_poll(kafka, 0);
    }
    costs[round] = (now_ns() - start) / (double)puts;
    rd_kafka_flush(kafka, 60000);
  }
  rd_kafka_topic_destroy(topic);
  rd_kafka_destroy(kafka);
  free(data);
  if (delivered != (WARM_UP + ROUNDS) * puts) {
    fprintf(stderr, "%ld records were delivered\n", delivered);
    return 1;
  }
  print_median();
  return 0;
}
