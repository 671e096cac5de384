"""C code that looks at what an x86 CPU can do, and which bits of that stand for the flags of /proc/cpuinfo."""

from __future__ import annotations

from collections.abc import Iterable

from irnn_tvm.errors import BuildError

# The instructions, and what is made of them: apart, so that tests can pretend other CPUs.
INSTRUCTIONS = """\
static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4]) {
  __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(subleaf));
}

/* Registers that the operating system saves when it changes threads. */
static uint32_t xgetbv(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}
"""

LOOK = """\
/* What there is: leaf 1 ECX, leaf 7 EBX and ECX, leaf 7.1 EAX, leaf 0x80000001 ECX, and what xgetbv says. */
enum { WORDS = 6 };

static void look(uint32_t found[WORDS]) {
  uint32_t r[4], last;
  for (int i = 0; i < WORDS; ++i) {
    found[i] = 0;
  }
  cpuid(0, 0, r);
  last = r[0];
  if (last >= 1) {
    cpuid(1, 0, r);
    found[0] = r[2];
    if ((r[2] & 0x8000000u) != 0) { /* without OSXSAVE, xgetbv is an illegal instruction */
      found[5] = xgetbv();
    }
  }
  if (last >= 7) {
    cpuid(7, 0, r);
    found[1] = r[1];
    found[2] = r[2];
    if (r[0] >= 1) {
      cpuid(7, 1, r);
      found[3] = r[0];
    }
  }
  cpuid(0x80000000u, 0, r);
  if (r[0] >= 0x80000001u) {
    cpuid(0x80000001u, 0, r);
    found[4] = r[2];
  }
}
"""

WORDS = 6
# Word and bit of each flag.
BITS = {
    **{"pni": (0, 0), "ssse3": (0, 9), "fma": (0, 12), "cx16": (0, 13), "sse4_1": (0, 19), "sse4_2": (0, 20)},
    **{"movbe": (0, 22), "popcnt": (0, 23), "avx": (0, 28), "f16c": (0, 29)},
    **{"bmi1": (1, 3), "avx2": (1, 5), "bmi2": (1, 8), "avx512f": (1, 16), "avx512dq": (1, 17)},
    **{"avx512cd": (1, 28), "avx512bw": (1, 30), "avx512vl": (1, 31)},
    **{"avx512_vnni": (2, 11), "avx_vnni": (3, 4), "lahf_lm": (4, 0), "abm": (4, 5)},
}
_SAVED, _OSXSAVE = 5, 1 << 27
# Registers of SSE and AVX; those of AVX-512 and its masks, too.
_AVX_STATE, _AVX512_STATE = 0x6, 0xE6


def needs(flags: Iterable[str]) -> list[int]:
    """Bits that must be set in each word that `look` finds, on a CPU with these flags of /proc/cpuinfo."""
    masks = [0] * WORDS
    for flag in flags:
        if flag not in BITS:
            raise BuildError(f"compiler/cpuid.py does not know where a CPU says that it has {flag}")
        word, bit = BITS[flag]
        masks[word] |= 1 << bit
        if flag.startswith(("avx", "fma", "f16c")):
            masks[0] |= _OSXSAVE
            masks[_SAVED] |= _AVX512_STATE if flag.startswith("avx512") else _AVX_STATE
    return masks
