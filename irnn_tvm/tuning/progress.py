"""What `tune` shows on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class Progress:
    """A bar of trials, with the latest gains of each task beneath, where there is a terminal; else nothing."""

    def __init__(self, target: str, trials: int, *, shown: bool) -> None:
        self.target, self.trials, self.shown = target, trials, shown
        self._best: dict[str, tuple[float, float]] = {}
        self._failed = 0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self.shown:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
            )
            from rich.progress import (
                Progress as Bar,
            )

            columns = (
                TextColumn("tuning {task.fields[target]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[news]}"),
            )
            console = Console(stderr=True)
            self._bar = Bar(*columns, console=console, disable=not console.is_terminal)
            self._bar.start()
            self._task = self._bar.add_task("", total=self.trials, target=self.target, news="starting")
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def hear(self, event: Mapping[str, Any]) -> None:
        """An event of a session."""
        if self._bar is None:
            return
        if event["event"] == "start":
            self._bar.update(self._task, completed=event["done"], news=f"on {event['device']}")
        elif event["event"] == "trial":
            self._trial(event)
        elif event["event"] == "task_failed":
            self._bar.console.print(
                f"{event['task']}: the default failed: {event['failure']}: {event['message']}"
            )

    def _trial(self, event: Mapping[str, Any]) -> None:
        if event["failure"]:
            self._failed += 1
            news = f"{event['task']}: {event['failure']}"
        else:
            value = min(event["values"])
            first, best = self._best.get(event["task"], (value, value))
            self._best[event["task"]] = first, min(best, value)
            news = f"{event['task']}: {first / min(best, value):.2f}x, {self._failed} failed"
            if value < best:
                choice = json.loads(event["choice"])
                self._bar.console.print(f"{event['task']}: {first / value:.2f}x with {choice}")
        self._bar.update(self._task, completed=event["done"], news=news)

    def restarted(self, code: int, said: str) -> None:
        """A session ended without having finished."""
        if self._bar is not None:
            self._bar.console.print(f"the tuning process ended with code {code} ({said}); starting again")
