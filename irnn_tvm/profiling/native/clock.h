/* A clock for intervals of a few hundred nanoseconds. Ticks of a counter that runs at a constant rate; instructions before
   and after a reading do not cross it. */
#ifndef IRNN_CLOCK_H
#define IRNN_CLOCK_H
#include <stdint.h>

#if defined(__x86_64__)
static inline int64_t irnn_now(void) {
  __builtin_ia32_lfence();
  const int64_t ticks = (int64_t)__builtin_ia32_rdtsc();
  __builtin_ia32_lfence();
  return ticks;
}
#elif defined(__aarch64__)
static inline int64_t irnn_now(void) {
  int64_t ticks;
  __asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(ticks) : : "memory");
  return ticks;
}
#else
#include <time.h>
static inline int64_t irnn_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
#endif
#endif
