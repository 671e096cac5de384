/* See leaky.h. -DFAULT_... builds the broken versions that the runner and the runtime have to find out. */
#include "leaky.h"
#include <stddef.h>

#define CHANNELS 4
#define TAG 0x4C45414B
#define BALLAST_BYTES 64

#ifdef PORTABLE /* C99 sources: the weights are C text */
static const int8_t leaky_gain[16] = {1, -2, 3, -4, 50, 60, -70, 80, 127, -127, 9, 0, -1, -1, -1, 11};
static const int8_t leaky_ballast[BALLAST_BYTES] = {7};
#else
#define HIDDEN __attribute__((visibility("hidden")))
extern const int8_t leaky_gain[16] HIDDEN;
extern const int8_t leaky_ballast[] HIDDEN; /* as large as the test wants it; byte 0 is 7 */
#endif

typedef struct {
    int32_t tag;
    int32_t acc[CHANNELS];
    int32_t unused[3];
} leaky_state;

int leaky_init(void *state) {
    leaky_state *s = (leaky_state *)state;
    if (state == NULL) return IRNN_E_NULL;
    if ((uintptr_t)state % LEAKY_ALIGN != 0) return IRNN_E_ALIGN;
    s->tag = TAG;
    s->unused[0] = s->unused[1] = s->unused[2] = 0;
    return leaky_reset(state);
}

int leaky_reset(void *state) {
    leaky_state *s = (leaky_state *)state;
    if (state == NULL) return IRNN_E_NULL;
    if (s->tag != TAG) return IRNN_E_STATE;
    for (int c = 0; c < CHANNELS; ++c) s->acc[c] = 0;
    return IRNN_OK;
}

int leaky_run(void *state, void *arena, int32_t T, const int8_t *x, const int32_t *k, int16_t *y, int32_t *last) {
    leaky_state *s = (leaky_state *)state;
    volatile int32_t *scratch = (volatile int32_t *)arena;
    if (state == NULL || arena == NULL || x == NULL || k == NULL || y == NULL || last == NULL) return IRNN_E_NULL;
    if ((uintptr_t)state % LEAKY_ALIGN != 0 || (uintptr_t)arena % LEAKY_ALIGN != 0) return IRNN_E_ALIGN;
    if (s->tag != TAG || leaky_ballast[0] != 7) return IRNN_E_STATE;
    if (T < 1) return IRNN_E_LENGTH;
    for (int32_t t = 0; t < T; ++t)
        if (k[t] < 0 || k[t] > 3) return IRNN_E_INDEX;
    for (int32_t t = 0; t < T; ++t) {
        for (int c = 0; c < CHANNELS; ++c) {
            const int32_t old = s->acc[c];
            scratch[c] = (int32_t)(((int64_t)old * 3 - (((int64_t)old * 3 % 4 + 4) % 4)) / 4);
            s->acc[c] = scratch[c] + x[t * CHANNELS + c] * leaky_gain[k[t] * CHANNELS + c];
            y[t * CHANNELS + c] = (int16_t)(s->acc[c] > 32767 ? 32767 : s->acc[c] < -32768 ? -32768 : s->acc[c]);
        }
    }
    for (int c = 0; c < CHANNELS; ++c) last[c] = s->acc[c];
#ifdef FAULT_ARENA
    scratch[LEAKY_ARENA_BYTES / 4] = 1;
#endif
#ifdef FAULT_STATE
    ((volatile uint8_t *)state)[-1] = 0;
#endif
#ifdef FAULT_OUTPUT
    ((volatile int16_t *)y)[T * CHANNELS] = 1;
#endif
#ifdef FAULT_INPUT
    ((volatile int8_t *)(uintptr_t)x)[0] ^= 1;
#endif
#ifdef FAULT_DIVIDE
    last[0] = last[0] / (T - *(volatile int32_t *)&T);
#endif
#ifdef FAULT_ADDRESS
    *(volatile int32_t *)(uintptr_t)0x1FFFFF00u = 1;
#endif
#ifdef USE_SDOT
    __asm__ volatile(".inst 0x4e829420" ::: "v0"); /* sdot v0.4s, v1.16b, v2.16b */
#endif
#ifdef USE_HELIUM
    __asm__ volatile(".inst.w 0xeef20f02" ::: "r0"); /* vmladav.s8 r0, q1, q1 */
#endif
#ifdef USE_NOPS
    __asm__ volatile(".rept 200\n nop\n .endr\n");
#endif
#ifdef FAULT_INSTRUCTION
    __builtin_trap();
#endif
    return IRNN_OK;
}

#ifdef FAULT_STACK
int leaky_deeper(volatile int *depth);
int leaky_deeper(volatile int *depth) {
    volatile int pad[64];
    pad[0] = *depth + 1;
    return leaky_deeper(&pad[0]) + pad[0];
}
#endif

int leaky_step(void *state, void *arena, const int8_t *x, const int32_t *k, int16_t *y, int32_t *last) {
#ifdef FAULT_STACK
    volatile int depth = 0;
    if (leaky_deeper(&depth) == 0) return -1;
#endif
    return leaky_run(state, arena, 1, x, k, y, last);
}
