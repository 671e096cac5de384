"""What `tune` shows on the terminal while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from irnn_tvm.tuning.tables import number, settings

_ROWS = 24  # of tasks that are shown: those with the most calls, the rest in a line


@dataclass
class _Task:
    """What has been heard of one."""

    size: int
    calls: int
    trials: int = 0
    default: float | None = None
    best: float | None = None
    choice: str = ""
    failed: int = 0

    def hear(self, event: Mapping[str, Any]) -> None:
        self.trials += 1
        if event["failure"]:
            self.failed += 1
            return
        value = sorted(event["values"])[len(event["values"]) // 2]
        if self.default is None:
            self.default = value  # the first candidate is the default
        if self.best is None or value < self.best:
            self.best, self.choice = value, "" if self.best is None else str(event["choice"])


@dataclass
class Progress:
    """A table of tasks with the default, the best so far and its settings; beneath a bar with the time that is left,
    and failures by kind. Drawn where there is a terminal; else nothing.

    console: where to draw (default: stderr).
    """

    target: str
    trials: int
    shown: bool
    console: Any = None
    tasks: dict[str, _Task] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    metric: str = ""
    device: str = ""
    _live: Any = None
    _bar: Any = None
    _id: Any = None

    def __enter__(self) -> Progress:
        if not self.shown:
            return self
        from rich.console import Console
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        console = self.console or Console(stderr=True)
        if not console.is_terminal:
            return self
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trials,"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("to go"),
            console=console,
        )
        self._id = self._bar.add_task("starting", total=self.trials)
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.picture)
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def hear(self, event: Mapping[str, Any]) -> None:
        """An event of a session."""
        kind = event["event"]
        if kind == "start":
            self.metric, self.device = event["metric"], event["device"]
            for task in event["tasks"]:
                before = task["tried"], task["default"], task["best"], task["choice"]
                self.tasks.setdefault(task["label"], _Task(task["size"], task["calls"], *before))
            self._advance(event["done"])
        elif kind == "trial":
            # Tasks on the layout that won are made on the way.
            self.tasks.setdefault(event["task"], _Task(event.get("size", 0), 1)).hear(event)
            if event["failure"]:
                self.failures[event["failure"]] = self.failures.get(event["failure"], 0) + 1
            self._advance(event["done"])
        elif kind == "task_failed":
            self._say(f"{event['task']}: the default failed: {event['failure']}: {event['message']}")

    def restarted(self, code: int, said: str) -> None:
        """A session ended without having finished."""
        self._say(f"the tuning process ended with code {code} ({said}); starting again")

    def _advance(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(self._id, completed=done, description=f"{self.target} on {self.device}")

    def _say(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, highlight=False)

    def picture(self) -> Any:
        """The table, the bar and the failures as they are now."""
        from rich.console import Group
        from rich.table import Table

        table = Table()
        for heading in ("kernels of", "trials", "default", "best so far", "gain", "with"):
            table.add_column(heading, justify="left" if heading in ("kernels of", "with") else "right")
        ordered = sorted(self.tasks.items(), key=lambda item: -item[1].calls)
        for label, task in ordered[:_ROWS]:
            trials = f"{task.trials} of {task.size}" if task.size else str(task.trials)
            values = [number(value, self.metric) for value in (task.default, task.best)]
            gain = f"{task.default / task.best:.2f}x" if task.default and task.best else "-"
            table.add_row(label, trials, *values, gain, settings(task.choice) if task.choice else "")
        lines: list[Any] = [table]
        if len(ordered) > _ROWS:
            lines.append(f"and {len(ordered) - _ROWS} more")
        if self._bar is not None:
            lines.append(self._bar)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failures.items()))
        lines.append(f"failed: {counts or 'none'}")
        return Group(*lines)
