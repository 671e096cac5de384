"""All instruction sets by name. Importing this module imports TVM."""

from __future__ import annotations

from .arm_dsp import ARM_DSP
from .armv7_neon import ARMV7_NEON
from .avx2 import AVX2
from .avx512 import AVX512
from .avx512_vnni import AVX512_VNNI
from .avx_vnni import AVX_VNNI
from .helium import HELIUM, HELIUM_ROWS
from .instruction_set import InstructionSet, lowering_for
from .neon import NEON
from .neon_dotprod import NEON_DOTPROD
from .neon_i8mm import NEON_I8MM

_ALL = (ARM_DSP, ARMV7_NEON, AVX2, AVX512, AVX512_VNNI, AVX_VNNI, HELIUM, NEON, NEON_DOTPROD, NEON_I8MM)
INSTRUCTION_SETS = {isa.name: isa for isa in _ALL}
_IN_C = {HELIUM_ROWS.name: HELIUM_ROWS}  # forms of others that C sources are written for

__all__ = ["INSTRUCTION_SETS", "get", "lowering_for"]


def get(name: str | None) -> InstructionSet | None:
    """The instruction set of this name; None for None, which stands for scalar code."""
    return None if name is None else (INSTRUCTION_SETS | _IN_C)[name]
