"""Activations as arm_dsp_dot.py multiplies them, int16, in assembly: LLVM writes such loops out, element by element."""

from __future__ import annotations

from .assembly import function

NAME = "irnn_widen"


def assembly() -> str:
    """void irnn_widen(int16_t out[groups][4], const int8_t x[depth], int32_t depth): zeros at the end; depth >= 1."""
    lines = [
        "push {r4, lr}",
        "subs r2, #4",
        "blt 2f",
        "1:",
        "ldr r3, [r1], #4",
        "sxtb16 r12, r3",
        "sxtb16 r3, r3, ror #8",
        "pkhbt r4, r12, r3, lsl #16",
        "pkhtb r3, r3, r12, asr #16",
        "strd r4, r3, [r0], #8",
        "subs r2, #4",
        "bge 1b",
        "2:",
        "adds r2, #4",
        "beq 4f",
        "movs r3, #0",
        "strd r3, r3, [r0]",
        "3:",
        "ldrsb r3, [r1], #1",
        "strh r3, [r0], #2",
        "subs r2, #1",
        "bne 3b",
        "4:",
        "pop {r4, pc}",
    ]
    return function(NAME, lines, (".thumb", ".thumb_func", ".syntax unified"))
