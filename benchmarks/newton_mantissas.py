"""Every mantissa through the integer reciprocal and reciprocal square root: the error bounds of docs/numerics.md.

python benchmarks/newton_mantissas.py              all 2**30 and 3 * 2**30 of them, about half an hour on a core
python benchmarks/newton_mantissas.py --every 64   one in 64
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import torch
from torch import Tensor

from irnn_tvm.ops.normalize import integer_reciprocal, integer_rsqrt

CHUNK = 1 << 22


def survey(
    invert: Callable[[Tensor], tuple[Tensor, Tensor]], first: int, last: int, every: int
) -> tuple[int, int, float]:
    """Smallest and largest result, and largest relative error, over the mantissas in [first, last)."""
    low, high, worst = 1 << 62, 0, 0.0
    power = 1 if invert is integer_reciprocal else 2
    for start in range(first, last, CHUNK * every):
        m = torch.arange(start, min(start + CHUNK * every, last), every, dtype=torch.int64)
        r, shift = invert(m)
        # (1 + error)**power, in float64: its own rounding is 2**-52.
        product = m.double() * (r.double() * torch.exp2(-shift.double())) ** power
        worst = max(worst, float((product - 1.0).abs().max()) / power)
        low, high = min(low, int(r.min())), max(high, int(r.max()))
    return low, high, worst


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try one mantissa in N")
    every = parser.parse_args().every
    for name, invert, last in (
        ("reciprocal", integer_reciprocal, 1 << 31),
        ("rsqrt", integer_rsqrt, 1 << 32),
    ):
        low, high, worst = survey(invert, 1 << 30, last, every)
        bound = f"2**{math.log2(worst):.2f}"
        print(
            f"{name}: r in 2**29 + {low - (1 << 29)} .. 2**30 + {high - (1 << 30)}, relative error up to {bound}"
        )


if __name__ == "__main__":
    main()
