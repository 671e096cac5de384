"""Trials of candidates: each is built in a process of its own and measured by a runner."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from irnn_tvm.errors import TuningError
from irnn_tvm.schedules.choice import Choice
from irnn_tvm.tuning import records
from irnn_tvm.tuning.candidates import build
from irnn_tvm.tuning.job import Job
from irnn_tvm.tuning.outcome import Failure, Outcome
from irnn_tvm.tuning.runners.base import Runner, Work
from irnn_tvm.tuning.runners.local import save_data
from irnn_tvm.tuning.runners.pool import Pool
from irnn_tvm.tuning.tasks import Task

AWAY = (Failure.no_device, Failure.device_lost)
PATIENCE = 4  # candidates that find no device, in a row


class OutOfTime(Exception):
    """The seconds that a call may take are over before anything is known."""


class NoDevice(TuningError):
    """There is nothing left to measure on."""


@dataclass
class Trials:
    """Builds and measures candidates of a job. away: how many found no device, in a row; build_seconds, turn_seconds,
    usual_seconds: what a build and a careful measurement took last, and the shortest call of `measure` without
    rounds."""

    job: Job
    runner: Runner
    builders: Pool
    away: int = 0
    build_seconds: float = 0.0
    turn_seconds: float = 0.0
    usual_seconds: float = 0.0
    work: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="irnn-tune-")))
    _careful: bool = False
    _data: dict[str, Path] = field(default_factory=dict)

    def data(self, task: Task) -> Path:
        """Inputs of a task and what its candidates must give, written once."""
        if task.key not in self._data:
            path = self.work / f"data{len(self._data)}.npz"
            inputs = task.inputs()
            save_data(path, inputs, task.expected(inputs))
            self._data[task.key] = path
        return self._data[task.key]

    def duration(self, count: int, rounds: int) -> float:
        """Seconds that `count` candidates take with `rounds`, by what others took."""
        return math.ceil(count / self.job.workers) * self.build_seconds + count * rounds * self.turn_seconds

    def measure(
        self, task: Task, choices: Sequence[Choice], rounds: int = 0, seconds: float = math.inf
    ) -> list[Outcome]:
        """Builds candidates, and measures each as soon as it is built, or, where compilers would disturb that or there
        are `rounds`, when all are. rounds: all are measured by turns, as often, but for turns that would begin after
        `seconds`. Raises OutOfTime where not even one turn is done by then.

        Raises NoDevice after `PATIENCE` candidates in a row that found none.
        """
        start = time.monotonic()

        def wait(future: Future[Outcome]) -> Outcome:
            try:
                return future.result(
                    None if seconds == math.inf else max(start + seconds - time.monotonic(), 0)
                )
            except TimeoutError:  # the future's own are outcomes
                raise OutOfTime from None

        data = self.data(task)
        found: dict[int, Outcome] = {}
        building = {}
        for number, choice in enumerate(choices):
            folder = Path(tempfile.mkdtemp(dir=self.work))
            whole = Choice(choice.isa, {**choice.values, **task.base})
            future = self.builders.submit(
                build,
                self.job.module,
                self.job.target,
                task.plain_key,
                whole,
                str(folder),
                self.runner.emulated,
            )
            building[number] = folder, future
        running = {}
        try:
            if self.runner.alone or rounds:
                for _, future in building.values():
                    wait(future)
            built_in = time.monotonic() - start
            for number, (folder, future) in building.items():
                built = wait(future)
                if built.failure is not None:
                    found[number] = built
                else:
                    work = Work(folder, data, task.steps, rounds > 0)
                    running[number] = work, self.runner.submit(work)
            for number, (work, measuring) in running.items():
                outcome = wait(measuring)
                if outcome.failure in AWAY:  # it may be back, and there may be others
                    self.log(task, choices[number], outcome)
                    outcome = self.runner.submit(work).result()
                self.away = self.away + 1 if outcome.failure in AWAY else 0
                if self.away >= PATIENCE:
                    text = f"{self.away} candidates in a row found no device ({outcome.message})"
                    raise NoDevice(f"{text}; what was measured is kept, and resume=True goes on")
                found[number] = outcome
            turns = 1
            for turn in range(1, rounds):
                if time.monotonic() - start + len(running) * self.turn_seconds > seconds:
                    break
                turns += 1
                for number, (work, _) in running.items():
                    if found[number].values:
                        found[number] = Outcome(found[number].values + self._again(work, turn).values)
        finally:
            for folder, _ in building.values():
                shutil.rmtree(folder, ignore_errors=True)
        self._remember(len(choices), built_in, time.monotonic() - start, turns if rounds else 0)
        return [found[number] for number in range(len(choices))]

    def _remember(self, count: int, built_in: float, seconds: float, turns: int) -> None:
        """How long builds and measurements take here."""
        if not count:
            return
        if self.runner.alone or turns:
            self.build_seconds = built_in / math.ceil(count / self.job.workers)
        if turns:
            self.turn_seconds, self._careful = (seconds - built_in) / (count * turns), True
        else:
            # The first call loads the compiler, which is not usual.
            self.usual_seconds = min(self.usual_seconds or seconds, seconds)
            if not self._careful:  # careful ones take longer
                self.turn_seconds = 1.5 * (seconds - built_in) / count

    def _again(self, work: Work, turn: int) -> Outcome:
        """From a file of its own: where weights happen to lie in memory makes caches faster or slower."""
        copied = work.folder / f"turn{turn}"
        shutil.copytree(work.folder, copied, ignore=shutil.ignore_patterns("turn*"))
        return self.runner.submit(replace(work, folder=copied)).result()

    def log(self, task: Task, choice: Choice, outcome: Outcome) -> None:
        """Writes down a failure."""
        about = {"task": task.key, "choice": json.loads(choice.text()), "job": self.job.id}
        with (self.job.logs / records.FAILURES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(about | outcome.to_json()) + "\n")

    def close(self) -> None:
        self.builders.close()
        self.runner.close()
        shutil.rmtree(self.work, ignore_errors=True)


def failures(folder: Path) -> Iterable[dict[str, Any]]:
    """The log of failed trials."""
    try:
        lines = (folder / records.FAILURES).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.strip()]
