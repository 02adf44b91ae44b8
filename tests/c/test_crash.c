/*
 * A program that is killed loses nothing. The threads of a child put numbered records as fast as they can and note each
 * number, after its put has returned, in memory that they share with the parent; its sink notes there what comes. The
 * parent kills it with SIGKILL at some moment, starts the next one on what it left, and in the end delivers the rest.
 *
 *   UNISTREAM_KILLS=300   so many kills; a few of them on each buffer
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "check.h"

enum { THREADS = 5, NUMBERS = 1 << 18, SEQS = 1 << 21, LIVES = 6, KILLS = 18, MANY = 7 };

/* What became of a record, noted by those who put and by the sink. */
enum { ACKNOWLEDGED = 1, DELIVERED = 2, REJECTED = 4, DEAD = 8 };

typedef struct sight {
  uint64_t batch;  /* What stands for the id of its batch; 0: not seen yet. */
  uint32_t record; /* Thread and number. */
  int32_t life;    /* In which it was finished last, from 1; 0: it is not. */
} sight;

/* What is known of one buffer and of all the processes that had it. */
typedef struct shared {
  uint32_t begun[THREADS];        /* the numbers below this were or may have been put */
  uint32_t acknowledged;          /* in the present life */
  uint8_t fate[THREADS][NUMBERS];
  sight seqs[SEQS];
  uint64_t last_batch[LIVES + 4]; /* that came in a life */
  uint32_t again;                 /* records that came again with the batch that a process died with */
  uint32_t wrong;                 /* what must not be; the first is printed */
} shared;

static shared *memory;
/* Of this process: its life, and the first seq of the batch before. */
static int life;
static uint64_t newest;

static void wrong(const char *what, uint64_t seq) {
  if (memory->wrong++ == 0) {
    printf("# life %d, seq %" PRIu64 ": %s\n", life, seq, what);
    fflush(stdout);
  }
}

static uint64_t hash(const char *text) {
  uint64_t sum = 14695981039346656037u;
  for (; *text; text++) sum = (sum ^ (uint8_t)*text) * 1099511628211u;
  return sum | 1;
}

/* Thread and number of a record, if it is one that was put. */
static bool read_record(const unistream_record *record, uint32_t *thread, uint32_t *number) {
  uint32_t head[2];
  if (record->data_length < sizeof head) return false;
  memcpy(head, record->data, sizeof head);
  *thread = head[0];
  *number = head[1];
  if (*thread >= THREADS || *number >= NUMBERS || record->data_length != sizeof head + *number % 190) return false;
  for (size_t i = sizeof head; i < record->data_length; i++) {
    if (((const uint8_t *)record->data)[i] != (uint8_t)(*number + i)) return false;
  }
  return *number < __atomic_load_n(&memory->begun[*thread], __ATOMIC_SEQ_CST);
}

/*
 * What the sink answers for a record: the lives differ in how they fail. One that is finished is so for good, as far
 * as the sink is concerned: it may come again only because the process died before that was on disk.
 */
static unistream_outcome answer(uint32_t number, uint32_t attempt) {
  switch (life % 4) {
    case 1: return UNISTREAM_OUTCOME_DELIVERED;
    case 2:
      if (number % 11 == 0) return UNISTREAM_OUTCOME_REJECTED;
      return number % 5 == 0 && attempt < 2 ? UNISTREAM_OUTCOME_FAILED : UNISTREAM_OUTCOME_DELIVERED;
    case 3: /* To the last attempt: a dead letter. */
      return number % 64 < 3 ? UNISTREAM_OUTCOME_FAILED : UNISTREAM_OUTCOME_DELIVERED;
    default: return UNISTREAM_OUTCOME_UNAVAILABLE;
  }
}

static unistream_outcome note(void *user_data, const unistream_batch *batch, unistream_report *report) {
  unistream_record record = UNISTREAM_RECORD_INIT;
  uint64_t id = hash(unistream_batch_id(batch)), first = unistream_batch_first_seq(batch);
  uint64_t last = unistream_batch_last_seq(batch), expected = first;
  uint32_t latest[THREADS] = {0};
  (void)user_data;
  if (life % 4 == 0) return UNISTREAM_OUTCOME_UNAVAILABLE;
  if (first < newest) wrong("a batch after a later one", first);
  if (last >= SEQS) return UNISTREAM_OUTCOME_UNAVAILABLE; /* The parent kills soon. */
  newest = first;
  __atomic_store_n(&memory->last_batch[life], id, __ATOMIC_SEQ_CST);
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    uint32_t thread, number;
    if (record.seq < expected || record.seq > last) {
      wrong("a batch in disorder", record.seq);
      return UNISTREAM_OUTCOME_UNAVAILABLE;
    }
    /* Those that are not in it any more are finished. */
    for (; expected < record.seq; expected++) {
      if (memory->seqs[expected].batch != id || memory->seqs[expected].life == 0) wrong("missing in its batch", expected);
    }
    expected = record.seq + 1;
    if (!read_record(&record, &thread, &number)) {
      wrong("nobody put this", record.seq);
      continue;
    }
    if (latest[thread] > number) wrong("behind a later record of its thread", record.seq);
    latest[thread] = number;
    sight *seen = &memory->seqs[record.seq];
    uint32_t name = thread << 24 | number;
    if (seen->batch == 0) {
      seen->record = name;
      __atomic_store_n(&seen->batch, id, __ATOMIC_SEQ_CST);
    }
    if (seen->batch != id) wrong("came under another batch id", record.seq);
    if (seen->record != name) wrong("came with other contents", record.seq);
    if (seen->life == life || (seen->life > 0 && memory->last_batch[seen->life] != id)) wrong("came twice", record.seq);
    if (seen->life > 0) memory->again++;
    unistream_outcome outcome = answer(number, unistream_batch_attempt(batch));
    if (outcome != UNISTREAM_OUTCOME_DELIVERED) unistream_report_record(report, i, outcome, "as it was told");
    if (outcome == UNISTREAM_OUTCOME_DELIVERED) __atomic_or_fetch(&memory->fate[thread][number], DELIVERED, __ATOMIC_SEQ_CST);
    if (outcome == UNISTREAM_OUTCOME_REJECTED) __atomic_or_fetch(&memory->fate[thread][number], REJECTED, __ATOMIC_SEQ_CST);
    /* In a life with dead letters, also what failed may be finished: it is not asked for again. */
    if (outcome != UNISTREAM_OUTCOME_FAILED || unistream_batch_attempt(batch) == 3) seen->life = life;
  }
  for (; expected <= last; expected++) {
    if (memory->seqs[expected].batch != id || memory->seqs[expected].life == 0) wrong("missing in its batch", expected);
  }
  return UNISTREAM_OUTCOME_DELIVERED;
}

static void fail_child(unistream_error *error) {
  printf("# life %d: %s\n", life, unistream_error_message(error));
  fflush(stdout);
  _exit(1);
}

/* Opens the buffer with the noting sink; exits on failure. */
static unistream_producer *reopen(const char *path) {
  static const char *const pairs[] = {"segment_bytes", "256KiB", "max_records", "50",     "schedule_waits", "1ms",
                                      "max_attempts",  "3",      "durability",  "always", NULL};
  const char *options[12];
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  memcpy(options, pairs, sizeof pairs);
  options[9] = life % 3 == 0 ? "os" : life % 3 == 1 ? "interval" : "always";
  unistream_config *config = config_of(options);
  unistream_error *error = unistream_sink_callback(note, NULL, NULL, &sink);
  if (!error) error = unistream_producer_open(path, sink, config, &producer);
  if (error) fail_child(error);
  unistream_config_free(config);
  return producer;
}

static unistream_producer *producer; /* of a child */

/* One thread of a child. What it puts next was not begun by anybody before. */
static void *put_until_killed(void *argument) {
  uint32_t thread = *(uint32_t *)argument, number = memory->begun[thread];
  uint8_t data[MANY][200];
  unistream_record records[MANY];
  for (;;) {
    /* Thread 0 puts several in a call, 1 with a key, 2 flushes at times, 3 syncs; the others put. */
    uint32_t count = thread == 0 ? MANY : 1;
    size_t accepted = 0;
    unistream_error *error = NULL;
    if (number + count > NUMBERS) break;
    for (uint32_t i = 0; i < count; i++) {
      const unistream_record blank = UNISTREAM_RECORD_INIT;
      uint32_t head[2] = {thread, number + i};
      memcpy(data[i], head, sizeof head);
      for (size_t at = sizeof head; at < sizeof data[i]; at++) data[i][at] = (uint8_t)(number + i + at);
      records[i] = blank;
      records[i].data = data[i];
      records[i].data_length = sizeof head + (number + i) % 190;
      if (thread == 1) {
        records[i].key = data[i];
        records[i].key_length = 4;
      }
    }
    __atomic_store_n(&memory->begun[thread], number + count, __ATOMIC_SEQ_CST);
    if (thread == 0) {
      error = unistream_producer_put_many(producer, records, count, &accepted);
    } else if (thread == 1) {
      error = unistream_producer_put_record(producer, records, NULL);
      accepted = error ? 0 : 1;
    } else {
      error = unistream_producer_put(producer, records[0].data, records[0].data_length);
      accepted = error ? 0 : 1;
    }
    for (uint32_t i = 0; i < accepted; i++) {
      __atomic_or_fetch(&memory->fate[thread][number + i], ACKNOWLEDGED, __ATOMIC_SEQ_CST);
    }
    __atomic_add_fetch(&memory->acknowledged, (uint32_t)accepted, __ATOMIC_SEQ_CST);
    if (unistream_error_code(error) == UNISTREAM_ERROR_CLOSED) break; /* In a life that is killed while it closes. */
    if (error) fail_child(error);
    number += count;
    if (thread == 2 && number % 16 == 0) error = unistream_producer_flush(producer, 2);
    if (thread == 3 && number % 16 == 0) error = unistream_producer_sync(producer);
    unistream_error_free(error);
  }
  return NULL;
}

static void live(const char *path, uint32_t goal) {
  static uint32_t names[THREADS];
  pthread_t threads[THREADS];
  producer = reopen(path);
  for (uint32_t i = 0; i < THREADS; i++) {
    names[i] = i;
    if (pthread_create(&threads[i], NULL, put_until_killed, &names[i]) != 0) _exit(1);
  }
  if (life % 5 == 0) {
    /* This one is killed in, or shortly after, a close under load. */
    while (__atomic_load_n(&memory->acknowledged, __ATOMIC_SEQ_CST) + 20 < goal) sched_yield();
    unistream_error *error = unistream_producer_close(producer, 5, NULL);
    unistream_code code = unistream_error_code(error);
    if (error && code != UNISTREAM_ERROR_TIMEOUT) fail_child(error);
    unistream_error_free(error);
    __atomic_add_fetch(&memory->acknowledged, goal, __ATOMIC_SEQ_CST);
  }
  for (;;) pause();
}

/* The payloads of all dead letters. */
static void note_dead(void) {
  unistream_dead_letters *letters = NULL;
  unistream_error *error = unistream_producer_dead_letters(producer, &letters);
  if (error) fail_child(error);
  for (size_t i = 0; i < unistream_dead_letters_count(letters); i++) {
    unistream_batch *batch = NULL;
    unistream_record record = UNISTREAM_RECORD_INIT;
    error = unistream_dead_letter_batch(unistream_dead_letters_get(letters, i), &batch);
    if (error) fail_child(error);
    for (size_t at = 0; unistream_batch_record(batch, at, &record); at++) {
      uint32_t thread, number;
      if (!read_record(&record, &thread, &number)) wrong("nobody put this dead letter", record.seq);
      else memory->fate[thread][number] |= DEAD;
    }
    unistream_batch_free(batch);
  }
  unistream_dead_letters_free(letters);
}

/* The last life delivers what is left, in a process of its own as the others. */
static void finish(const char *path) {
  uint64_t left = 0;
  life = LIVES + 1;
  while (life % 4 != 1) life++;
  producer = reopen(path);
  unistream_error *error = unistream_producer_flush(producer, PATIENCE_MS);
  if (error) fail_child(error);
  note_dead();
  error = unistream_producer_close(producer, PATIENCE_MS, &left);
  if (error) fail_child(error);
  if (left > 0) wrong("something is left", left);
  unistream_producer_free(producer);
}

static uint64_t kills, records, lost, again, dead;

/* One buffer, the processes that are killed with it, and the count. */
static void kill_again_and_again(int lives, uint32_t seed) {
  const char *path = fresh_path();
  int status = 0;
  memset(memory, 0, sizeof *memory);
  fflush(stdout);
  for (life = 1; life <= lives; life++) {
    uint32_t goal = 20 + seed * 7919 % 3000;
    pid_t child;
    seed = seed * 1103515245 + 12345;
    memory->acknowledged = 0;
    child = fork();
    CHECK(child >= 0);
    if (child == 0) live(path, goal);
    /* Every fourth one may die while it opens what the one before left. */
    while (seed >> 8 & 3 && __atomic_load_n(&memory->acknowledged, __ATOMIC_SEQ_CST) < goal) {
      CHECK(waitpid(child, &status, WNOHANG) == 0); /* It lives. */
      sched_yield();
    }
    sleep_ms((long)(seed >> 12 & 7));
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    kills++;
  }
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    finish(path);
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  for (uint32_t thread = 0; thread < THREADS; thread++) {
    for (uint32_t number = 0; number < memory->begun[thread]; number++) {
      uint8_t fate = memory->fate[thread][number];
      if (!(fate & ACKNOWLEDGED)) continue; /* Its put was under way, or refused. */
      records++;
      dead += (fate & DEAD) > 0;
      if (!(fate & (DELIVERED | DEAD))) {
        if (lost++ == 0) printf("# LOST: thread %" PRIu32 ", number %" PRIu32 "\n", thread, number);
      }
    }
  }
  again += memory->again;
  CHECK(memory->wrong == 0);
  CHECK(lost == 0);
}

static void a_killed_program_loses_nothing(void) {
  const char *wanted = getenv("UNISTREAM_KILLS");
  uint64_t goal = wanted ? strtoull(wanted, NULL, 10) : (uint64_t)KILLS;
  for (uint32_t seed = 1; kills < goal; seed++) {
    kill_again_and_again(goal - kills < LIVES ? (int)(goal - kills) : LIVES, seed);
    if (test_failed) return;
  }
  printf("# %" PRIu64 " kills, %" PRIu64 " records acknowledged, %" PRIu64 " of them dead letters, 0 lost, 0 twice, %" PRIu64
         " again in whole batches\n", kills, records, dead, again);
  CHECK(records > kills && (dead > 0 || kills < 100));
}

int main(void) {
  memory = (shared *)mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  RUN(a_killed_program_loses_nothing);
  return failed_tests != 0;
}
