/*
 * Lines as syslog has them, from standard input into a durable buffer and on to any sink:
 *
 *   tail -F /var/log/remote | ./syslog_lines outbox 'https://loki:3100/loki/api/v1/push?preset=loki'
 *
 * "<34>Oct 11 22:14:15 host su[12]: failed" becomes a record of the text behind "<34>", with the name of the program as
 * its key and the severity and the facility as headers, for sinks that carry them. A line without a priority is of
 * severity "notice" and facility "user", as RFC 3164 has it. When the program has read a line and gone on to the next
 * one, the line is on disk: whatever kills it then, the next run sends it. A line that can never be put is told on
 * standard error and counts in the exit code.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistream.h>

static const char *const SEVERITIES[] = {"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"};
static const char *const FACILITIES[] = {"kern",   "user",   "mail",   "daemon", "auth",   "syslog", "lpr",    "news",
                                         "uucp",   "cron",   "authpriv", "ftp",  "ntp",    "audit",  "alert",  "clock",
                                         "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"};
enum { USER_NOTICE = 1 * 8 + 5, LAST_PRIORITY = 23 * 8 + 7 };

/* The number between < and > at the beginning, and the text behind it. */
static int priority_of(const char *line, const char **text) {
  char *end = NULL;
  long priority = line[0] == '<' && line[1] >= '0' && line[1] <= '9' ? strtol(line + 1, &end, 10) : -1;
  *text = line;
  if (!end || *end != '>' || priority < 0 || priority > LAST_PRIORITY) return USER_NOTICE;
  *text = end + 1;
  return (int)priority;
}

/* The name of the program: the last word before the first "[" or ": ". */
static size_t program_of(const char *text, const char **program) {
  const char *end = strstr(text, ": ");
  const char *bracket = strchr(text, '[');
  if (bracket && end && bracket < end) end = bracket;
  if (!end) return 0;
  for (*program = end; *program > text && (*program)[-1] != ' ';) --*program;
  return (size_t)(end - *program);
}

static unistream_header header(const char *name, const char *value) {
  unistream_header made;
  memset(&made, 0, sizeof made);
  made.name = name;
  made.name_length = strlen(name);
  made.value = value;
  made.value_length = strlen(value);
  return made;
}

static unistream_error *put(const unistream_producer *producer, const char *line, size_t length) {
  const char *text = NULL, *program = NULL;
  int priority = priority_of(line, &text);
  unistream_header headers[2];
  unistream_record record = UNISTREAM_RECORD_INIT;
  headers[0] = header("severity", SEVERITIES[priority % 8]);
  headers[1] = header("facility", FACILITIES[priority / 8]);
  record.data = text;
  record.data_length = length - (size_t)(text - line);
  record.key_length = program_of(text, &program);
  record.key = record.key_length ? program : NULL;
  record.headers = headers;
  record.header_count = 2;
  return unistream_producer_put_record(producer, &record, NULL);
}

int main(int argc, char **argv) {
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  unsigned long taken = 0, refused = 0;
  if (argc != 3) {
    fprintf(stderr, "usage: %s DIRECTORY SINK-URL\n", argv[0]);
    return 2;
  }
  unistream_error *error = unistream_sink_open(argv[2], NULL, &sink);
  if (!error) error = unistream_producer_open(argv[1], sink, NULL, &producer);
  while (!error && (length = getline(&line, &room, stdin)) >= 0) {
    if (length > 0 && line[length - 1] == '\n') line[--length] = '\0';
    /* A full buffer keeps the put waiting, and with it who writes the lines: nothing is dropped. */
    unistream_error *why = put(producer, line, (size_t)length);
    int32_t code = unistream_error_code(why);
    if (!why) {
      taken++;
    } else if (code == UNISTREAM_ERROR_RECORD_TOO_LARGE || code == UNISTREAM_ERROR_INVALID_ARGUMENT) {
      fprintf(stderr, "line %lu: %s\n", taken + ++refused, unistream_error_message(why));
      unistream_error_free(why);
    } else {
      error = why;
    }
  }
  uint64_t left = 0;
  if (!error) error = unistream_producer_close(producer, 30000, &left);
  if (error) fprintf(stderr, "%s\n", unistream_error_message(error));
  printf("%lu lines taken, %lu refused, %lu left on disk\n", taken, refused, (unsigned long)left);
  int status = error || refused ? 1 : 0;
  unistream_error_free(error);
  unistream_producer_free(producer);
  free(line);
  return status;
}
