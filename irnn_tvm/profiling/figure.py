"""The roofline of a profile as a picture: products per second over products per byte of weights, both logarithmic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irnn_tvm.errors import InputError, ToolNotFoundError
from irnn_tvm.figures import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(profile: Mapping[str, Any], path: Path | str | None = None) -> Figure:
    """Draws what `profile` returned for a library that was timed.

    path: where to write; the suffix picks the format (png, svg, pdf). Returns the matplotlib figure. InputError for
    instruction counts, which have no roofline, and when the file cannot be written; ToolNotFoundError without
    matplotlib.
    """
    ceilings = profile["ceilings"]
    if ceilings is None:
        raise InputError(
            f"{profile['name']} runs {profile['where']}: instructions have no roofline, only time on its machine has"
        )
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import ScalarFormatter
    except ImportError:
        raise ToolNotFoundError("figures need matplotlib; pip install 'irnn-tvm[plots]'") from None

    points = [(row["op"], row) for row in profile["kernels"]] + [("whole step", profile["per_step"])]
    points = [(label, row) for label, row in points if row["macs_per_weight_byte"] and row["gmacs_per_s"]]
    peak = ceilings["gmacs_per_s"]
    low = min([0.25, *(row["macs_per_weight_byte"] / 2 for _, row in points)])
    high = max([32.0, *(row["macs_per_weight_byte"] * 2 for _, row in points)])
    figure = Figure(figsize=(7.0, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()

    def roof(gbytes: float, **style: Any) -> None:
        ends = [low, *([peak / gbytes] if peak and low < peak / gbytes < high else []), high]
        heights = [min(x * gbytes, peak) if peak else x * gbytes for x in ends]
        axes.plot(ends, heights, **style)

    for index, level in enumerate(ceilings["levels"]):
        label = f"{level['name']}: {level['gbytes_per_s']:.0f} GB/s"
        roof(
            level["gbytes_per_s"],
            color=f"{0.25 + 0.15 * index:.2f}",
            linewidth=1,
            linestyle="--",
            label=label,
        )
    if ceilings["gbytes_per_s"]:
        size = f"{ceilings['working_set_bytes'] / 1e6:.2f} MB of weights"
        roof(
            ceilings["gbytes_per_s"],
            color="C0",
            linewidth=2,
            label=f"{size}: {ceilings['gbytes_per_s']:.0f} GB/s",
        )
    for index, (label, row) in enumerate(points):
        share = row.get("share")
        text = label if share is None else f"{label}: {100 * share:.0f} % of the time"
        marker = "*" if share is None else "o"
        axes.plot(
            row["macs_per_weight_byte"],
            row["gmacs_per_s"],
            marker,
            color=f"C{index + 1}",
            markersize=9,
            label=text,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(ScalarFormatter())
    axes.tick_params(which="both", labelsize=8)
    axes.set_xlabel("MACs per byte of weights")
    axes.set_ylabel("GMAC/s")
    axes.set_title(f"{profile['name']} on {profile['device']}, {profile['instruction_set'] or 'scalar code'}")
    axes.grid(True, which="both", linewidth=0.3, alpha=0.5)
    axes.legend(fontsize=7)
    if path is not None:
        save(figure, path)
    return figure
