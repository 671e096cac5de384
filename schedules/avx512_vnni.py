"""AVX-512 with VNNI: vpdpbusd on 16 rows (Cascade Lake, Ice Lake, Zen 4 and later)."""

from __future__ import annotations

from .avx512 import Avx512Registers
from .vnni import Vnni


class Avx512Vnni(Vnni, Avx512Registers):
    name = "avx512-vnni"
    vectors = 4
    shared = 4


AVX512_VNNI = Avx512Vnni()
