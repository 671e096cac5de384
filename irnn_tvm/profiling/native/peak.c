/* int8 multiply-accumulates of the kernels' instructions without any load: `PEAK_<name>` selects the instruction set.
   Every line of a body is one register of weights against one of activations, into accumulators that do not wait for each
   other (schedules/<name>.py: dot). */
#include <stdint.h>

#define EIGHT(line) line("0") line("1") line("2") line("3") line("4") line("5") line("6") line("7")

#if defined(PEAK_AVX2)
/* Signs of activations in ymm8, their sizes in ymm9, ones in ymm10, weights in ymm11. */
#define PRODUCT(n)                                 \
  "vpxor %%ymm8, %%ymm11, %%ymm12\n\t"             \
  "vpmaddubsw %%ymm12, %%ymm9, %%ymm12\n\t"        \
  "vpmaddwd %%ymm10, %%ymm12, %%ymm12\n\t"         \
  "vpaddd %%ymm12, %%ymm" n ", %%ymm" n "\n\t"
enum { MACS = 8 * 32 };
#define BODY EIGHT(PRODUCT)
#define CLOBBERS "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm12"
#elif defined(PEAK_AVX512)
/* As with AVX2, in wide registers. */
#define PRODUCT(n)                                 \
  "vpxord %%zmm8, %%zmm11, %%zmm12\n\t"            \
  "vpmaddubsw %%zmm12, %%zmm9, %%zmm12\n\t"        \
  "vpmaddwd %%zmm10, %%zmm12, %%zmm12\n\t"         \
  "vpaddd %%zmm12, %%zmm" n ", %%zmm" n "\n\t"
enum { MACS = 8 * 64 };
#define BODY EIGHT(PRODUCT)
#define CLOBBERS "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm12"
#elif defined(PEAK_AVX512_VNNI)
#define LOW(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm" n "\n\t"
#define HIGH(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm1" n "\n\t"
enum { MACS = 16 * 64 };
#define BODY EIGHT(LOW) EIGHT(HIGH)
#define CLOBBERS                                                                                             \
  "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm10", "zmm11", "zmm12", "zmm13",        \
    "zmm14", "zmm15", "zmm16", "zmm17"
#elif defined(PEAK_AVX_VNNI)
#define PRODUCT(n) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" n "\n\t"
enum { MACS = 12 * 32 };
#define BODY EIGHT(PRODUCT) PRODUCT("8") PRODUCT("9") PRODUCT("10") PRODUCT("11")
#define CLOBBERS                                                                                             \
  "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11"
#elif defined(PEAK_NEON_DOTPROD) || defined(PEAK_NEON_I8MM)
#if defined(PEAK_NEON_I8MM)
#define PRODUCT(register) "smmla v" register ".4s, v30.16b, v31.16b\n\t"
enum { MACS = 16 * 32 };
#else
#define PRODUCT(register) "sdot v" register ".4s, v30.16b, v31.4b[0]\n\t"
enum { MACS = 16 * 16 };
#endif
#define BODY                                                                                                 \
  EIGHT(PRODUCT) PRODUCT("8") PRODUCT("9") PRODUCT("10") PRODUCT("11") PRODUCT("12") PRODUCT("13")           \
  PRODUCT("14") PRODUCT("15")
#define CLOBBERS                                                                                             \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15"
#elif defined(PEAK_NEON)
/* In phases, so that a core which takes instructions in order need not wait for a product. */
#define FIRST(n) "smull v2" n ".8h, v30.8b, v31.8b\n\t"
#define SECOND(n) "smlal2 v2" n ".8h, v30.16b, v31.16b\n\t"
#define THIRD(n) "sadalp v" n ".4s, v2" n ".8h\n\t"
enum { MACS = 8 * 16 };
#define BODY EIGHT(FIRST) EIGHT(SECOND) EIGHT(THIRD)
#define CLOBBERS                                                                                             \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27"
#elif defined(PEAK_ARMV7_NEON)
#define SIX(line) line("0", "8") line("1", "9") line("2", "10") line("3", "11") line("4", "12") line("5", "13")
#define FIRST(n, t) "vmull.s8 q" t ", d28, d30\n\t"
#define SECOND(n, t) "vmlal.s8 q" t ", d29, d31\n\t"
#define THIRD(n, t) "vpadal.s16 q" n ", q" t "\n\t"
enum { MACS = 6 * 16 };
#define BODY SIX(FIRST) SIX(SECOND) SIX(THIRD)
#define CLOBBERS "q0", "q1", "q2", "q3", "q4", "q5", "q8", "q9", "q10", "q11", "q12", "q13"
#else
#error "no instruction set was selected"
#endif

/* Returns how many products were made. What is in the registers does not matter: these instructions take the same time
   whatever they multiply. */
int64_t irnn_peak(int32_t iterations) {
  for (int32_t i = 0; i < iterations; ++i) __asm__ volatile(BODY : : : CLOBBERS);
  return (int64_t)iterations * MACS;
}
