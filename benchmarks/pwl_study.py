"""How well piecewise-linear tables follow the functions of recurrent networks, beside uniform knots and lookup tables.

One row is one function, range, width and number of pieces; errors are in output LSBs against the function, which is not
rounded. README.md in this folder explains the keys. Deterministic: the same rows on every machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from irnn_tvm.pwl import FUNCTIONS, fit, plot
from irnn_tvm.pwl.study import METHODS, bell, errors, gain_limit, table_bytes

COLUMNS = (*METHODS, "lookup")
PIECES = (4, 8, 16, 32, 64)
BITS = (8, 16)
# Ranges beside those that quantization uses.
ALSO = {"sigmoid": (8.0,), "tanh": (8.0,)}
# Deviation of the pre-activations in the weighted rows, relative to the range.
BELL = 0.25
FIGURES = (("sigmoid", 8, 16), ("tanh", 16, 16), ("gelu", 16, 8))
ROOT = Path(__file__).resolve().parents[1]


def rows(functions: list[str], bits: list[int], pieces: list[int]) -> Iterator[dict[str, Any]]:
    """All rows of the study, weighted ones for sigmoid and tanh at the end of each function."""
    for name in functions:
        cases = [(b, limit, False) for limit in (None, *ALSO.get(name, ())) for b in bits]
        cases += [(b, None, True) for b in bits if name in ALSO]
        for b, limit, weighted in cases:
            inp, out = FUNCTIONS[name].grids(b, limit)
            fn = FUNCTIONS[name].fn
            for count in pieces:
                start = time.process_time()
                fit(fn, count, inp, out)
                seconds = time.process_time() - start
                yield {
                    "bench": "pwl_study",
                    "function": name,
                    "low": round(float(inp.dequantize(inp.qmin)), 4),
                    "high": round(float(inp.dequantize(inp.qmax)), 4),
                    "usual_range": limit is None,
                    "bits": b,
                    "pieces": count,
                    "weighted": weighted,
                    "gain_limit": None if weighted else gain_limit(fn, inp),
                    "fit_cpu_s": seconds,
                    "bytes": table_bytes(count),
                    "lookup_bytes": (1 << b) * b // 8,
                    **errors(fn, count, inp, out, bell(inp, BELL) if weighted else None),
                }


def goals(found: list[dict[str, Any]]) -> list[str]:
    """What the rows say about the two goals of the study."""
    gates = [r for r in found if r["function"] in ALSO and not r["weighted"]]
    sixteen = [r for r in gates if r["pieces"] == 16 and r["bits"] == 8]
    worst = {m: max(sixteen, key=itemgetter(f"{m}_max")) for m in METHODS}
    best = worst["adaptive"]
    lines = [
        "- Goal: 16 pieces within 1 LSB at 8 bits for sigmoid and tanh, over the ranges of quantization and over "
        f"-8..8. **{_reached(best['adaptive_max'] <= 1.0)}**: the largest error is {best['adaptive_max']:.2f} LSB "
        f"({best['function']} on {_range(best)}); greedy knots come to {worst['greedy']['greedy_max']:.2f} and uniform "
        f"ones to {worst['uniform']['uniform_max']:.2f}.",
        "- Goal: a mean error at least 2x smaller than with uniform knots at equal pieces. The ratios for "
        f"{', '.join(map(str, PIECES))} pieces, and the limit of any choice of knots (below):\n",
        f"  | function | bits | range | {' | '.join(map(str, PIECES))} | limit | 2x |",
        f"  |---|---|---|{'---|' * len(PIECES)}---|---|",
    ]
    for function, bits, span in dict.fromkeys((r["function"], r["bits"], _range(r)) for r in gates):
        mine = [r for r in gates if (r["function"], r["bits"], _range(r)) == (function, bits, span)]
        ratios = [r["uniform_mean"] / r["adaptive_mean"] for r in mine]
        cells = [
            function,
            str(bits),
            span,
            *(f"{ratio:.2f}" for ratio in ratios),
            f"{mine[0]['gain_limit']:.2f}",
        ]
        cells.append(_reached(min(ratios) >= 2.0, max(ratios) >= 2.0))
        lines.append("  | " + " | ".join(cells) + " |")
    return lines


def _reached(all_of_them: bool, some: bool = False) -> str:
    return "reached" if all_of_them else "reached in part" if some else "missed"


def _range(row: dict[str, Any]) -> str:
    return f"{row['low']:.4g}..{row['high']:.4g}"


def markdown(found: list[dict[str, Any]]) -> str:
    """docs/pwl.md."""
    text = [HEAD, "## What was reached\n", *goals(found), "", REACHED]
    for name in FUNCTIONS:
        text.append(f"\n## {name}\n")
        text.append(f"{FUNCTIONS[name].note[0].upper()}{FUNCTIONS[name].note[1:]}.\n")
        text += _table([r for r in found if r["function"] == name and not r["weighted"]])
    text.append(WEIGHTED)
    text += _table([r for r in found if r["weighted"]], named=True)
    text.append(tail(found))
    return "\n".join(text)


def _table(found: list[dict[str, Any]], named: bool = False) -> list[str]:
    head = ["function"] if named else []
    head += ["bits", "range", "pieces", "adaptive", "greedy", "uniform", "lookup", "uniform / adaptive"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in found:
        cells = [row["function"]] if named else []
        cells += [str(row["bits"]), _range(row), str(row["pieces"])]
        cells += [f"{_text(row[f'{m}_max'])}, {_text(row[f'{m}_mean'])}" for m in COLUMNS]
        cells.append(f"{row['uniform_mean'] / row['adaptive_mean']:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _text(error: float) -> str:
    return f"{error:.2f}" if error < 100 else f"{error:.0f}"


HEAD = """# Piecewise-linear tables, measured

Written by `python benchmarks/pwl_study.py --markdown --plot docs/figures`; change that script, not this page.

A table has P pieces, each a knot, an int16 slope and an int16 value ([numerics](numerics.md), "pwl"). Errors are in
output LSBs against the function rounded nowhere: an entry is the **largest, mean** absolute error over all inputs of
the grid. Input and output have the same width.

| column | how the knots are chosen |
|---|---|
| adaptive | `irnn_tvm.pwl.fit`, what quantization uses: dynamic programming over runs of inputs |
| greedy | `irnn_tvm.pwl.greedy`, the iRNN paper's: of a knot per input the cheapest goes until P pieces are left |
| uniform | `irnn_tvm.pwl.uniform`: pieces of equal length |
| lookup | `irnn_tvm.pwl.lookup`: no pieces, an entry for every input; the smallest error there is |

All three kinds of knots get the same lines, fitted by least squares with integers chosen for the least error after
rounding, so that the columns differ by their knots alone.

![tanh at 16 bits, 16 pieces: curve, knots and error](figures/tanh_16bit_16.png)
"""

REACHED = """
The limit: a piece of length h is off by |f''| h^2, so that the best length goes with |f''|^(-1/3), and for many pieces
the means with uniform and with the best knots stand as W^2 int |f''| to (int |f''|^(1/3))^3 over a range of width W,
before anything is rounded. Where that is below 2, no choice of knots meets the goal for many pieces: the range holds
too little that is flat. That is the case for sigmoid on -8..8, and for both functions on the narrow ranges of 8 bits.
At 8 bits the rounding of the output hides differences as well: no table has a mean error below that of the lookup
table, which is all but reached with 16 pieces. Data that is not spread evenly raises the ratio (weighted
rows below). A table also keeps within the values of its function, so that no sigmoid or exponential is negative; with
4 and 8 pieces that costs some accuracy where the function is cut off before it is flat (sigmoid on -8..8).
"""

WEIGHTED = f"""
## Where the data is

Inputs that are normally distributed around 0, as gates see them, with a standard deviation of {BELL:g} of the range.
The histogram weighs the fit of all tables and the mean error.
"""


def tail(found: list[dict[str, Any]]) -> str:
    """Size and time, the latter as measured here."""
    slowest = max(found, key=itemgetter("fit_cpu_s"))
    return f"""
## Size and time

A table of P pieces takes 6 P bytes of flash, P rounded up to a power of two: 96 B with 16 pieces, 192 B with 32, the
default. A lookup table takes 256 B from 8 to 8 bits and 128 KiB from 16 to 16 bits. Fitting took at most
{slowest["fit_cpu_s"]:.2f} s of CPU time on the machine that wrote this page.

![sigmoid at 8 bits, 16 pieces](figures/sigmoid_8bit_16.png)
![gelu at 16 bits, 8 pieces](figures/gelu_16bit_8.png)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--function", action="append", choices=list(FUNCTIONS), help="default: all")
    parser.add_argument("--bits", action="append", type=int, choices=BITS, help="default: 8 and 16")
    parser.add_argument("--pieces", action="append", type=int, help=f"default: {PIECES}")
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    parser.add_argument("--markdown", action="store_true", help="write docs/pwl.md from the full study")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="write figures")
    options = parser.parse_args()
    if options.markdown and (options.function or options.bits or options.pieces):
        parser.error("docs/pwl.md holds the full study: --markdown takes no selection")
    found = []
    for row in rows(
        options.function or list(FUNCTIONS), options.bits or list(BITS), options.pieces or list(PIECES)
    ):
        found.append(row)
        if options.json:
            print(json.dumps(row), flush=True)
        elif not options.markdown:
            print(
                f"{row['function']:8} {_range(row):16} {row['bits']:2} bits {row['pieces']:3} pieces "
                f"{'weighted' if row['weighted'] else '':8}"
                + "".join(f"  {m} {_text(row[f'{m}_max'])}, {_text(row[f'{m}_mean'])}" for m in COLUMNS),
                flush=True,
            )
    if options.markdown:
        (ROOT / "docs" / "pwl.md").write_text(markdown(found), encoding="utf-8")
    if options.plot is not None:
        options.plot.mkdir(parents=True, exist_ok=True)
        for name, bits, pieces in FIGURES:
            fn, (inp, out) = FUNCTIONS[name].fn, FUNCTIONS[name].grids(bits)
            path = options.plot / f"{name}_{bits}bit_{pieces}.png"
            plot(fit(fn, pieces, inp, out), fn, inp, out, path, f"{name}, {bits} bits")


if __name__ == "__main__":
    main()
