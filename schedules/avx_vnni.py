"""AVX-VNNI: vpdpbusd in the registers of AVX2 (Alder Lake, Zen 5 and later)."""

from __future__ import annotations

from .avx2 import Avx2
from .vnni import Vnni


class AvxVnni(Vnni, Avx2):
    name = "avx-vnni"


AVX_VNNI = AvxVnni()
