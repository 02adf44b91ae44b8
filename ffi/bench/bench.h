/*
 * How the rows of run.sh are measured, in every language alike: in each round 100 MB worth of records are put in a loop
 * that is timed as a whole, while the target takes what it can; between two rounds, untimed, it catches up. The first
 * rounds warm up. The cost is the median of the other rounds' means.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARM_UP = 3, ROUNDS = 15 };

static double costs[WARM_UP + ROUNDS];

/* Puts in a round; 400 bytes stand for what a record costs besides its payload. */
static inline long puts_of(size_t bytes) {
  return 100000000 / ((long)bytes + 400);
}

static inline double now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int ascending(const void *left, const void *right) {
  double difference = *(const double *)left - *(const double *)right;
  return (difference > 0) - (difference < 0);
}

/* The last line of a bench: the median. */
static inline void print_median(void) {
  qsort(costs + WARM_UP, ROUNDS, sizeof costs[0], ascending);
  printf("%.2f\n", costs[WARM_UP + ROUNDS / 2]);
}

/* The payload: `bytes` times x. */
static inline void *payload(size_t bytes) {
  void *data = malloc(bytes ? bytes : 1);
  if (!data) exit(1);
  return memset(data, 'x', bytes);
}

#endif
