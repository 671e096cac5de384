"""Formulas over whole rows once more, in plain Python integers; see scalar.py."""

from __future__ import annotations

from scalar import rescale, rs


def newton_reciprocal(v: int) -> tuple[int, int]:
    """(r, shift) with 1/v ~= r / 2**shift."""
    e = v.bit_length() - 1
    m = v << (30 - e) if e <= 30 else v >> (e - 30)
    r = 1515870810 - ((1010580540 * m) >> 31)
    for _ in range(3):
        r = (r * (2**31 - ((m * r + 2**29) >> 30)) + 2**29) >> 30
    return r, 30 + e


def newton_rsqrt(v: int) -> tuple[int, int]:
    """(r, shift) with 1/sqrt(v) ~= r / 2**shift."""
    e = (v.bit_length() - 1) // 2 * 2
    m = v << (30 - e) if e <= 30 else v >> (e - 30)
    r = 1145023540 - ((163574791 * m) >> 30)
    for _ in range(4):
        t = (r * r + 2**29) >> 30
        r = (r * (3 * 2**30 - ((t * m + 2**29) >> 30)) + 2**30) >> 31
    return r, 30 + e // 2


def units(kind: str, x: list[int], eps: int) -> list[int]:
    """Normalised values with 16 fraction bits."""
    n, total = len(x), sum(x)
    d = [n * v - total for v in x]
    if kind == "layer":
        r, shift = newton_rsqrt(n * sum(v * v for v in x) - total * total + eps)
        return [rs(v * r, shift - 16) for v in d]
    bits = (n - 1).bit_length()
    r, shift = newton_reciprocal(sum(abs(v) for v in d) + eps)
    return [rs(v * ((r * n) >> bits), max(shift - bits - 16, 1)) for v in d]


def norm(
    kind: str, x: list[int], gamma: list[int], beta: list[int], eps: int, shift: int, zp: int, bits: int
) -> list[int]:
    return [
        rescale(u * g + (b << 16), shift, zp, bits)
        for u, g, b in zip(units(kind, x, eps), gamma, beta, strict=True)
    ]


def mean(x: list[int], in_zp: int, mult: int, shift: int, out_zp: int, bits: int) -> int:
    r, scale = newton_reciprocal(len(x))
    return rescale(sum(v - in_zp for v in x) * rs(mult * r, 30), shift + scale - 30, out_zp, bits)


def average(x: list[int], at: int, kernel: int, in_zp: int, mult: int, shift: int, zp: int, bits: int) -> int:
    """Of the window that starts at `at`, which may lie outside."""
    total = sum(x[i] - in_zp for i in range(at, at + kernel) if 0 <= i < len(x))
    return rescale(total * mult, shift, zp, bits)


def order(x: list[int]) -> list[int]:
    """Indices from the largest value to the smallest, equal values in their own order."""
    return sorted(range(len(x)), key=lambda i: (-x[i], i))
