/*
 * A program that is killed loses nothing. A child puts numbered records as fast as it can and writes each number,
 * after its put has returned, to memory that it shares with its parent; its sink notes what is delivered there too.
 * The parent kills it with SIGKILL at some moment, starts the next one, and in the end delivers the rest itself.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "check.h"

enum { NUMBERS = 1 << 20, ROUNDS = 12 };

typedef struct shared {
  uint32_t put;                /* puts that have returned: numbers 0 to put - 1 */
  uint32_t begun;              /* puts that were begun */
  uint32_t duplicates;         /* deliveries of what was delivered */
  uint32_t disordered;         /* records behind a higher number, within one process */
  uint8_t delivered[NUMBERS];
} shared;

static shared *memory;

static unistream_outcome note(void *user_data, const unistream_batch *batch, unistream_report *report) {
  static uint32_t next; /* of this process */
  unistream_record record = UNISTREAM_RECORD_INIT;
  (void)report;
  if (*(int *)user_data % 3 == 1) return UNISTREAM_UNAVAILABLE; /* Every third process delivers nothing. */
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    uint32_t number;
    memcpy(&number, record.data, sizeof number);
    if (number < next) memory->disordered++;
    next = number;
    if (memory->delivered[number]) memory->duplicates++;
    memory->delivered[number] = 1;
  }
  return UNISTREAM_DELIVERED;
}

/* Opens the buffer with the noting sink; exits on failure. */
static unistream_producer *reopen(const char *path, int *round) {
  unistream_config *config = config_of(NULL);
  unistream_sink *sink = NULL;
  unistream_producer *producer = NULL;
  unistream_error *error = unistream_config_set(config, "segment_bytes", "256KiB");
  if (!error) error = unistream_sink_callback(note, round, NULL, &sink);
  if (!error) error = unistream_producer_open(path, sink, config, &producer);
  if (error) {
    printf("# %s\n", unistream_error_message(error));
    fflush(stdout);
    _exit(1);
  }
  unistream_config_free(config);
  return producer;
}

static void put_until_killed(const char *path, int round) {
  unistream_producer *producer = reopen(path, &round);
  char record[200] = "";
  /* The last put of the process before may be in the log or not: its number is not used again. */
  for (uint32_t number = __atomic_load_n(&memory->begun, __ATOMIC_SEQ_CST); number < NUMBERS; number++) {
    memcpy(record, &number, sizeof number);
    __atomic_store_n(&memory->begun, number + 1, __ATOMIC_SEQ_CST);
    unistream_error *error = unistream_producer_put(producer, record, sizeof number + number % 190);
    if (error) {
      printf("# %s\n", unistream_error_message(error));
      fflush(stdout);
      _exit(1);
    }
    __atomic_store_n(&memory->put, number + 1, __ATOMIC_SEQ_CST);
  }
  _exit(0);
}

static void a_killed_program_loses_nothing(void) {
  const char *path = fresh_path();
  uint32_t lost = 0, unsure[ROUNDS];
  int last_round = ROUNDS * 3; /* One that delivers. */
  fflush(stdout);
  for (int round = 0; round < ROUNDS; round++) {
    int status = 0;
    uint32_t goal = memory->begun + 1 + (uint32_t)(round * 7919 % 20000);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) put_until_killed(path, round);
    while (__atomic_load_n(&memory->put, __ATOMIC_SEQ_CST) < goal) {
      CHECK(waitpid(child, &status, WNOHANG) == 0); /* It lives. */
      sched_yield();
    }
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    unsure[round] = memory->begun > memory->put ? memory->put : UINT32_MAX;
  }
  unistream_producer *producer = reopen(path, &last_round);
  OK(unistream_producer_close(producer, PATIENCE_MS, NULL));
  unistream_producer_free(producer);
  for (uint32_t number = 0; number < memory->begun; number++) {
    bool sure = true;
    for (int round = 0; round < ROUNDS; round++) sure = sure && number != unsure[round];
    lost += sure && !memory->delivered[number];
  }
  printf("# %" PRIu32 " records put, %" PRIu32 " lost, %" PRIu32 " delivered twice\n", memory->begun, lost,
         memory->duplicates);
  CHECK(memory->begun > ROUNDS && lost == 0 && memory->disordered == 0);
}

int main(void) {
  memory = (shared *)mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  RUN(a_killed_program_loses_nothing);
  return failed_tests != 0;
}
