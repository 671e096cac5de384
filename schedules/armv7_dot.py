"""The loop of products of 32-bit NEON in assembly. LLVM moves its loads ahead until sums spill, whatever its scheduler.

A block of 8 rows has its sums in q8 to q15, q0 holds 16 activations, q1 to q4 the weights of four rows and q5 to q7
products. A row takes three instructions per 16 products; four rows share a load, so that 128 products take 27.
"""

from __future__ import annotations

from .assembly import function, halves

FROM_START, FROM_0 = "irnn_dot_8x16", "irnn_dot_8x16_from_0"
ROWS, GROUP = 8, 16
SUMS, WEIGHTS, ACTIVATIONS, GROUPS, BLOCKS, START = "r0", "r1", "r2", "r3", "r4", "r12"


def _group() -> list[str]:
    """Instructions that multiply 16 activations with 8 rows. Steps of different rows take turns, since each needs the
    result of the one before."""
    lines = [f"vld1.8 {{d0, d1}}, [{ACTIVATIONS}]!"]
    x = halves(0)
    for half in range(2):
        lines.append(f"vldmia {WEIGHTS}!, {{d2, d3, d4, d5, d6, d7, d8, d9}}")
        steps: list[tuple[int, str]] = []
        for row in range(4):
            w, product, total = halves(1 + row), 5 + row % 3, 8 + 4 * half + row
            steps += [
                (2 * row, f"vmull.s8 q{product}, {w[0]}, {x[0]}"),
                (2 * row + 3, f"vmlal.s8 q{product}, {w[1]}, {x[1]}"),
                (2 * row + 5, f"vpadal.s16 q{total}, q{product}"),
            ]
        # A stable sort: the product register of the first row is read before the fourth writes it.
        lines += [line for _, line in sorted(steps, key=lambda step: step[0])]
    return lines


def assembly(symbol: str) -> str:
    """void irnn_dot_8x16(int32_t sums[blocks][8], const int8_t weights[blocks][groups][8][16], const int8_t
    x[groups][16], int32_t groups, int32_t blocks, const int32_t start[blocks][8][4]): sums of products and of what they
    start with, in four parts; groups, blocks >= 1. irnn_dot_8x16_from_0 starts with 0 and has no last parameter."""
    once, all_sums = _group(), [f"q{8 + row}" for row in range(ROWS)]
    if symbol == FROM_START:
        begin = [f"vldmia {START}!, {{{', '.join(f'd{d}' for d in range(16, 32))}}}"]
    else:
        begin = [f"vmov.i32 {register}, #0" for register in all_sums]
    pairs = [f"vpadd.i32 d{row}, {', '.join(halves(8 + row))}" for row in range(ROWS)]
    rows = [f"vpadd.i32 d{n}, d{2 * n}, d{2 * n + 1}" for n in range(ROWS // 2)]
    lines = [
        "push {r4, r5, r6, lr}",
        "vpush {d8, d9, d10, d11, d12, d13, d14, d15}",
        f"ldr {BLOCKS}, [sp, #80]",
        *([f"ldr {START}, [sp, #84]"] if symbol == FROM_START else []),
        f"mov r5, {ACTIVATIONS}",
        f"mov r6, {GROUPS}",
        "0:",
        *begin,
        f"subs {GROUPS}, {GROUPS}, #2",
        "blt 2f",
        "1:",
        *once,
        *once,
        f"subs {GROUPS}, {GROUPS}, #2",
        "bge 1b",
        "2:",
        f"cmn {GROUPS}, #2",  # -2: none is left, -1: one
        "beq 3f",
        *once,
        "3:",
        *pairs,
        *rows,
        f"vstmia {SUMS}!, {{d0, d1, d2, d3}}",
        f"mov {ACTIVATIONS}, r5",
        f"mov {GROUPS}, r6",
        f"subs {BLOCKS}, {BLOCKS}, #1",
        "bne 0b",
        "vpop {d8, d9, d10, d11, d12, d13, d14, d15}",
        "pop {r4, r5, r6, pc}",
    ]
    return function(symbol, lines, (".code 32", ".fpu neon"), unwind=True)
