/*
 * A sink of one's own: posts every record as a line to a server on a local socket, which answers each with a line:
 *
 *     ok             it has the record
 *     no <reason>    it will never take it: the record becomes a dead letter
 *     later          it cannot take it now: the record is sent again, after a second at the earliest
 *
 * When the server cannot be reached, the batch stays in the buffer and uses up no attempts.
 * The program brings a server of its own; with a real one, only the sink would stay.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <unistream.h>

/* A connection: lines out by send(), so that a broken one raises no SIGPIPE; lines in by stdio. */
typedef struct connection {
  int handle;
  FILE *lines;
} connection;

static bool open_lines(connection *peer, int handle) {
  peer->handle = handle;
  peer->lines = fdopen(handle, "r");
  if (!peer->lines) close(handle);
  return peer->lines != NULL;
}

static bool send_line(const connection *peer, const char *line, size_t length) {
  while (length > 0) {
    ssize_t sent = send(peer->handle, line, length, MSG_NOSIGNAL);
    if (sent < 0) return false;
    line += sent;
    length -= (size_t)sent;
  }
  return send(peer->handle, "\n", 1, MSG_NOSIGNAL) == 1;
}

static bool read_line(const connection *peer, char *line, size_t capacity) {
  if (!fgets(line, (int)capacity, peer->lines)) return false;
  line[strcspn(line, "\n")] = '\0';
  return true;
}

static bool connect_to(const struct sockaddr_in *address, connection *peer) {
  int handle = socket(AF_INET, SOCK_STREAM, 0);
  if (handle < 0) return false;
  if (connect(handle, (const struct sockaddr *)address, sizeof *address) != 0) {
    close(handle);
    return false;
  }
  return open_lines(peer, handle);
}

/* The sink. Its user data is the address, which its destroy function frees. */
static unistream_outcome post(void *user_data, const unistream_batch *batch, unistream_report *report) {
  connection server;
  if (!connect_to((const struct sockaddr_in *)user_data, &server)) {
    unistream_report_message(report, strerror(errno));
    return UNISTREAM_OUTCOME_UNAVAILABLE;
  }
  unistream_record record = UNISTREAM_RECORD_INIT;
  unistream_outcome others = UNISTREAM_OUTCOME_DELIVERED;
  char answer[128];
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    if (!send_line(&server, (const char *)record.data, record.data_length) ||
        !read_line(&server, answer, sizeof answer)) {
      /* This record and those behind it have no answer of their own: they share the batch's. */
      unistream_report_message(report, "the server went away");
      others = UNISTREAM_OUTCOME_UNAVAILABLE;
      break;
    }
    if (strcmp(answer, "ok") == 0) {
      unistream_report_record(report, i, UNISTREAM_OUTCOME_DELIVERED, NULL);
    } else if (strncmp(answer, "no ", 3) == 0) {
      unistream_report_record(report, i, UNISTREAM_OUTCOME_REJECTED, answer + 3);
    } else {
      unistream_report_retry_after(report, 1000);
      unistream_report_record(report, i, UNISTREAM_OUTCOME_UNAVAILABLE, answer);
    }
  }
  fclose(server.lines);
  return others;
}

/* A server for the demonstration: hangs up the first time, then takes everything but "bad ...". */
static void *serve(void *argument) {
  int listener = *(int *)argument;
  for (int connections = 0;; connections++) {
    connection client;
    char line[1024];
    int handle = accept(listener, NULL, NULL);
    if (handle < 0) return NULL;
    if (!open_lines(&client, handle)) continue;
    while (connections > 0 && read_line(&client, line, sizeof line)) {
      const char *answer = strncmp(line, "bad", 3) == 0 ? "no it is bad" : "ok";
      if (!send_line(&client, answer, strlen(answer))) break;
    }
    fclose(client.lines);
  }
}

static void print_event(void *user_data, const unistream_event *event) {
  (void)user_data;
  printf("%s: %s\n", unistream_event_name(event), unistream_event_message(event));
}

static void check(unistream_error *error) {
  if (!error) return;
  fprintf(stderr, "%s\n", unistream_error_message(error));
  exit(1);
}

int main(void) {
  struct sockaddr_in *local = (struct sockaddr_in *)calloc(1, sizeof *local);
  socklen_t length = sizeof *local;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  pthread_t server;
  if (!local || listener < 0) return 1;
  local->sin_family = AF_INET;
  local->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (struct sockaddr *)local, length) != 0 || listen(listener, 8) != 0) return 1;
  if (getsockname(listener, (struct sockaddr *)local, &length) != 0) return 1;
  if (pthread_create(&server, NULL, serve, &listener) != 0) return 1;

  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_dead_letters *letters = NULL;
  unistream_config *config = unistream_config_new();
  check(unistream_config_set(config, "linger", "10ms"));
  check(unistream_config_set(config, "schedule_max", "100ms"));
  check(unistream_config_on_event(config, UNISTREAM_LEVEL_WARNING, print_event, NULL, NULL));
  check(unistream_sink_callback(post, local, free, &sink));
  check(unistream_producer_open("outbox", sink, config, &producer));
  unistream_config_free(config);
  check(unistream_producer_put(producer, "good one", 8));
  check(unistream_producer_put(producer, "bad one", 7));
  check(unistream_producer_put(producer, "good two", 8));
  check(unistream_producer_flush(producer, 30000));
  check(unistream_producer_dead_letters(producer, &letters));
  const unistream_dead_letter *letter = unistream_dead_letters_get(letters, 0);
  printf("%zu dead letter: %s\n", unistream_dead_letters_count(letters), unistream_dead_letter_reason(letter, 0));
  unistream_dead_letters_free(letters);
  unistream_producer_free(producer);

  shutdown(listener, SHUT_RDWR);
  pthread_join(server, NULL);
  close(listener);
  return 0;
}
