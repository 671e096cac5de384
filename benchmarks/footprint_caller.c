/* One fresh process for footprint.py: opens a library with dlopen, calls its C interface, and prints one number.
 *
 * footprint_caller MODE LIBRARY NAME STATE_BYTES ARENA_BYTES X_BYTES Y_BYTES CALLS
 *   start   nanoseconds from before dlopen to the first output of step
 *   call    nanoseconds of one step: the median over SLICES of CALLS steps each
 *   memory  peak of resident memory in KiB after as many steps
 *   bare    the same without the library: all buffers are there and touched
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLICES 501

typedef int (*init_function)(void *state);
typedef int (*step_function)(void *state, void *arena, const void *x, void *y);

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static void fail(const char *what) {
  fprintf(stderr, "footprint_caller: %s\n", what);
  exit(1);
}

static void *buffer(const char *bytes) {
  size_t size = (strtoull(bytes, NULL, 10) + 63) / 64 * 64;
  void *memory = aligned_alloc(64, size == 0 ? 64 : size);
  if (memory == NULL) {
    fail("no memory");
  }
  memset(memory, 1, size);
  return memory;
}

static void *function(void *library, const char *name, const char *suffix) {
  char symbol[256];
  snprintf(symbol, sizeof symbol, "%s_%s", name, suffix);
  void *found = dlsym(library, symbol);
  if (found == NULL) {
    fail(symbol);
  }
  return found;
}

static int compare(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

static long peak_kib(void) {
  char line[256];
  long peak = -1;
  FILE *file = fopen("/proc/self/status", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    sscanf(line, "VmHWM: %ld", &peak);
  }
  return peak;
}

int main(int count, char **arguments) {
  if (count != 9) {
    fail("wrong number of arguments");
  }
  const char *mode = arguments[1];
  void *state = buffer(arguments[4]), *arena = buffer(arguments[5]);
  void *x = buffer(arguments[6]), *y = buffer(arguments[7]);
  long calls = strtol(arguments[8], NULL, 10);
  if (strcmp(mode, "bare") == 0) {
    printf("%ld\n", peak_kib());
    return 0;
  }
  double opened = now();
  void *library = dlopen(arguments[2], RTLD_NOW);
  if (library == NULL) {
    fail(dlerror());
  }
  init_function init = (init_function)function(library, arguments[3], "init");
  step_function step = (step_function)function(library, arguments[3], "step");
  if (init(state) != 0 || step(state, arena, x, y) != 0) {
    fail("the first step failed");
  }
  double started = now();
  if (strcmp(mode, "start") == 0) {
    printf("%.0f\n", started - opened);
    return 0;
  }
  double slices[SLICES];
  for (int slice = 0; slice < SLICES; ++slice) {
    double before = now();
    for (long i = 0; i < calls; ++i) {
      if (step(state, arena, x, y) != 0) {
        fail("a step failed");
      }
    }
    slices[slice] = (now() - before) / (double)calls;
  }
  qsort(slices, SLICES, sizeof slices[0], compare);
  if (strcmp(mode, "call") == 0) {
    printf("%.3f\n", slices[SLICES / 2]);
  } else if (strcmp(mode, "memory") == 0) {
    printf("%ld\n", peak_kib());
  } else {
    fail("unknown mode");
  }
  return 0;
}
