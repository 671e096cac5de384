"""The charts of docs/performance.md: SVG for the page and PNG for everything else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from performance_tables import OURS, Row, cells

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
MARKERS = "osD^vP*XpH"


def figure_path(chart: str, cpu: str, instruction_set: str) -> Path:
    """Of a chart ("ratios" or "streams") of one machine, without a suffix."""
    machine = re.sub(r"[^a-z0-9]+", "-", f"{cpu} {instruction_set}".lower()).strip("-")
    return FIGURES / f"performance-{chart}-{machine}"


def draw(rows: list[Row], ours: tuple[str, ...] = OURS) -> list[Path]:
    """Writes what rows of latency.py are enough for, of each machine; returns the files.

    ImportError without matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "irnn_tvm"  # the same rows give the same file
    matplotlib.rcParams["font.size"] = 9
    written = []
    for machine in dict.fromkeys((row["cpu"], row["instruction_set"]) for row in rows):
        here = [row for row in rows if (row["cpu"], row["instruction_set"]) == machine]
        single = [row for row in here if row.get("batch", 1) == 1]
        if single:
            written += _save(ratios(single, ours), figure_path("ratios", *machine))
        streams = [row for row in here if row["T"] == 1]
        if any(row.get("batch", 1) > 1 for row in streams):
            written += _save(throughput(streams, ours), figure_path("streams", *machine))
    return written


def ratios(rows: list[Row], ours: tuple[str, ...]) -> Any:
    """Every peer's time divided by ours, a panel per length of the sequence."""
    from matplotlib import pyplot
    from matplotlib.ticker import ScalarFormatter

    lengths = sorted({row["T"] for row in rows})
    peers = [name for name in dict.fromkeys(row["runtime"] for row in rows) if name not in ours]
    value = {(row["workload"], row["T"], row["runtime"]): row["us_median"] for row in rows}
    figure, panels = pyplot.subplots(
        1, len(lengths), figsize=(4.6 * len(lengths), 4.2), sharey=True, squeeze=False
    )
    for panel, steps in zip(panels[0], lengths, strict=True):
        names = [name for name, t in cells(rows) if t == steps and (name, t, ours[0]) in value]
        for number, peer in enumerate(peers):
            points = [
                (place, value[name, steps, peer] / value[name, steps, ours[0]])
                for place, name in enumerate(names)
                if (name, steps, peer) in value
            ]
            if points:
                panel.plot(
                    *zip(*points, strict=True),
                    MARKERS[number % len(MARKERS)],
                    color=f"C{number}",
                    label=peer,
                    alpha=0.85,
                )
        panel.axhline(1.0, color="black", linewidth=1)
        panel.set_title("one step of a stream" if steps == 1 else f"a sequence of {steps} steps")
        panel.set_xticks(range(len(names)), names, rotation=45, ha="right")
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.grid(axis="y", which="both", alpha=0.25)
    panels[0][0].set_ylabel("time, divided by irnn_tvm's (higher: irnn_tvm is faster)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.55), frameon=False)
    return figure


def throughput(rows: list[Row], ours: tuple[str, ...]) -> Any:
    """Microseconds per stream over the number of streams in a call, a panel per layer."""
    from matplotlib import pyplot
    from matplotlib.ticker import ScalarFormatter

    names = [name for name, _ in cells([row for row in rows if row.get("batch", 1) > 1])]
    runtimes = [n for n in dict.fromkeys(row["runtime"] for row in rows) if n not in ours[1:]]
    figure, panels = pyplot.subplots(1, len(names), figsize=(3.2 * len(names), 3.6), squeeze=False)
    for panel, name in zip(panels[0], names, strict=True):
        batches: set[int] = set()
        for number, runtime in enumerate(runtimes):
            points = sorted(
                (row.get("batch", 1), row["us_median"] / row.get("batch", 1))
                for row in rows
                if (row["workload"], row["runtime"]) == (name, runtime)
            )
            if len(points) < 2:
                continue
            batches |= {batch for batch, _ in points}
            panel.plot(
                *zip(*points, strict=True),
                MARKERS[number % len(MARKERS)] + "-",
                color="black" if runtime == ours[0] else f"C{number - 1}",
                label=runtime,
            )
        panel.set_title(name)
        panel.set_xscale("log", base=2)
        panel.set_xticks(sorted(batches))
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.set_yscale("log")
        panel.set_xlabel("streams in a call")
        panel.grid(which="both", alpha=0.25)
    panels[0][0].set_ylabel("µs per stream")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.55), frameon=False)
    return figure


def _save(figure: Any, path: Path) -> list[Path]:
    from matplotlib import pyplot

    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(".svg"), path.with_suffix(".png")]
    figure.savefig(files[0], bbox_inches="tight", metadata={"Date": None})
    figure.savefig(files[1], bbox_inches="tight", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return files
