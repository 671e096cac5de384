/* Before the C file of a library for x86, whose `cpuid` and `xgetbv` are these: a CPU that a test makes up. The bits are
   those of the compiler's cpuid.h. */
#include <cpuid.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t last_leaf, last_leaf_of_7, last_extended, saved, words[5];
static int looked;

static const struct {
  const char *flag;
  int word;
  uint32_t bit;
} BITS[] = {
    {"pni", 0, bit_SSE3},           {"ssse3", 0, bit_SSSE3},        {"fma", 0, bit_FMA},
    {"cx16", 0, bit_CMPXCHG16B},    {"sse4_1", 0, bit_SSE4_1},      {"sse4_2", 0, bit_SSE4_2},
    {"movbe", 0, bit_MOVBE},        {"popcnt", 0, bit_POPCNT},      {"osxsave", 0, bit_OSXSAVE},
    {"avx", 0, bit_AVX},            {"f16c", 0, bit_F16C},          {"bmi1", 1, bit_BMI},
    {"avx2", 1, bit_AVX2},          {"bmi2", 1, bit_BMI2},          {"avx512f", 1, bit_AVX512F},
    {"avx512dq", 1, bit_AVX512DQ},  {"avx512cd", 1, bit_AVX512CD},  {"avx512bw", 1, bit_AVX512BW},
    {"avx512vl", 1, bit_AVX512VL},  {"avx512_vnni", 2, bit_AVX512VNNI}, {"avx_vnni", 3, bit_AVXVNNI},
    {"lahf_lm", 4, bit_LAHF_LM},    {"abm", 4, bit_LZCNT},
};

/* Nothing is known of this CPU yet. */
void pretend(uint32_t leaf, uint32_t leaf_of_7, uint32_t extended, uint32_t state) {
  last_leaf = leaf, last_leaf_of_7 = leaf_of_7, last_extended = extended, saved = state;
  memset(words, 0, sizeof words);
  looked = 0;
}

int has(const char *flag) {
  for (size_t i = 0; i < sizeof BITS / sizeof BITS[0]; ++i) {
    if (strcmp(flag, BITS[i].flag) == 0) {
      words[BITS[i].word] |= BITS[i].bit;
      return 1;
    }
  }
  return 0;
}

/* How often somebody looked, -1 after an instruction that would have trapped. */
int looks(void) { return looked; }

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4]) {
  looked += looked >= 0;
  /* Beyond the last leaf, Intel's CPUs answer with what the last one says: never 0. */
  r[0] = r[1] = r[2] = r[3] = 0xffffffffu;
  if (leaf == 0) {
    r[0] = last_leaf;
  } else if (leaf == 1 && last_leaf >= 1) {
    r[2] = words[0];
  } else if (leaf == 7 && last_leaf >= 7 && subleaf == 0) {
    r[0] = last_leaf_of_7, r[1] = words[1], r[2] = words[2];
  } else if (leaf == 7 && last_leaf >= 7 && subleaf == 1 && last_leaf_of_7 >= 1) {
    r[0] = words[3];
  } else if (leaf == 0x80000000u) {
    r[0] = last_extended;
  } else if (leaf == 0x80000001u && last_extended >= leaf) {
    r[2] = words[4];
  }
}

static uint32_t xgetbv(void) {
  if ((words[0] & bit_OSXSAVE) == 0) {
    looked = -1;
  }
  return saved;
}
