"""Ten hours of tuning with faulty trials, by a clock and devices that are made up: every good trial is recorded."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.compiler.build_library import resolve_program
from irnn_tvm.frontend.import_program import import_program
from irnn_tvm.schedules.choice import Choice
from irnn_tvm.targets import get
from irnn_tvm.tuning import records
from irnn_tvm.tuning.figure import best_so_far
from irnn_tvm.tuning.job import Job
from irnn_tvm.tuning.outcome import Failure, Outcome
from irnn_tvm.tuning.runners.base import WALL_CLOCK, Runner, Work
from irnn_tvm.tuning.search import meta_schedule
from irnn_tvm.tuning.session import Finished, Session
from irnn_tvm.tuning.tasks import Task, extract_module
from irnn_tvm.tuning.trials import Trials, failures

TARGET = "arm"
HOURS, SECONDS_PER_TRIAL, FAULTY = 10, 30.0, 0.05
FAULTS = (
    Failure.run_crashed,
    Failure.run_timed_out,
    Failure.wrong_result,
    Failure.device_lost,
    Failure.no_device,
)


class ManySizes(nn.Module):
    """features [1, T, 24] -> [1, T, ...], by layers none of which is like another."""

    def __init__(self, count: int) -> None:
        super().__init__()
        sizes = [24 + 4 * n for n in range(count + 1)]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def done(outcome: Outcome) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future


@dataclass
class World:
    """The clock, what was asked of builders, and how the trials of the search went. ended: after so many candidates the
    process is gone."""

    clock: float = 0.0
    asked: dict[str, tuple[str, Choice]] = field(default_factory=dict)
    good: dict[tuple[str, str], float] = field(default_factory=dict)
    bad: dict[tuple[str, str], Failure] = field(default_factory=dict)
    count: int = 0
    ended: int | None = None
    chance: random.Random = field(default_factory=lambda: random.Random(5))


class Builders:
    """Refuses one in a hundred."""

    def __init__(self, world: World, session: Any = None) -> None:
        self.world, self.session = world, session

    def submit(
        self, _build: Any, _module: str, _target: str, key: str, choice: Choice, folder: str, _e: bool
    ) -> Any:
        self.world.asked[folder] = key, choice
        if self.world.chance.random() < 0.01:
            return done(Outcome(failure=Failure.build_crashed, message="out of registers"))
        return done(Outcome())

    def close(self) -> None:
        pass


class Devices(Runner):
    """A time that depends on the choice, or a fault."""

    metric, device, cpu = WALL_CLOCK, "rack", "Cortex-A76"

    def __init__(self, world: World) -> None:
        self.world = world

    def submit(self, work: Work) -> Future[Outcome]:
        world = self.world
        world.clock += SECONDS_PER_TRIAL
        world.count += 1
        if world.ended is not None and world.count >= world.ended:
            raise KeyboardInterrupt
        if not work.careful and world.chance.random() < FAULTY:
            return done(Outcome(failure=world.chance.choice(FAULTS), message="as it happens"))
        asked = (
            world.asked.get(str(work.folder)) or world.asked[str(work.folder.parent)]
        )  # a copy of a library
        key, choice = asked
        value = 1e-5 * (1 + zlib.crc32(f"{key}{choice.text()}".encode()) % 1000 / 1000)
        return done(Outcome((value,) * 5))

    def close(self) -> None:
        pass


class Unread(Trials):
    """Inputs that no device reads."""

    def data(self, task: Task) -> Path:
        return self.work / "none"


class Watched(Session):
    """Writes down how trials went, by what the search hears."""

    world: World

    def measured(self, key: str, choice: Choice, outcome: Outcome) -> bool:
        if (key, choice.text()) not in self.known:
            if outcome.failure is None:
                self.world.good[key, choice.text()] = sorted(outcome.values)[2]
            else:
                self.world.bad[key, choice.text()] = outcome.failure
        return super().measured(key, choice, outcome)


def session(job: Job, tasks: Sequence[Task], world: World) -> Watched:
    database = meta_schedule().database.JSONDatabase(work_dir=str(job.logs))
    devices = Devices(world)
    trials = Unread(job, devices, Builders(world))  # type: ignore[arg-type]
    made = Watched(job, devices, list(tasks), database, trials)
    made.world, made.started = world, 0.0
    return made


@pytest.mark.exhaustive
def test_ten_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    model = irnn_tvm.quantize(ManySizes(24).eval(), [torch.randn(2, 6, 24) for _ in range(2)])
    program, _ = resolve_program(
        model, batch=1, seq_len=None, max_seq_len=None, calibration=None, config=None
    )
    tasks = extract_module(import_program(program), get(TARGET))
    assert sum(task.size for task in tasks) > 1800
    world = World()
    monkeypatch.setattr("irnn_tvm.tuning.session.time", SimpleNamespace(monotonic=lambda: world.clock))
    logs = tmp_path / TARGET
    logs.mkdir()
    job = Job(tmp_path, TARGET, 100_000, HOURS * 3600.0, logs, {}, "ten")
    # Two hours in, the machine that tunes loses its power.
    world.ended = 240
    first = session(job, tasks, world)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        first.run()
    first.close()
    kept = {(record.task, record.choice.text()) for record in records.read(logs)}
    assert kept, "what was measured before is there"
    world.ended = None
    records.repair(logs)
    second = session(job, tasks, world)
    second.recall()
    with pytest.raises(RuntimeError, match="the time is over"):  # as it comes out of MetaSchedule
        second.run()
    assert isinstance(second.ended, Finished)
    second.job.seconds = None
    second.finals(second.tasks)
    second.close()
    capfd.readouterr()
    assert world.clock > HOURS * 3600
    searched = [record for record in records.read(logs) if record.round == records.SEARCH]
    recorded = {(record.task, record.choice.text()): record.value for record in searched}
    assert len(recorded) == len(searched), "nothing twice"
    lost = {key: value for key, value in world.good.items() if recorded.get(key) != value}
    assert not lost
    logged = {(f["task"], Choice.parse(json.dumps(f["choice"])).text()) for f in failures(logs)}
    assert set(world.bad) <= logged
    assert len(world.good) > 900
    assert 0.02 < len(world.bad) / len(world.good) < 0.12
    for group in records.groups(searched).values():
        assert best_so_far(group) == sorted(best_so_far(group))
        assert best_so_far(group)[-1] == pytest.approx(group[0].value / min(r.value for r in group))
