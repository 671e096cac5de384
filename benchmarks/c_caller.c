/* Calls a library's step or run through its C interface, and gives the seconds of one call. */
#include <stdint.h>
#include <time.h>

typedef int (*step_function)(void *state, void *arena, const void *x, void *y);
typedef int (*run_function)(void *state, void *arena, int32_t T, const void *x, void *y);

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double time_step(step_function step, void *state, void *arena, const void *x, void *y, int32_t calls) {
  double start = now();
  for (int32_t i = 0; i < calls; ++i) {
    if (step(state, arena, x, y) != 0) {
      return -1.0;
    }
  }
  return (now() - start) / calls;
}

double time_run(run_function run, void *state, void *arena, int32_t T, const void *x, void *y, int32_t calls) {
  double start = now();
  for (int32_t i = 0; i < calls; ++i) {
    if (run(state, arena, T, x, y) != 0) {
      return -1.0;
    }
  }
  return (now() - start) / calls;
}
