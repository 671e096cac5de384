"""DSP instructions of ARMv7E-M and ARMv8-M (Cortex-M4, M7, M33): products by a routine (arm_dsp_dot.py), the rest one
row after the other."""

from __future__ import annotations

import numpy as np
from tvm.tirx.script import builder as T

from . import arm_dsp_c, arm_dsp_dot, arm_dsp_widen
from .instruction_set import Expr, InstructionSet


class ArmDsp(InstructionSet):
    name = "arm-dsp"
    register_bytes = 4
    tiles = (4,)
    rows = 64
    block = 4
    vectors = 1
    shared = 4
    lowest_weight = -127  # a + 256 b of two weights fits int16
    routine_rows = arm_dsp_dot.ROWS
    planes = 1
    plane_bits = 16
    ahead = False

    def call_planes(self, planes: Expr, activations: Expr, depth: int) -> Expr | None:
        return T.call_extern("int32", arm_dsp_widen.NAME, planes, activations, T.int32(depth))

    def pack_block(self, rows: np.ndarray) -> np.ndarray:
        shape = (*rows.shape[:-2], 2, 2, 2, 2)  # pairs of rows, rows, pairs of activations, activations
        both = rows.astype(np.int16).reshape(shape)
        words = both[..., 0, :, :] + 256 * both[..., 1, :, :]
        ordered = np.ascontiguousarray(np.swapaxes(words, -3, -2), dtype="<i2")
        return ordered.reshape(*rows.shape[:-2], 8).view(np.int8)

    def call_routine(
        self, sums: Expr, weights: Expr, activations: Expr, depth: int, blocks: int, start: Expr | None
    ) -> Expr:
        first = T.reinterpret("handle", T.uint64(0)) if start is None else start
        groups = T.int32(depth // self.group)
        arguments = (sums, weights, activations, groups, T.int32(blocks), first)
        return T.call_extern("int32", arm_dsp_dot.NAME, *arguments)

    def c_routines(self) -> dict[str, str]:
        return {arm_dsp_dot.NAME: arm_dsp_c.DOT, arm_dsp_widen.NAME: arm_dsp_c.WIDEN}

    def assembly(self) -> dict[str, str]:
        return {arm_dsp_dot.NAME: arm_dsp_dot.assembly(), arm_dsp_widen.NAME: arm_dsp_widen.assembly()}


ARM_DSP = ArmDsp()
