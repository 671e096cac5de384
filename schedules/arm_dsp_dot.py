"""The loop of products for the DSP instructions of ARMv7E-M and ARMv8-M in assembly: three instructions for four
products, where one that extends all weights takes four.

A word of weights holds two activations' weights of two rows a and b as int16 a + 256 b. One smlad adds both rows'
products to a sum S = A + 256 B, modulo 2**32; sxtb16 leaves the weights of a, and a second smlad adds to A. B is
(S - A) / 256 as long as it fits 24 bits, that is for 512 activations in any case: they are taken in parts.
"""

from __future__ import annotations

from .assembly import function

NAME = "irnn_dot_4x4"
ROWS, GROUP = 4, 4
PART = 512 // GROUP  # groups
UNROLL = 4
SUMS, WEIGHTS, ACTIVATIONS, GROUPS = "r0", "r1", "r2", "r3"
S01, A0, S23, A2 = "r10", "r11", "r12", "lr"


def _group() -> list[str]:
    """Instructions that multiply 4 activations with 4 rows."""
    lines = [f"ldrd r4, r5, [{ACTIVATIONS}], #8", f"ldm {WEIGHTS}!, {{r6, r7, r8, r9}}"]
    for pair, x in ((("r6", "r7"), "r4"), (("r8", "r9"), "r5")):
        for w, both, low in zip(pair, (S01, S23), (A0, A2), strict=True):
            lines += [f"smlad {both}, {w}, {x}, {both}", f"sxtb16 {w}, {w}", f"smlad {low}, {w}, {x}, {low}"]
    return lines


def assembly() -> str:
    """void irnn_dot_4x4(int32_t sums[blocks][4], const int16_t weights[blocks][groups][2][2][2], const int16_t
    x[groups][4], int32_t groups, int32_t blocks, const int32_t start[blocks][4]); groups, blocks >= 1, start may be
    null. Weights lie by pairs of activations, pairs of rows, activations."""
    once = _group()
    left, x, groups, blocks, start = "[sp]", "[sp, #4]", "[sp, #8]", "[sp, #48]", "[sp, #52]"
    lines = [
        "push {r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}",
        "0:",
        f"ldr r12, {start}",
        "movs r4, #0",
        "movs r5, #0",
        "movs r6, #0",
        "movs r7, #0",
        "cmp r12, #0",
        "beq 1f",
        "ldm r12!, {r4, r5, r6, r7}",
        f"str r12, {start}",
        "1:",
        "stm r0, {r4, r5, r6, r7}",
        "2:",  # a part
        f"subs r4, {GROUPS}, #{PART}",
        "ite gt",
        f"movgt {GROUPS}, #{PART}",
        "movle r4, #0",
        f"str r4, {left}",
        *(f"mov.w {register}, #0" for register in (S01, A0, S23, A2)),
        f"subs {GROUPS}, #{UNROLL}",
        "blt 4f",
        "3:",
        *once * UNROLL,
        f"subs {GROUPS}, #{UNROLL}",
        "bge.w 3b",
        "4:",
        f"adds {GROUPS}, #{UNROLL}",
        "beq 6f",
        "5:",
        *once,
        f"subs {GROUPS}, #1",
        "bne 5b",
        "6:",
        "ldm r0, {r4, r5, r6, r7}",
        f"sub {S01}, {S01}, {A0}",
        f"sub {S23}, {S23}, {A2}",
        f"add r4, {A0}",
        f"add r5, r5, {S01}, asr #8",
        f"add r6, {A2}",
        f"add r7, r7, {S23}, asr #8",
        "stm r0, {r4, r5, r6, r7}",
        f"ldr {GROUPS}, {left}",
        f"cmp {GROUPS}, #0",
        "bne.w 2b",
        "adds r0, #16",
        f"ldr {ACTIVATIONS}, {x}",
        f"ldr {GROUPS}, {groups}",
        f"ldr r4, {blocks}",
        "subs r4, #1",
        f"str r4, {blocks}",
        "bne.w 0b",
        "add sp, #12",
        "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}",
    ]
    return function(NAME, lines, (".thumb", ".thumb_func", ".syntax unified"))
