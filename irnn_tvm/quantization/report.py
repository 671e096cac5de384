"""The per-tensor report of a quantization: scales, ranges, saturation, and the noise that integers add."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ReportRow:
    """One quantized tensor.

    layer: qualified name of the layer or operation; op: its kind; tensor: "output", "input", "gate i", "cell
    state" ... low, high: the float range seen in calibration. saturation: share (0..1) of the integer run's
    values over the calibration data that were clipped to their width; clipping that stands for a relu does
    not count. sqnr_db: signal to quantization noise of the dequantized integers against the float model's
    tensor, in dB; None for tensors inside a recurrent operator, which no output shows.
    """

    layer: str
    op: str
    tensor: str
    bits: int
    scale: float
    zero_point: int
    low: float
    high: float
    saturation: float
    sqnr_db: float | None


def print_rows(title: str, rows: Iterable[ReportRow]) -> None:
    """Prints rows as a rich table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Quantization of {title}")
    for name, right in (
        ("layer", False), ("op", False), ("tensor", False), ("bits", True), ("scale", True), ("zero point",
        True),
        ("range", True), ("saturated", True), ("SQNR dB", True),
    ):  # fmt: skip
        table.add_column(name, justify="right" if right else "left")
    for row in rows:
        table.add_row(
            row.layer, row.op, row.tensor, str(row.bits), f"{row.scale:.4g}", str(row.zero_point),
            f"{row.low:.3g} .. {row.high:.3g}", f"{100 * row.saturation:.3f} %",
            "" if row.sqnr_db is None else f"{row.sqnr_db:.1f}",
        )  # fmt: skip
    Console().print(table)
