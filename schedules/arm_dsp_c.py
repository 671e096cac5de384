"""The routines of arm_dsp.py in C99, for any compiler: with the intrinsics of ACLE where there are DSP instructions."""

from __future__ import annotations

DOT = """
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
#include <arm_acle.h>
#if defined(__GNUC__)
#define IRNN_COPY __builtin_memcpy /* a load, also where the compiler is told that there is no C library */
#else
#define IRNN_COPY memcpy
#endif
#endif

/* sums[blocks][4] = start[blocks][4] (NULL: 0) + products of weights [blocks][groups][2][2][2] with x [groups][4].
   A word of weights holds, for two activations, those of two rows a and b as a + 256 b. */
static int32_t irnn_dot_4x4(int32_t *sums, const int8_t *weights, const int16_t *x, int32_t groups, int32_t blocks,
                            const int32_t *start) {
  for (int32_t block = 0; block < blocks; ++block) {
    int32_t s[4];
    for (int32_t row = 0; row < 4; ++row) {
      s[row] = start ? start[4 * block + row] : 0;
    }
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
    /* The sum of both rows' products, modulo 2**32, tells that of b as long as it fits 24 bits: 512 activations. */
    for (int32_t first = 0; first < groups; first += 128) {
      const int32_t end = groups - first < 128 ? groups : first + 128;
      int32_t low0 = 0, both0 = 0, low1 = 0, both1 = 0;
      for (int32_t group = first; group < end; ++group) {
        int32_t w[4], v[2];
        IRNN_COPY(w, weights, sizeof w);
        IRNN_COPY(v, x + 4 * group, sizeof v);
        weights += sizeof w;
        both0 = __smlad(w[0], v[0], both0);
        low0 = __smlad(__sxtb16(w[0]), v[0], low0);
        both1 = __smlad(w[1], v[0], both1);
        low1 = __smlad(__sxtb16(w[1]), v[0], low1);
        both0 = __smlad(w[2], v[1], both0);
        low0 = __smlad(__sxtb16(w[2]), v[1], low0);
        both1 = __smlad(w[3], v[1], both1);
        low1 = __smlad(__sxtb16(w[3]), v[1], low1);
      }
      s[0] += low0;
      s[1] += (int32_t)((uint32_t)both0 - (uint32_t)low0) >> 8;
      s[2] += low1;
      s[3] += (int32_t)((uint32_t)both1 - (uint32_t)low1) >> 8;
    }
#else
    for (int32_t group = 0; group < groups; ++group) {
      for (int32_t i = 0; i < 8; ++i, weights += 2) {
        const int16_t v = x[4 * group + 2 * (i / 4) + i % 2];
        s[i / 2 % 2 * 2] += weights[0] * v;
        s[i / 2 % 2 * 2 + 1] += (weights[1] + (weights[0] < 0)) * v;
      }
    }
#endif
    memcpy(sums + 4 * block, s, sizeof s);
  }
  return 0;
}
"""

WIDEN = """
/* out[depth, rounded up to 4] = x[depth], and zeros. */
static int32_t irnn_widen(int16_t *out, const int8_t *x, int32_t depth) {
  int32_t i = 0;
  for (; i < depth; ++i) {
    out[i] = x[i];
  }
  for (; i % 4 != 0; ++i) {
    out[i] = 0;
  }
  return 0;
}
"""
