"""The loop of products for Helium (MVE) in assembly: LLVM keeps fewer sums, and moves its loads away from what needs
them.

A row's 16 products and their sum are one vmladav, whose result is a general register with an even number: 8 of them, so
that 8 rows share a load of activations. What is behind the last activation is not read (vctp).
"""

from __future__ import annotations

from .assembly import function

NAME = "irnn_dot_8x16"
ROWS, GROUP = 8, 16
UNROLL = 4
SUMS = ("r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr")
WEIGHTS, ACTIVATIONS, COUNT = "r1", "r3", "r5"


def _rows() -> list[str]:
    """Instructions that multiply the activations in q0 with all rows. Loads and products take turns, since the core
    works on one of each at a time."""
    lines = []
    for row, total in enumerate(SUMS):
        lines += [f"vldrb.u8 q{1 + row % 3}, [{WEIGHTS}], #16", f"vmlava.s8 {total}, q0, q{1 + row % 3}"]
    # The load of a row comes before the product of the one before.
    for n in range(1, len(lines) - 1, 2):
        lines[n], lines[n + 1] = lines[n + 1], lines[n]
    return lines


def assembly() -> str:
    """void irnn_dot_8x16(int32_t sums[blocks][8], const int8_t weights[blocks][groups][8][16], const int8_t x[depth],
    int32_t depth, int32_t blocks, const int32_t start[blocks][8]); depth, blocks >= 1, start may be null; weights
    behind the last activation are not used, but read."""
    once = [f"vldrb.u8 q0, [{ACTIVATIONS}], #16", *_rows()]
    sums = f"{{{', '.join(SUMS)}}}"
    out, x, depth, blocks, start = "[sp]", "[sp, #4]", "[sp, #8]", "[sp, #48]", "[sp, #52]"
    lines = [
        "push {r0, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}",
        "mov r7, r3",
        "0:",
        f"ldr r9, {start}",
        *(f"mov.w {total}, #0" for total in SUMS),
        "cmp.w r9, #0",
        "beq 1f",
        f"ldm r9!, {sums}",
        f"str r9, {start}",
        "1:",
        f"ldr {ACTIVATIONS}, {x}",
        f"lsrs {COUNT}, r7, #4",
        f"subs {COUNT}, #{UNROLL}",
        "blt 3f",
        "2:",
        *once * UNROLL,
        f"subs {COUNT}, #{UNROLL}",
        "bge.w 2b",
        "3:",
        f"adds {COUNT}, #{UNROLL}",
        "beq 5f",
        "4:",
        *once,
        f"subs {COUNT}, #1",
        "bne 4b",
        "5:",
        f"ands {COUNT}, r7, #15",
        "beq 6f",
        f"vctp.8 {COUNT}",
        "vpst",
        f"vldrbt.u8 q0, [{ACTIVATIONS}]",  # the others are 0
        *_rows(),
        "6:",
        f"ldr r9, {out}",
        f"stm r9!, {sums}",
        f"str r9, {out}",
        f"ldr r9, {blocks}",
        "subs.w r9, r9, #1",
        f"str r9, {blocks}",
        "bne.w 0b",
        "add sp, #12",
        "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}",
    ]
    del depth
    return function(NAME, lines, (".thumb", ".thumb_func", ".syntax unified"))
