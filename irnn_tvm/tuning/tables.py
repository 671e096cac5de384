"""Tables of tuning for the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from irnn_tvm.tuning import records
from irnn_tvm.tuning.records import Record

if TYPE_CHECKING:
    from rich.table import Table

    from irnn_tvm.tuning.tune import TuningResult


def result_table(result: TuningResult) -> Table:
    """What `tune` found, a row per task."""
    from rich.table import Table

    title = f"{result.target}: {result.metric} on {result.device} ({result.cpu}), {result.trials} trials"
    failed = ", ".join(f"{count} {kind}" for kind, count in result.failures.items())
    caption = f"failed: {failed or 'none'}; logs: {result.logs}"
    if not result.tasks:
        caption = f"nothing to tune: on {result.target} no kernel of this model has settings to choose from"
    table = Table(title=title, caption=caption)
    for heading in ("kernels of", "calls", "candidates", "default", "best", "gain", "choice"):
        table.add_column(heading, justify="left" if heading in ("kernels of", "choice") else "right")
    for task in result.tasks:
        row = (number(task.default, result.metric), number(task.best, result.metric), f"{task.speedup:.2f}x")
        choice = settings(task.choice) if task.choice and task.speedup > 1 else "default"
        table.add_row(task.label, str(task.calls), str(task.candidates), *row, choice)
    return table


def number(value: float | None, metric: str) -> str:
    """Microseconds or instructions."""
    if value is None:
        return "-"
    return f"{value * 1e6:,.2f} us" if metric == "wall clock" else f"{value:,.0f}"


def settings(choice: str) -> str:
    """A choice in a few words."""
    return ", ".join(f"{name} {value}" for name, value in json.loads(choice).items())


def records_table(target: str, found: Iterable[Record]) -> Table:
    """The best of a target's logs, a row per task and way of measuring."""
    from rich.table import Table

    table = Table(title=target)
    for heading in ("task", "measured", "trials", "default", "best", "gain", "choice"):
        table.add_column(heading, justify="left" if heading in ("task", "measured", "choice") else "right")
    for (task, how), group in records.groups(found).items():
        default, winner = records.default_of(group), records.ranked(group)[0]
        values: list[Any] = [number(r.value, how[0]) for r in (default, winner)]
        trials = len({r.choice for r in group})
        choice = "default" if winner.choice == default.choice else settings(winner.choice.text())
        table.add_row(
            task, f"{how[0]}, {how[1]}, {how[2]}", str(trials), *values,
            f"{default.value / winner.value:.2f}x", choice,
        )  # fmt: skip
    return table
