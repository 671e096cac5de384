/* Reads arrays from start to end with vector loads, as often as wanted: how fast this core takes weights in. */
#include <stdint.h>

/* BYTES of a load: as many as the core has registers for. Narrower loads do not fill its ports. */
#ifndef BYTES
#define BYTES 32
#endif
#if BYTES == 64
#define WIDE __attribute__((min_vector_width(512)))
#else
#define WIDE
#endif

typedef int64_t vector __attribute__((vector_size(BYTES)));
enum { VECTORS = 8, BLOCK = VECTORS * (int)sizeof(vector) };

static inline vector load(const uint8_t *from) {
  vector value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

/* Returns a checksum, so that no load is left out. */
WIDE int64_t irnn_stream(const uint8_t *const *arrays, const int64_t *bytes, int32_t count, int32_t passes) {
  vector sums[VECTORS] = {{0}};
  int64_t rest = 0;
  for (int32_t pass = 0; pass < passes; ++pass) {
    for (int32_t n = 0; n < count; ++n) {
      const uint8_t *at = arrays[n];
      const uint8_t *const end = at + bytes[n];
      for (; end - at >= BLOCK; at += BLOCK) {
#pragma clang loop unroll(full)
        for (int i = 0; i < VECTORS; ++i) sums[i] ^= load(at + i * (int)sizeof(vector));
      }
      for (; end - at >= (int)sizeof(vector); at += sizeof(vector)) sums[0] ^= load(at);
      for (; at < end; ++at) rest += *at;
    }
    __asm__ volatile("" : : : "memory"); /* every pass loads again */
  }
  for (int i = 1; i < VECTORS; ++i) sums[0] ^= sums[i];
  for (int i = 0; i < BYTES / (int)sizeof(int64_t); ++i) rest ^= sums[0][i];
  return rest;
}
