/* What a process may have around it: forks, signals, limits, closed streams, small stacks, an exit from anywhere. */
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* How a child ended that ran the function: its exit code, or -1 - signal. */
static int child_ends(int (*run)(void *), void *argument) {
  int status = -1;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) _exit(run(argument));
  if (child < 0 || waitpid(child, &status, 0) != child) return -100;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1 - WTERMSIG(status);
}

static unistream_error *open_manual(const char *path, unistream_producer **producer) {
  const char *const pairs[] = {"mode", "manual", "max_records", "2", "segment_bytes", "64KiB", NULL};
  unistream_config *config = config_of(pairs);
  unistream_error *error = unistream_producer_open(path, NULL, config, producer);
  unistream_config_free(config);
  return error;
}

/* ------------------------------------------------------------------------------------------------------------ forks */

typedef struct inherited {
  unistream_producer *producer;
  unistream_batch *batch;
  unistream_record before;
  const char *path;
} inherited;

static int looks_at_the_parents_batch(void *argument) {
  inherited *had = (inherited *)argument;
  unistream_record record = UNISTREAM_RECORD_INIT;
  unistream_dead_letters *letters = NULL;
  unistream_batch *another = NULL;
  char id[64];
  volatile char read = ((const char *)had->before.data)[0];
  (void)read;
  if (unistream_batch_count(had->batch) != 0 || unistream_batch_record(had->batch, 0, &record)) return 1;
  if (unistream_batch_record_id(had->batch, 0, id, sizeof id) != 0 || !unistream_batch_id(had->batch)) return 2;
  if (!expect(unistream_producer_next_batch(had->producer, &another), UNISTREAM_ERROR_FORKED, __FILE__, __LINE__)) return 3;
  if (!expect(unistream_producer_commit(had->producer, had->batch), UNISTREAM_ERROR_FORKED, __FILE__, __LINE__)) return 4;
  if (!expect(unistream_producer_dead_letters(had->producer, &letters), UNISTREAM_ERROR_FORKED, __FILE__, __LINE__)) return 5;
  unistream_producer_free(had->producer);
  /* And one of its own, which the parent has not. */
  if (!expect(open_manual(had->path, &had->producer), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 6;
  if (!expect(put_text(had->producer, "own"), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 7;
  unistream_producer_free(had->producer);
  return 0;
}

static void a_child_sees_nothing_of_the_parents_batch(void) {
  inherited had = {NULL, NULL, UNISTREAM_RECORD_INIT, fresh_path()};
  OK(open_manual(fresh_path(), &had.producer));
  OK(put_text(had.producer, "one"));
  OK(put_text(had.producer, "two"));
  OK(unistream_producer_next_batch(had.producer, &had.batch));
  CHECK(unistream_batch_record(had.batch, 1, &had.before));
  CHECK(child_ends(looks_at_the_parents_batch, &had) == 0);
  CHECK(unistream_batch_count(had.batch) == 2 && memcmp(had.before.data, "two", 3) == 0);
  OK(unistream_producer_commit(had.producer, had.batch));
  unistream_producer_free(had.producer);
}

/* A sink that writes what it gets into a pipe, which the child's has of its own. */
typedef struct piped {
  int end;
  int refusals;
  int destroyed;
} piped;

static piped childs;

static unistream_outcome write_all(void *user_data, const unistream_batch *batch, unistream_report *report) {
  unistream_record record = UNISTREAM_RECORD_INIT;
  (void)report;
  for (size_t index = 0; unistream_batch_record(batch, index, &record); index++) {
    if (write(((piped *)user_data)->end, record.data, record.data_length) != (ssize_t)record.data_length)
      return UNISTREAM_OUTCOME_FAILED;
  }
  return UNISTREAM_OUTCOME_DELIVERED;
}

static int32_t make_childs(void *user_data, void **own) {
  piped *parents = (piped *)user_data;
  if (parents->refusals++ == 0) return 5;
  childs.end = parents->end;
  *own = &childs;
  return 0;
}

static void destroy_piped(void *user_data) { ((piped *)user_data)->destroyed++; }

static unistream_error *open_shared(const char *path, piped *target, unistream_in_child_callback in_child,
                                    unistream_producer **producer) {
  const char *const pairs[] = {"shared", "true", "linger", "0", "segment_bytes", "64KiB", "schedule_max", "0.01", NULL};
  unistream_sink_callbacks callbacks;
  unistream_sink *sink = NULL;
  memset(&callbacks, 0, sizeof callbacks);
  callbacks.size = sizeof callbacks;
  callbacks.send = write_all;
  callbacks.destroy = destroy_piped;
  callbacks.user_data = target;
  callbacks.in_child = in_child;
  unistream_error *error = unistream_sink_new(&callbacks, &sink);
  if (error) return error;
  unistream_config *config = config_of(pairs);
  error = unistream_producer_open(path, sink, config, producer);
  unistream_config_free(config);
  return error;
}

static int puts_in_a_slot_of_its_own(void *argument) {
  unistream_producer *producer = (unistream_producer *)argument;
  if (!expect(put_text(producer, "child "), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 1;
  if (!expect(unistream_producer_flush(producer, 30000), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 2;
  if (!expect(unistream_producer_close(producer, 30000, NULL), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 3;
  unistream_producer_free(producer);
  return childs.destroyed == 1 ? 0 : 4;
}

static int dies_with_a_record(void *argument) {
  unistream_producer *producer = (unistream_producer *)argument;
  /* Its sink is refused once more: the record waits. */
  if (!expect(put_text(producer, "left "), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 1;
  kill(getpid(), SIGKILL);
  return 2;
}

static int gets_forked(void *argument) {
  return expect(put_text((unistream_producer *)argument, "no"), UNISTREAM_ERROR_FORKED, __FILE__, __LINE__) ? 0 : 1;
}

static void a_child_has_a_slot_of_its_own(void) {
  unistream_producer *producer = NULL;
  int ends[2];
  char got[64] = "";
  CHECK(pipe(ends) == 0);
  piped parents = {ends[1], 0, 0};
  OK(open_shared(fresh_path(), &parents, make_childs, &producer));
  OK(put_text(producer, "parent "));
  OK(unistream_producer_flush(producer, 30000));
  CHECK(child_ends(puts_in_a_slot_of_its_own, producer) == 0);
  CHECK(child_ends(dies_with_a_record, producer) == -1 - SIGKILL);
  /* What the child has left when it died, its parent delivers. */
  for (size_t length = 0; length < strlen("parent child left ");) {
    ssize_t more = read(ends[0], got + length, sizeof got - 1 - length);
    CHECK(more > 0);
    length += (size_t)more;
  }
  CHECK(strcmp(got, "parent child left ") == 0 && parents.destroyed == 0);
  unistream_producer_free(producer);
  CHECK(parents.destroyed == 1);
  OK(open_shared(fresh_path(), &parents, NULL, &producer));
  CHECK(child_ends(gets_forked, producer) == 0);
  unistream_producer_free(producer);
  close(ends[0]);
  close(ends[1]);
}

/* ---------------------------------------------------------------------------------------------------------- signals */

static volatile sig_atomic_t noted;

static void note(int signal) {
  (void)signal;
  noted++;
}

static int sends_itself_a_sigbus(void *argument) {
  const char *before = (const char *)argument;
  unistream_producer *producer = NULL;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  action.sa_handler = before[0] == 'i' ? SIG_IGN : before[0] == 'd' ? SIG_DFL : note;
  action.sa_flags = before[0] == 'o' ? (int)SA_RESETHAND : 0;
  sigaction(SIGBUS, &action, NULL);
  if (!expect(open_manual(fresh_path(), &producer), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 90;
  raise(SIGBUS);
  raise(SIGBUS);
  kill(getpid(), SIGBUS);
  if (!expect(put_text(producer, "x"), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 91;
  unistream_producer_free(producer);
  return noted;
}

static void a_sigbus_that_was_sent_goes_where_it_would_have_gone(void) {
  char ignored[] = "ignored", by_default[] = "default", handled[] = "handled", once[] = "once";
  CHECK(child_ends(sends_itself_a_sigbus, ignored) == 0);
  CHECK(child_ends(sends_itself_a_sigbus, by_default) == -1 - SIGBUS);
  CHECK(child_ends(sends_itself_a_sigbus, handled) == 3);
  CHECK(child_ends(sends_itself_a_sigbus, once) == -1 - SIGBUS);
}

/* ----------------------------------------------------------------------------------------------------------- limits */

static int writes_beyond_the_limit(void *argument) {
  static char bytes[1000];
  struct rlimit limit = {50000, RLIM_INFINITY};
  unistream_producer *producer = NULL;
  unistream_error *error = NULL;
  (void)argument;
  if (!expect(open_manual(fresh_path(), &producer), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 1;
  setrlimit(RLIMIT_FSIZE, &limit);
  for (int puts = 0; !error && puts < 1000; puts++) error = unistream_producer_put(producer, bytes, sizeof bytes);
  if (!expect(error, UNISTREAM_ERROR_DISK_FULL, __FILE__, __LINE__)) return 2;
  limit.rlim_cur = RLIM_INFINITY;
  setrlimit(RLIMIT_FSIZE, &limit);
  if (!expect(unistream_producer_put(producer, bytes, sizeof bytes), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 3;
  unistream_producer_free(producer);
  return 0;
}

static void a_file_that_may_not_be_longer_is_a_full_disk(void) {
  CHECK(child_ends(writes_beyond_the_limit, NULL) == 0);
}

static int opens_with_few_descriptors(void *argument) {
  unistream_producer *producer = NULL;
  struct rlimit limit = {8, 1024};
  unistream_error *error;
  (void)argument;
  setrlimit(RLIMIT_NOFILE, &limit);
  error = open_manual(fresh_path(), &producer);
  if (!unistream_error_is_retryable(error)) return 1;
  return expect(error, UNISTREAM_ERROR_RESOURCE_EXHAUSTED, __FILE__, __LINE__) ? 0 : 2;
}

static void too_few_descriptors_are_said_to_be_that(void) {
  CHECK(child_ends(opens_with_few_descriptors, NULL) == 0);
}

static int opens_without_streams(void *argument) {
  const char *const modes[] = {"mapped", "file"};
  (void)argument;
  close(0);
  close(1);
  close(2);
  for (int i = 0; i < 2; i++) {
    const char *const pairs[] = {"storage", modes[i], "segment_bytes", "64KiB", "max_records", "5", NULL};
    static char bytes[1000];
    unistream_config *config = config_of(pairs);
    unistream_sink *sink = NULL;
    unistream_producer *producer = NULL;
    if (unistream_sink_file(fresh_path(), UNISTREAM_FILE_LENGTH_PREFIXED, &sink)) return 1;
    if (unistream_producer_open(fresh_path(), sink, config, &producer)) return 2;
    unistream_config_free(config);
    for (int puts = 0; puts < 300; puts++) {
      if (unistream_producer_put(producer, bytes, sizeof bytes)) return 3;
      for (int stream = 0; stream < 3; stream++) {
        struct stat found;
        int flags = fcntl(stream, F_GETFL);
        /* The C library's malloc reads a file of /proc now and then: what is printed cannot get into that. */
        if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) continue;
        if (fstat(stream, &found) == 0 && !S_ISCHR(found.st_mode)) return 4;
      }
    }
    if (unistream_producer_flush(producer, PATIENCE_MS) || unistream_producer_close(producer, 0, NULL)) return 5;
    unistream_producer_free(producer);
  }
  return 0;
}

static void closed_streams_are_not_given_to_files(void) {
  CHECK(child_ends(opens_without_streams, NULL) == 0);
}

/* ------------------------------------------------------------------------------------------------- threads and exits */

static unistream_producer *at_exit;

static unistream_outcome exits(void *user_data, const unistream_batch *batch, unistream_report *report) {
  (void)user_data;
  (void)batch;
  (void)report;
  exit(7);
}

static void closes_and_frees(void) {
  unistream_error *error = unistream_producer_close(at_exit, 1000, NULL);
  if (unistream_error_code(error) != UNISTREAM_ERROR_REENTRANT) _exit(8);
  unistream_error_free(error);
  unistream_producer_free(at_exit);
}

static int exits_in_a_callback(void *argument) {
  const char *const pairs[] = {"mode", (const char *)argument, "max_records", "1", NULL};
  unistream_config *config = config_of(pairs);
  unistream_sink *sink = NULL;
  if (!expect(unistream_sink_callback(exits, NULL, NULL, &sink), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 1;
  if (!expect(unistream_producer_open(fresh_path(), sink, config, &at_exit), UNISTREAM_ERROR_NONE, __FILE__, __LINE__)) return 2;
  unistream_config_free(config);
  atexit(closes_and_frees);
  unistream_error_free(put_text(at_exit, "x"));
  sleep_ms(PATIENCE_MS);
  return 3;
}

static void an_exit_in_a_callback_closes_at_exit(void) {
  char background[] = "background", inline_mode[] = "inline";
  CHECK(child_ends(exits_in_a_callback, background) == 7);
  CHECK(child_ends(exits_in_a_callback, inline_mode) == 7);
}

static void *lives_on_a_small_stack(void *argument) {
  static char bytes[20000];
  const char *const pairs[] = {"mode", (const char *)argument, "segment_bytes", "64KiB", "max_records", "3", NULL};
  unistream_config *config = config_of(pairs);
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  bool fine = expect(unistream_sink_file(fresh_path(), UNISTREAM_FILE_LENGTH_PREFIXED, &sink), UNISTREAM_ERROR_NONE, __FILE__,
                     __LINE__) &&
              expect(unistream_producer_open(fresh_path(), sink, config, &producer), UNISTREAM_ERROR_NONE, __FILE__, __LINE__);
  unistream_config_free(config);
  for (int puts = 0; fine && puts < 50; puts++)
    fine = expect(unistream_producer_put(producer, bytes, sizeof bytes), UNISTREAM_ERROR_NONE, __FILE__, __LINE__);
  fine = fine && expect(unistream_producer_flush(producer, PATIENCE_MS), UNISTREAM_ERROR_NONE, __FILE__, __LINE__);
  fine = fine && expect(unistream_producer_sync(producer), UNISTREAM_ERROR_NONE, __FILE__, __LINE__);
  fine = fine && expect(unistream_producer_close(producer, PATIENCE_MS, NULL), UNISTREAM_ERROR_NONE, __FILE__, __LINE__);
  unistream_producer_free(producer);
  return fine ? argument : NULL;
}

static void a_thread_with_64_kib_of_stack_is_enough(void) {
  char background[] = "background", inline_mode[] = "inline";
  char *modes[2];
  modes[0] = background;
  modes[1] = inline_mode;
  for (int i = 0; i < 2; i++) {
    pthread_attr_t attributes;
    pthread_t thread;
    void *answer = NULL;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 64 << 10) == 0);
    CHECK(pthread_create(&thread, &attributes, lives_on_a_small_stack, modes[i]) == 0);
    CHECK(pthread_join(thread, &answer) == 0 && answer == modes[i]);
    pthread_attr_destroy(&attributes);
  }
}

int main(void) {
  RUN(a_child_sees_nothing_of_the_parents_batch);
  RUN(a_child_has_a_slot_of_its_own);
  RUN(a_sigbus_that_was_sent_goes_where_it_would_have_gone);
  RUN(a_file_that_may_not_be_longer_is_a_full_disk);
  RUN(too_few_descriptors_are_said_to_be_that);
  RUN(closed_streams_are_not_given_to_files);
  RUN(an_exit_in_a_callback_closes_at_exit);
  RUN(a_thread_with_64_kib_of_stack_is_enough);
  return failed_tests != 0;
}
