"""The routine of helium.py in C99, for any compiler: with the intrinsics of ACLE where it has integer Helium."""

from __future__ import annotations

DOT = """
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#include <arm_mve.h>
#endif

/* sums[blocks][8] = start[blocks][8] (NULL: 0) + products of weights [blocks][groups][8][16] with x [depth]. */
static int32_t irnn_dot_8x16(int32_t *sums, const int8_t *weights, const int8_t *x, int32_t depth, int32_t blocks,
                             const int32_t *start) {
  const int32_t groups = (depth + 15) / 16;
  for (int32_t block = 0; block < blocks; ++block) {
    int32_t s[8];
    for (int32_t row = 0; row < 8; ++row) {
      s[row] = start ? start[8 * block + row] : 0;
    }
    for (int32_t group = 0; group < groups; ++group) {
      const int8_t *w = weights + 128 * (block * groups + group);
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
      const int8x16_t v = vldrbq_z_s8(x + 16 * group, vctp8q((uint32_t)(depth - 16 * group)));
      s[0] = vmladavaq_s8(s[0], v, vldrbq_s8(w));
      s[1] = vmladavaq_s8(s[1], v, vldrbq_s8(w + 16));
      s[2] = vmladavaq_s8(s[2], v, vldrbq_s8(w + 32));
      s[3] = vmladavaq_s8(s[3], v, vldrbq_s8(w + 48));
      s[4] = vmladavaq_s8(s[4], v, vldrbq_s8(w + 64));
      s[5] = vmladavaq_s8(s[5], v, vldrbq_s8(w + 80));
      s[6] = vmladavaq_s8(s[6], v, vldrbq_s8(w + 96));
      s[7] = vmladavaq_s8(s[7], v, vldrbq_s8(w + 112));
#else
      const int32_t count = depth - 16 * group < 16 ? depth - 16 * group : 16;
      for (int32_t row = 0; row < 8; ++row) {
        for (int32_t i = 0; i < count; ++i) {
          s[row] += w[16 * row + i] * x[16 * group + i];
        }
      }
#endif
    }
    for (int32_t row = 0; row < 8; ++row) {
      sums[8 * block + row] = s[row];
    }
  }
  return 0;
}
"""
