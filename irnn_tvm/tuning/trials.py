"""Trials of candidates: each is built in a process of its own and measured by a runner."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
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


class NoDevice(TuningError):
    """There is nothing left to measure on."""


@dataclass
class Trials:
    """Builds and measures candidates of a job. away: how many found no device, in a row."""

    job: Job
    runner: Runner
    builders: Pool
    away: int = 0
    work: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="irnn-tune-")))
    _data: dict[str, Path] = field(default_factory=dict)

    def data(self, task: Task) -> Path:
        """Inputs of a task and what its candidates must give, written once."""
        if task.key not in self._data:
            path = self.work / f"data{len(self._data)}.npz"
            inputs = task.inputs()
            save_data(path, inputs, task.expected(inputs))
            self._data[task.key] = path
        return self._data[task.key]

    def measure(self, task: Task, choices: Sequence[Choice], rounds: int = 0) -> list[Outcome]:
        """Builds candidates, and measures each as soon as it is built, or, where compilers would disturb that or there
        are `rounds`, when all are. rounds: all are measured by turns, as often.

        Raises NoDevice after `PATIENCE` candidates in a row that found none.
        """
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
                    future.result()
            for number, (folder, future) in building.items():
                built = future.result()
                if built.failure is not None:
                    found[number] = built
                else:
                    work = Work(folder, data, task.steps, rounds > 0)
                    running[number] = work, self.runner.submit(work)
            for number, (work, measuring) in running.items():
                outcome = measuring.result()
                if outcome.failure in AWAY:  # it may be back, and there may be others
                    self.log(task, choices[number], outcome)
                    outcome = self.runner.submit(work).result()
                self.away = self.away + 1 if outcome.failure in AWAY else 0
                if self.away >= PATIENCE:
                    text = f"{self.away} candidates in a row found no device ({outcome.message})"
                    raise NoDevice(f"{text}; what was measured is kept, and resume=True goes on")
                found[number] = outcome
            for turn in range(1, rounds):
                for number, (work, _) in running.items():
                    if found[number].values:
                        found[number] = Outcome(found[number].values + self._again(work, turn).values)
        finally:
            for folder, _ in building.values():
                shutil.rmtree(folder, ignore_errors=True)
        return [found[number] for number in range(len(choices))]

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
