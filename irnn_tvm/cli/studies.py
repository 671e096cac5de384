"""`irnn-tvm pwl` and `irnn-tvm demo`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from irnn_tvm.cli.root import command
from irnn_tvm.terminal import show


class Function(StrEnum):
    """Functions of the piecewise-linear study (irnn_tvm.pwl.FUNCTIONS)."""

    sigmoid = "sigmoid"
    tanh = "tanh"
    exp = "exp"
    rsqrt = "rsqrt"
    gelu = "gelu"


@command(
    "irnn-tvm pwl --function sigmoid --pieces 16 --bits 8",
    "irnn-tvm pwl --function tanh --pieces 8 --range 4 --json",
)
def pwl(
    function: Annotated[Function, typer.Option("--function", "-f", help="What to approximate.")],
    pieces: Annotated[int, typer.Option("--pieces", "-p", help="Pieces of the table.")] = 32,
    bits: Annotated[int, typer.Option(help="Bits of input and output, 8 or 16.")] = 16,
    limit: Annotated[
        float | None, typer.Option("--range", help="Inputs in -RANGE..RANGE instead of the usual ones.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a figure: curve, knots, error (.png, .svg, .pdf).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit a piecewise-linear table to a function; show it, and its error beside other tables' in output LSBs."""
    from irnn_tvm import figures
    from irnn_tvm import pwl as study

    if plot is not None:
        figures.check(plot)
    content = study.describe(function.value, pieces, bits, limit)
    if plot is not None:
        fn, (inp, out) = study.FUNCTIONS[function].fn, study.FUNCTIONS[function].grids(bits, limit)
        study.plot(content.table, fn, inp, out, plot, f"{function}, {bits} bits")
    if as_json:
        typer.echo(json.dumps(content.summary))
        return
    for table in study.tables(content):
        show(table)
    if plot is not None:
        typer.echo(f"written to {plot}")


@command("irnn-tvm demo --words 100 --host-only")
def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    words: Annotated[int, typer.Option(min=1, help="Number of words to pronounce.")] = 3000,
    most_frequent: Annotated[
        int, typer.Option(min=1, help="Take them from this many frequent words.")
    ] = 20_000,
    host_only: Annotated[bool, typer.Option("--host-only", help="Leave the Cortex-M7 out.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep the built libraries and the firmware here.")] = None,
) -> None:
    """Turn English words into phonemes with integers alone, on this machine and on an emulated Cortex-M7."""
    from irnn_tvm.examples.g2p import demo as g2p

    result = g2p.run(words=words, most_frequent=most_frequent, host_only=host_only, keep=keep)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        show(g2p.table(result))
