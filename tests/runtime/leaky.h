/* A library written by hand against the C interface of built models: an integer leaky accumulator.

   Per time step and channel c of 4:  acc = (acc * 3 >> 2) + x[c] * gain[k][c];  y[c] = saturate16(acc);  last[c] = acc
   x int8 (T, 1, 4), k int32 (T, 1) in 0..3; y int16 (T, 1, 4), last int32 (1, 4). State: a tag and acc. */
#ifndef LEAKY_H
#define LEAKY_H
#include <stdint.h>

#define LEAKY_STATE_BYTES 32
#define LEAKY_ARENA_BYTES 48
#define LEAKY_ALIGN 16
#define LEAKY_MAX_T 0

#ifndef IRNN_OK
#define IRNN_OK 0
#define IRNN_E_NULL (-1)
#define IRNN_E_LENGTH (-2)
#define IRNN_E_INDEX (-3)
#define IRNN_E_ALIGN (-4)
#define IRNN_E_STATE (-5)
#endif

int leaky_init(void *state);
int leaky_reset(void *state);
int leaky_step(void *state, void *arena, const int8_t *x, const int32_t *k, int16_t *y, int32_t *last);
int leaky_run(void *state, void *arena, int32_t T, const int8_t *x, const int32_t *k, int16_t *y, int32_t *last);

#endif
