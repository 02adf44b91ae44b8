/* The sink http: opened by a URL and by options, and what arrives at a server of this program. */
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/socket.h>

/* A server that takes one request a connection, keeps it, and answers with `status`. */
typedef struct service {
  int listener;
  int port;
  pthread_t thread;
  pthread_mutex_t lock;
  int requests;
  int status;
  char head[4096];
  char body[4096];
} service;

static void take(service *service, int connection) {
  char text[8192];
  size_t length = 0, wanted = 0;
  char *body = NULL;
  char answer[128];
  while (length + 1 < sizeof text) {
    ssize_t got = recv(connection, text + length, sizeof text - 1 - length, 0);
    if (got <= 0) return;
    length += (size_t)got;
    text[length] = '\0';
    body = strstr(text, "\r\n\r\n");
    if (body) {
      for (const char *line = text; line < body; line = strstr(line, "\r\n") + 2) {
        if (strncasecmp(line, "content-length:", 15) == 0) wanted = (size_t)strtoul(line + 15, NULL, 10);
      }
      body += 4;
      if (length >= (size_t)(body - text) + wanted) break;
    }
  }
  pthread_mutex_lock(&service->lock);
  service->requests++;
  snprintf(service->head, sizeof service->head, "%.*s", (int)(body - text), text);
  snprintf(service->body, sizeof service->body, "%.*s", (int)wanted, body);
  snprintf(answer, sizeof answer, "HTTP/1.1 %d Test\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", service->status);
  pthread_mutex_unlock(&service->lock);
  CHECK(send(connection, answer, strlen(answer), MSG_NOSIGNAL) == (ssize_t)strlen(answer));
}

static void *serve(void *data) {
  service *self = (service *)data;
  for (;;) {
    int connection = accept(self->listener, NULL, NULL);
    if (connection < 0) return NULL;
    take(self, connection);
    close(connection);
  }
}

static void start(service *service, int status) {
  struct sockaddr_in address;
  socklen_t size = sizeof address;
  memset(service, 0, sizeof *service);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  service->status = status;
  service->listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(bind(service->listener, (struct sockaddr *)&address, size) == 0);
  CHECK(listen(service->listener, 8) == 0);
  CHECK(getsockname(service->listener, (struct sockaddr *)&address, &size) == 0);
  service->port = ntohs(address.sin_port);
  pthread_mutex_init(&service->lock, NULL);
  CHECK(pthread_create(&service->thread, NULL, serve, service) == 0);
}

static void stop(service *service) {
  shutdown(service->listener, SHUT_RDWR);
  pthread_join(service->thread, NULL);
  close(service->listener);
  pthread_mutex_destroy(&service->lock);
}

static int requests(service *service) {
  pthread_mutex_lock(&service->lock);
  int count = service->requests;
  pthread_mutex_unlock(&service->lock);
  return count;
}

static void records_arrive_as_lines(void) {
  const char *const options[] = {"secret_headers", "X-Api-Key: hush-hush", "headers", "X-Kind: c", NULL};
  const char *const one_batch[] = {"linger", "600", NULL};
  char url[128];
  service service;
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_config *config = config_of(one_batch);
  start(&service, 202);
  snprintf(url, sizeof url, "http://127.0.0.1:%d/in?query=a%%3Db&use_environment=false", service.port);
  OK(unistream_sink_open(url, options, &sink));
  OK(unistream_producer_open(fresh_path(), sink, config, &producer));
  unistream_config_free(config);
  OK(put_text(producer, "{\"n\": 1}"));
  OK(put_text(producer, "2"));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, put_text(producer, "no json"));
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  unistream_producer_free(producer);
  stop(&service);
  CHECK(service.requests == 1 && strcmp(service.body, "{\"n\": 1}\n2\n") == 0);
  CHECK(strncmp(service.head, "POST /in?a=b HTTP/1.1\r\n", 23) == 0);
  CHECK(strstr(service.head, "x-api-key: hush-hush") && strstr(service.head, "x-kind: c"));
  CHECK(strstr(service.head, "idempotency-key: "));
}

static void what_is_not_taken_stays_and_the_reason_is_told(void) {
  const char *const schedule[] = {"schedule_waits", "0.01", "jitter", "none", NULL};
  char url[128];
  char path[256];
  service service;
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_config *config = config_of(schedule);
  uint64_t left = 0;
  start(&service, 503);
  snprintf(path, sizeof path, "%s", fresh_path());
  snprintf(url, sizeof url, "http://127.0.0.1:%d/?use_environment=false", service.port);
  OK(unistream_sink_open(url, NULL, &sink));
  OK(unistream_producer_open(path, sink, config, &producer));
  OK(put_text(producer, "1"));
  EVENTUALLY(requests(&service) > 2);
  OK(unistream_producer_close(producer, 0, &left));
  unistream_producer_free(producer);
  CHECK(left == 1);
  pthread_mutex_lock(&service.lock);
  service.status = 200;
  pthread_mutex_unlock(&service.lock);
  sink = NULL;
  producer = NULL;
  OK(unistream_sink_open(url, NULL, &sink));
  OK(unistream_producer_open(path, sink, config, &producer));
  OK(unistream_producer_close(producer, PATIENCE_MS, &left));
  unistream_producer_free(producer);
  unistream_config_free(config);
  CHECK(left == 0);
  stop(&service);
}

static void wrong_options_are_refused_and_repeat_no_secret(void) {
  const char *const twice[] = {"token", "hush", "password", "hush", NULL};
  const char *const acknowledge[] = {"acknowledge", "true", NULL};
  unistream_sink *sink = NULL;
  unistream_error *error = unistream_sink_open("http://host/?token=hush", NULL, &sink);
  CHECK(error && unistream_error_code(error) == UNISTREAM_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(unistream_error_message(error), "token_file") && !strstr(unistream_error_message(error), "hush"));
  unistream_error_free(error);
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("http://host/", twice, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("http://host/", acknowledge, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("http://me:hush@host/", NULL, &sink));
  FAILS(UNISTREAM_ERROR_INVALID_ARGUMENT, unistream_sink_open("http://host/?preset=elastic", NULL, &sink));
  CHECK(sink == NULL);
}

int main(void) {
  RUN(records_arrive_as_lines);
  RUN(what_is_not_taken_stays_and_the_reason_is_told);
  RUN(wrong_options_are_refused_and_repeat_no_secret);
  return failed_tests ? 1 : 0;
}
