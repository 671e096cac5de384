"""What `quantize` is doing, on the terminal, where it takes longer than people wait without asking."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
PATIENCE_SECONDS = 2.0


class Progress:
    """A line with the stage, and a bar over the batches; it comes after `PATIENCE_SECONDS` and goes at the end.

    shown: None: where stderr is a terminal; True: also elsewhere, as a plain line per stage; False: never. console:
    where to draw (default: stderr).
    """

    def __init__(self, shown: bool | None = None, console: Any = None) -> None:
        self._shown, self._console = shown, console
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._bar: Any = None
        self._id: Any = None
        self._late = False
        self._stage, self._done, self._total = "", 0, 0

    def __enter__(self) -> Progress:
        if self._shown is False:
            return self
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True)
        if self._console.is_terminal or self._shown:
            self._timer = threading.Timer(PATIENCE_SECONDS, self._start)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        with self._lock:
            self._timer, bar, self._bar = None, self._bar, None
        if bar is not None:
            bar.stop()

    def stage(self, text: str, total: int = 0) -> None:
        """What comes now; total: of its items, 0 where they are not counted."""
        with self._lock:
            self._stage, self._done, self._total = text, 0, total
            self._draw(new=True)

    def each(self, items: Sequence[Item], text: str) -> Iterable[Item]:
        """The items, as a stage that counts them."""

        def counted() -> Iterator[Item]:
            self.stage(text, len(items))
            for item in items:
                yield item
                with self._lock:
                    self._done += 1
                    self._draw()

        return counted()

    def _start(self) -> None:
        """Runs in the timer's thread."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        with self._lock:
            if self._timer is None:
                return
            self._late = True
            if self._console.is_terminal:
                columns = (TextColumn("quantize: {task.description}"), BarColumn(), TimeElapsedColumn())
                self._bar = Progress(
                    *columns,
                    console=self._console,
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._id = self._bar.add_task("")
                self._bar.start()
            self._draw(new=True)

    def _draw(self, new: bool = False) -> None:
        if self._bar is not None:
            self._bar.update(
                self._id, description=self._stage, completed=self._done, total=self._total or None
            )
        elif self._late and new and self._stage:
            self._console.print(f"quantize: {self._stage}", highlight=False)
