/*
 * Mode manual in an event loop: one thread, poll(), nothing blocks. Lines of standard input are put; batches go over
 * a socket to a process that answers + or - for each. The producer's descriptor says when the next batch may go, and
 * it remembers what was not delivered. The answers here come from a child of the program, which refuses the first batch.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unistream.h>

static void check(unistream_error *error) {
  if (!error) return;
  fprintf(stderr, "%s\n", unistream_error_message(error));
  exit(1);
}

/* The other side: prints every batch that it takes. A batch ends with an empty line. */
static void answer_batches(int socket) {
  FILE *batches = fdopen(socket, "r");
  char line[1024];
  int batch = 0;
  while (batches && fgets(line, sizeof line, batches)) {
    if (line[0] == '\n') {
      char answer = batch++ == 0 ? '-' : '+';
      if (write(socket, &answer, 1) != 1) break;
    } else if (batch > 0) {
      printf("taken: %s", line);
    }
  }
  fflush(stdout);
}

/* Sends a batch; it is small enough for the socket's buffer. A real program would go on when POLLOUT says so. */
static void send_batch(int socket, const unistream_batch *batch) {
  unistream_record record = UNISTREAM_RECORD_INIT;
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    if (write(socket, record.data, record.data_length) < 0 || write(socket, "\n", 1) < 0) exit(1);
  }
  if (write(socket, "\n", 1) != 1) exit(1);
}

int main(void) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) return 1;
  fflush(stdout);
  pid_t child = fork(); /* Before the producer is opened: a fork must not use it. */
  if (child < 0) return 1;
  if (child == 0) {
    close(sockets[0]);
    answer_batches(sockets[1]);
    _exit(0);
  }
  close(sockets[1]);

  unistream_producer *producer = NULL;
  unistream_batch *sent = NULL;
  unistream_config *config = unistream_config_new();
  check(unistream_config_set(config, "mode", "manual"));
  check(unistream_config_set(config, "linger", "20ms"));
  check(unistream_config_set(config, "max_records", "10"));
  check(unistream_config_set(config, "schedule_waits", "50ms"));
  check(unistream_producer_open("outbox", NULL, config, &producer));
  unistream_config_free(config);

  setvbuf(stdin, NULL, _IONBF, 0); /* poll() knows nothing of lines that stdio has read ahead. */
  int ready = -1;
  check(unistream_producer_fd(producer, &ready));
  struct pollfd files[3] = {{STDIN_FILENO, POLLIN, 0}, {sockets[0], POLLIN, 0}, {ready, POLLIN, 0}};
  char line[1024];
  for (;;) {
    if (!sent) {
      check(unistream_producer_next_batch(producer, &sent));
      if (sent) send_batch(sockets[0], sent);
    }
    if (!sent && files[0].fd < 0) {
      int64_t wait = 0;
      check(unistream_producer_next_wait(producer, &wait));
      /* Nothing to send, nothing to wait for, and no more input: done. */
      if (wait == UNISTREAM_FOREVER) break;
    }
    /* One batch at a time: the next is of interest when this one is answered. */
    files[2].fd = sent ? -1 : ready;
    if (poll(files, 3, -1) < 0) return 1;
    if (files[0].revents) {
      if (fgets(line, sizeof line, stdin)) {
        check(unistream_producer_put(producer, line, strcspn(line, "\n")));
      } else {
        files[0].fd = -1;
      }
    }
    if (files[1].revents) {
      char answer = '-';
      if (read(sockets[0], &answer, 1) != 1) return 1;
      check(answer == '+' ? unistream_producer_commit(producer, sent)
                          : unistream_producer_failed(producer, sent, "the other side refused it"));
      sent = NULL;
    }
  }
  check(unistream_producer_close(producer, 0, NULL));
  unistream_producer_free(producer);
  close(sockets[0]);
  waitpid(child, NULL, 0);
  return 0;
}
