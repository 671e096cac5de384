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
    tensor, in dB; None where the float model has no such tensor, or it is 0.
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
    """Prints rows as a table of at most 80 columns, a line per layer above its tensors."""
    cells = [(f"{row.layer} ({row.op})", _cells(row)) for row in rows]
    widths = [max((len(c[i]) for _, c in [("", HEADER), *cells]), default=0) for i in range(len(HEADER))]
    print(f"Quantization of {title}")
    print(_line(HEADER, widths))
    layer = None
    for name, line in cells:
        if name != layer:
            print(name)
            layer = name
        print(_line(line, widths))


HEADER = ("tensor", "bits", "scale", "zero", "range", "clipped", "dB")


def _cells(row: ReportRow) -> tuple[str, ...]:
    return (
        row.tensor, str(row.bits), f"{row.scale:.4g}", str(row.zero_point), f"{row.low:.3g}..{row.high:.3g}",
        f"{100 * row.saturation:.2g}%" if row.saturation else "0",
        "" if row.sqnr_db is None else f"{row.sqnr_db:.1f}",
    )  # fmt: skip


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    left, *rest = (
        c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    )
    return " ".join(["", left, *rest]).rstrip()
