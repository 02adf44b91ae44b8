/*
 * A main() for a target of libFuzzer: it runs the corpus in FUZZ_CORPUS (or in the directories that are its arguments)
 * and FUZZ_CASES mutations of it, the same ones each time. FUZZ_INPUTS limits how much of the corpus.
 */
#ifndef FUZZ_MAIN_H
#define FUZZ_MAIN_H

#include <dirent.h>
#include <signal.h>

#include "check.h"

enum { INPUTS = 512, INPUT_BYTES = 2048 };

static uint8_t inputs[INPUTS][INPUT_BYTES];
static size_t input_lengths[INPUTS], input_count;
static uint8_t current[INPUT_BYTES];
static size_t current_length;
static const char *current_test = "";

/* A case that fails, or hangs, ends the program: with the input, in the form that `xxd -r -p` reads. */
static void on_signal(int number) {
  printf("FAILED %s: signal %d, input ", current_test, number);
  for (size_t i = 0; i < current_length; i++) printf("%02x", current[i]);
  printf("\n");
  fflush(stdout);
  _exit(1);
}

static uint64_t random_state;

static size_t roll(size_t end) {
  random_state += UINT64_C(0x9e3779b97f4a7c15);
  uint64_t z = (random_state ^ (random_state >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (size_t)((z ^ (z >> 31)) % end);
}

static void run_current(void) {
  alarm(300);
  LLVMFuzzerTestOneInput(current, current_length);
  alarm(0);
}

static void the_corpus_keeps_every_promise(void) {
  CHECK(input_count > 0);
  for (size_t i = 0; i < input_count; i++) {
    memcpy(current, inputs[i], INPUT_BYTES);
    current_length = input_lengths[i];
    run_current();
  }
}

static void so_do_mutations_of_it(void) {
  const char *wanted = getenv("FUZZ_CASES");
  unsigned long cases = wanted ? strtoul(wanted, NULL, 10) : 200;
  CHECK(input_count > 0);
  for (unsigned long number = 0; number < cases; number++) {
    random_state = number;
    size_t one = roll(input_count), other = roll(input_count);
    memcpy(current, inputs[one], INPUT_BYTES);
    current_length = input_lengths[one];
    for (size_t changes = roll(8); current_length > 0 && changes > 0; changes--) {
      size_t at = roll(current_length), from = roll(input_lengths[other] + 1);
      switch (roll(4)) {
        case 0: current[at] = (uint8_t)roll(256); break;
        case 1: current[at] ^= (uint8_t)(1 << roll(8)); break;
        case 2: current_length = at; break;
        default:
          for (; from < input_lengths[other] && at < INPUT_BYTES; from++) current[at++] = inputs[other][from];
          if (at > current_length) current_length = at;
      }
    }
    run_current();
  }
}

static void read_inputs(const char *path) {
  char name[600];
  const char *wanted = getenv("FUZZ_INPUTS");
  size_t most = wanted ? (size_t)strtoul(wanted, NULL, 10) : INPUTS;
  DIR *directory = opendir(path);
  struct dirent *entry;
  while (directory && (entry = readdir(directory)) && input_count < most && input_count < INPUTS) {
    snprintf(name, sizeof name, "%s/%.255s", path, entry->d_name);
    FILE *file = entry->d_name[0] == '.' ? NULL : fopen(name, "rb");
    if (!file) continue;
    input_lengths[input_count] = fread(inputs[input_count], 1, INPUT_BYTES, file);
    input_count++;
    fclose(file);
  }
  if (directory) closedir(directory);
}

int main(int argc, char **argv) {
  const char *corpus = getenv("FUZZ_CORPUS");
  signal(SIGABRT, on_signal);
  signal(SIGSEGV, on_signal);
  signal(SIGALRM, on_signal);
  for (int i = 1; i < argc; i++) read_inputs(argv[i]);
  if (argc == 1 && corpus) read_inputs(corpus);
  current_test = "the_corpus_keeps_every_promise";
  RUN(the_corpus_keeps_every_promise);
  current_test = "so_do_mutations_of_it";
  RUN(so_do_mutations_of_it);
  return failed_tests != 0;
}

#endif
