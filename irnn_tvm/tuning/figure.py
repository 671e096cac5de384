"""How tuning went as a picture: the best so far over the trials of each task."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from irnn_tvm.errors import InputError, ToolNotFoundError
from irnn_tvm.figures import save
from irnn_tvm.tuning import records
from irnn_tvm.tuning.records import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def best_so_far(group: Iterable[Record]) -> list[float]:
    """How many times faster than the default the best is after each trial of the search, of records of one task and
    way of measuring, in their order. The first trial is the default."""
    searched = [record for record in group if record.round == records.SEARCH]
    found: list[float] = []
    for record in searched:
        gain = searched[0].value / record.value
        found.append(max(gain, found[-1]) if found else gain)
    return found


def plot(found: Iterable[Record], path: Path | str | None = None, title: str = "") -> Figure:
    """Draws a line per task and way of measuring.

    path: where to write; the suffix picks the format (png, svg, pdf). Returns the matplotlib figure. InputError where
    there are no records or the file cannot be written; ToolNotFoundError without matplotlib.
    """
    lines = [(task, how, best_so_far(group)) for (task, how), group in records.groups(found).items()]
    lines = [line for line in lines if line[2]]
    if not lines:
        raise InputError("there are no records of a search to draw")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ToolNotFoundError("figures need matplotlib; pip install 'irnn-tvm[plots]'") from None
    lines.sort(key=lambda line: -line[2][-1])
    figure = Figure(figsize=(8.0, 4.8), dpi=110, layout="constrained")
    axes = figure.subplots()
    named = 8  # in the legend: more would hide the lines
    for number, (task, _, gains) in enumerate(lines):
        label = f"{gains[-1]:.2f}x  {_short(task)}" if number < named else None
        style = {"color": f"C{number}"} if number < named else {"color": "0.7", "linewidth": 0.8}
        axes.step(range(1, len(gains) + 1), gains, where="post", label=label, **style)
    more = f" ({len(lines) - named} more in grey)" if len(lines) > named else ""
    metrics = sorted({f"{how[0]}, {how[1]}" for _, how, _ in lines})
    axes.set_title(f"{title}{more}\n{'; '.join(metrics)}", fontsize=9)
    axes.set_xlabel("trials of a task")
    axes.set_ylabel("times faster than the default, in the search")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    if path is not None:
        save(figure, path)
    return figure


def _short(task: str) -> str:
    """Family, operator and the shapes of its matrices."""
    head, _, rest = task.partition("(")
    shapes = [shape.replace(",", "x") for shape in re.findall(r"int8\[(\d+,\d+)\]", rest)]
    matrices = [shape for shape in shapes if not shape.startswith("1x")]
    return " ".join([head.replace("irnn.", ""), *matrices[:2]])
