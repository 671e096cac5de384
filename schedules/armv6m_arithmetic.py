"""Arithmetic that ARMv6-M (Cortex-M0, M0+) has no instructions for, in assembly: products and shifts of 64 bits, and
division. LLVM calls functions for it that a compiler's library would have to bring; these stand in their place."""

from __future__ import annotations

from .assembly import function

# By the name that LLVM calls: the name here.
NAMES = {
    "__muldi3": "irnn_mul64",
    "__aeabi_lmul": "irnn_mul64",
    "__ashldi3": "irnn_shl64",
    "__aeabi_llsl": "irnn_shl64",
    "__lshrdi3": "irnn_lshr64",
    "__aeabi_llsr": "irnn_lshr64",
    "__ashrdi3": "irnn_ashr64",
    "__aeabi_lasr": "irnn_ashr64",
    "__udivsi3": "irnn_udiv32",
    "__aeabi_uidiv": "irnn_udiv32",
    "__divsi3": "irnn_sdiv32",
    "__aeabi_idiv": "irnn_sdiv32",
}
# The low half of a 64-bit value is in r0 (r2), the high one in r1 (r3). Shifts by a register take its lowest byte, and
# by 32 and more leave nothing: what is shifted by a negative number disappears.
_LINES = {
    # int64_t irnn_mul64(int64_t a, int64_t b): r0 r2 + 2**32 (r0 r3 + r1 r2), the first from four products of halves.
    "irnn_mul64": [
        "push {r4, r5, lr}",
        "muls r1, r2, r1",
        "muls r3, r0, r3",
        "adds r1, r1, r3",
        "lsrs r3, r0, #16",
        "lsrs r4, r2, #16",
        "uxth r0, r0",
        "uxth r2, r2",
        "mov r5, r0",
        "muls r5, r2, r5",
        "muls r0, r4, r0",
        "muls r2, r3, r2",
        "muls r3, r4, r3",
        "adds r1, r1, r3",
        "movs r3, #0",
        "adds r0, r0, r2",
        "adcs r3, r3",
        "lsls r3, r3, #16",
        "adds r1, r1, r3",
        "lsrs r3, r0, #16",
        "adds r1, r1, r3",
        "lsls r0, r0, #16",
        "movs r3, #0",
        "adds r0, r0, r5",
        "adcs r1, r3",
        "pop {r4, r5, pc}",
    ],
    # int64_t irnn_shl64(int64_t a, int32_t n), 0 <= n < 64
    "irnn_shl64": [
        "lsls r1, r2",
        "mov r12, r0",
        "mov r3, r0",
        "lsls r0, r2",
        "subs r2, #32",
        "lsls r3, r2",
        "orrs r1, r3",
        "rsbs r2, r2, #0",
        "mov r3, r12",
        "lsrs r3, r2",
        "orrs r1, r3",
        "bx lr",
    ],
    # uint64_t irnn_lshr64(uint64_t a, int32_t n), 0 <= n < 64
    "irnn_lshr64": [
        "lsrs r0, r2",
        "mov r12, r1",
        "mov r3, r1",
        "lsrs r1, r2",
        "subs r2, #32",
        "lsrs r3, r2",
        "orrs r0, r3",
        "rsbs r2, r2, #0",
        "mov r3, r12",
        "lsls r3, r2",
        "orrs r0, r3",
        "bx lr",
    ],
    # int64_t irnn_ashr64(int64_t a, int32_t n), 0 <= n < 64
    "irnn_ashr64": [
        "lsrs r0, r2",
        "mov r3, r1",
        "asrs r1, r2",
        "subs r2, #32",
        "bmi 1f",
        "asrs r3, r2",
        "mov r0, r3",
        "bx lr",
        "1:",
        "rsbs r2, r2, #0",
        "lsls r3, r2",
        "orrs r0, r3",
        "bx lr",
    ],
    # uint32_t irnn_udiv32(uint32_t a, uint32_t b), 0 < b < 2**31: a bit of the quotient at a time
    "irnn_udiv32": [
        "movs r3, #0",
        "movs r2, #32",
        "1:",
        "adds r0, r0, r0",
        "adcs r3, r3",
        "cmp r3, r1",
        "blo 2f",
        "subs r3, r3, r1",
        "adds r0, #1",
        "2:",
        "subs r2, #1",
        "bne 1b",
        "bx lr",
    ],
    # int32_t irnn_sdiv32(int32_t a, int32_t b), b != 0, towards 0
    "irnn_sdiv32": [
        "push {r4, lr}",
        "mov r4, r0",
        "eors r4, r1",
        "cmp r0, #0",
        "bge 1f",
        "rsbs r0, r0, #0",
        "1:",
        "cmp r1, #0",
        "bge 2f",
        "rsbs r1, r1, #0",
        "2:",
        "bl irnn_udiv32",
        "cmp r4, #0",
        "bge 3f",
        "rsbs r0, r0, #0",
        "3:",
        "pop {r4, pc}",
    ],
}


def assembly(symbol: str) -> str:
    """The text of one of them; that of a signed division holds the unsigned one, too, unless `symbol` is that."""
    return function(symbol, _LINES[symbol], (".thumb", ".thumb_func", ".syntax unified"))


def symbols() -> tuple[str, ...]:
    """All of them."""
    return tuple(_LINES)
