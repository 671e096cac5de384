"""A tuning session: the process that `tune` starts, and starts again where the compiler takes it down.

`python -m irnn_tvm.tuning.session FOLDER` goes on with the job that the folder describes: job.json, program.pt2. What
it has to say comes line by line as JSON on its output; all that must survive it is in the logs by then.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from irnn_tvm import targets
from irnn_tvm.errors import TuningError
from irnn_tvm.schedules.choice import Choice
from irnn_tvm.schedules.spaces import AHEAD, MATVEC, STEP, layout
from irnn_tvm.tuning import records
from irnn_tvm.tuning.candidates import tasks_of
from irnn_tvm.tuning.job import Job, import_once, tvm_target, versions
from irnn_tvm.tuning.outcome import Failure, Outcome
from irnn_tvm.tuning.runners.base import INSTRUCTIONS, WALL_CLOCK, Runner
from irnn_tvm.tuning.runners.make import make_runner
from irnn_tvm.tuning.runners.pool import Pool
from irnn_tvm.tuning.search import Notes, schedule_of, search, workload
from irnn_tvm.tuning.tasks import Task
from irnn_tvm.tuning.trials import AWAY, NoDevice, OutOfTime, Trials, failures

FINALISTS = 3  # of a task, besides the default
BUILD_SECONDS = 300.0
CLOSING_SECONDS = 3.0  # of a session's end, at most; a twentieth of the budget where that is less
ROUNDS = 6  # in which finalists are measured by turns


class Finished(Exception):
    """The time budget is used up."""


@dataclass
class Session:
    """One process's part of a job."""

    job: Job
    runner: Runner
    tasks: list[Task]
    database: Any
    trials: Trials
    started: float = 0.0
    known: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    done: int = 0
    ended: Exception | None = None
    paused: float | None = None
    pause_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.started = time.monotonic() if self.job.started is None else self.job.started

    @property
    def notes(self) -> Notes:
        """What is said about every record."""
        said = {
            "metric": self.runner.metric,
            "device": self.runner.device,
            "cpu": self.runner.cpu,
            "versions": versions(),
            "job": self.job.id,
        }
        # MetaSchedule writes texts in traces as they are, and could not read these.
        return {name: text.replace('"', "'").replace("\\", "/") for name, text in said.items()}

    def task(self, key: str) -> Task:
        return next(task for task in self.tasks if task.key == key)

    def measure(self, key: str, choices: Sequence[Choice]) -> list[Outcome]:
        """`Trials.measure`, but for what is known already. With a budget, as many at a time as are built at once."""
        task = self.task(key)
        found = {
            n: known for n, choice in enumerate(choices) if (known := self.known.get((key, choice.text())))
        }
        left = [n for n in range(len(choices)) if n not in found]
        size = len(left) if self.job.seconds is None else max(self.job.workers, self.runner.parallel)
        made: dict[int, Outcome] = {}
        if self.paused is not None:  # of the search's own work, which is done again before the next call
            self.pause_seconds = time.monotonic() - self.paused
        try:
            self.check()
            while left:
                these, left = left[:size], left[size:]
                made |= zip(these, self.within_budget(task, [choices[n] for n in these]), strict=True)
                self.check(0.0 if left else self.pause_seconds)
        except Finished:
            # The search will not hear of what this call has measured.
            for n, outcome in made.items():
                if self.measured(key, choices[n], outcome):
                    self.commit(task, choices[n], outcome, records.SEARCH)
            raise
        self.paused = time.monotonic()
        found |= made
        return [found[n] for n in range(len(choices))]

    def within_budget(self, task: Task, choices: Sequence[Choice]) -> list[Outcome]:
        """`Trials.measure`, in the time that is left."""
        try:
            return self.trials.measure(task, choices, seconds=self.left() - self.reserved())
        except OutOfTime:
            self.end(Finished("the time is over"))
        except NoDevice as error:
            self.end(error)

    def again(self, key: str, choices: Sequence[Choice], rounds: int, seconds: float) -> list[Outcome]:
        """Measures carefully by turns; what is known where that is not done in `seconds`."""
        try:
            return self.trials.measure(self.task(key), choices, rounds, seconds)
        except OutOfTime:
            return [self.known.get((key, choice.text()), Outcome()) for choice in choices]
        except NoDevice as error:
            self.end(error)

    def left(self) -> float:
        """Seconds of the budget; without one, all the time there is."""
        if self.job.seconds is None:
            return math.inf
        end = self.started + self.job.seconds - min(CLOSING_SECONDS, self.job.seconds / 20)
        return end - time.monotonic()

    def reserved(self) -> float:
        """Seconds that the finals of what is known take, at most a third of the budget."""
        if self.runner.metric == INSTRUCTIONS or self.job.seconds is None:
            return 0.0
        counts: dict[str, int] = {}
        for (key, _), outcome in self.known.items():
            counts[key] = counts.get(key, 0) + bool(outcome.values)
        finalists = [min(count, FINALISTS + 1) for count in counts.values() if count > 1]
        return min(sum(self.trials.duration(n, self.rounds) for n in finalists), self.job.seconds / 3)

    def check(self, pause: float = 0.0) -> None:
        """Raises Finished when there is no time for more candidates after a pause of so many seconds."""
        needed = pause + self.trials.usual_seconds + self.reserved()
        if self.job.seconds is not None and self.left() < needed:
            self.end(Finished("the time is over"))

    @property
    def rounds(self) -> int:
        """Of finals."""
        return ROUNDS if self.runner.metric == WALL_CLOCK else 2

    def end(self, error: Exception) -> NoReturn:
        """Raises an error, and remembers it: what comes out of MetaSchedule is another one."""
        self.ended = error
        raise error

    def measured(self, key: str, choice: Choice, outcome: Outcome) -> bool:
        """Hears of a trial; whether it is a new one."""
        if (key, choice.text()) in self.known:
            return False
        self.known[key, choice.text()] = outcome
        self.done += 1
        task = self.task(key)
        say("trial", task=task.label, size=task.size, choice=choice.text(), values=list(outcome.values), done=self.done,
            failure=outcome.failure and str(outcome.failure), message=outcome.message)  # fmt: skip
        if outcome.failure is not None:
            self.trials.log(task, choice, outcome)
        return outcome.failure is None

    def commit(self, task: Task, choice: Choice, outcome: Outcome, turn: str) -> None:
        """Writes a record by hand, outside of the search."""
        from irnn_tvm.tuning.search import meta_schedule

        ms = meta_schedule()
        mod = workload(task, self.notes)
        schedule = schedule_of(mod, task, choice, {**self.notes, "round": turn})
        arguments = ms.arg_info.ArgInfo.from_entry_func(mod, remove_preproc=True)
        self.database.commit_tuning_record(
            ms.database.TuningRecord(
                schedule.trace,
                self.database.commit_workload(mod),
                list(outcome.values),
                tvm_target(self.job.target),
                arguments,
            )
        )

    def defaults(self, tasks: Sequence[Task]) -> list[float]:
        """Measures the default choice of every task, first of all. Returns the tasks' weights: calls of a step."""
        weights = []
        for task in tasks:
            choice = task.spaces[0].default()
            [outcome] = self.measure(task.key, [choice])
            if self.measured(task.key, choice, outcome):
                self.commit(task, choice, outcome, records.SEARCH)
            if outcome.failure is not None:
                say("task_failed", task=task.label, failure=str(outcome.failure), message=outcome.message)
            weights.append(task.calls / task.steps if outcome.values else 0.0)
        return weights

    def layouts(self) -> list[Task]:
        """Tasks of kernels that share weights with others, with the layout that was best for those."""
        found = []
        winners = records.best(r for r in records.read(self.job.logs) if r.how == self.how)
        for task in self.tasks:
            if task.family not in (STEP, MATVEC) or (task.key, self.how) not in winners:
                continue
            choice = winners[task.key, self.how].choice
            default = task.spaces[0].default()
            if choice.isa == default.isa and layout(choice) == layout(default):
                continue
            plain = [
                t for t in self.tasks if t.family == AHEAD and t.workload == task.workload and not t.base
            ]
            found += [other for t in plain if (other := t.based_on(choice)) is not None]
        return found

    @property
    def how(self) -> tuple[str, str, str]:
        """Of measuring."""
        return self.notes["metric"], self.notes["device"], self.notes["cpu"]

    def phase(self, tasks: Sequence[Task], share: float) -> None:
        """Searches for candidates of some tasks, with a share of the trials that are left; measures the best again."""
        weights = self.defaults(tasks)
        self.search(tasks, weights, round((self.job.trials - self.done) * share))
        self.finals(tasks)

    def run(self) -> None:
        """The kernels that decide how weights lie, then those that share weights with them."""
        following = [task for task in self.tasks if task.family == AHEAD]
        leading = [task for task in self.tasks if task.family != AHEAD]
        self.phase(leading, 0.7 if following else 1.0)
        if following:
            self.tasks += self.layouts()
            self.phase([task for task in self.tasks if task.family == AHEAD], 1.0)

    def search(self, tasks: Sequence[Task], weights: Sequence[float], left: int) -> None:
        """MetaSchedule's search over what has a default that works."""
        usable = [
            (task, weight) for task, weight in zip(tasks, weights, strict=True) if weight and task.size > 1
        ]
        if not usable or left <= 0:
            return

        def measure(key: str, choices: list[Choice]) -> list[Outcome]:
            outcomes = self.measure(key, choices)
            for choice, outcome in zip(choices, outcomes, strict=True):
                if outcome.failure is not None:
                    self.measured(key, choice, outcome)
            return outcomes

        search(
            [task for task, _ in usable],
            [weight for _, weight in usable],
            self.notes,
            self.database,
            tvm_target(self.job.target),
            measure,
            self.measured,
            left,
            self.job.seed,
        )

    def finals(self, tasks: Sequence[Task]) -> None:
        """The fastest candidates and the default once more, carefully and by turns: what the search measured first and
        last may have met different clocks. Instructions are the same every time and need no other round."""
        finals = [(task, chosen) for task in tasks if (chosen := self.finalists(task))]
        shortest = [self.trials.duration(len(chosen), 1) for _, chosen in finals]
        for number, (task, chosen) in enumerate(finals):
            # What is left when every later task has one round; where that is too little, the first have theirs.
            left = self.left()
            seconds = left - sum(shortest[number + 1 :])
            seconds = seconds if seconds >= shortest[number] else left
            rounds = self.rounds
            while rounds and self.trials.duration(len(chosen), rounds) > seconds:
                rounds -= 1
            outcomes = [self.known.get((task.key, choice.text()), Outcome()) for choice in chosen]
            if self.runner.metric != INSTRUCTIONS and len(chosen) > 1 and rounds:
                outcomes = self.again(task.key, chosen, rounds, seconds)
            for choice, outcome in zip(chosen, outcomes, strict=True):
                if outcome.values:
                    self.commit(task, choice, Outcome(outcome.values), records.FINAL)

    def finalists(self, task: Task) -> list[Choice]:
        """The default and the fastest others; none where nothing was measured."""
        these = [
            (choice, outcome)
            for (key, text), outcome in self.known.items()
            if key == task.key and outcome.values
            for choice in [Choice.parse(text)]
            if task.has(choice)
        ]
        if not these:
            return []
        default = task.spaces[0].default()
        ranked = sorted(these, key=lambda pair: sorted(pair[1].values)[len(pair[1].values) // 2])
        return [default, *(choice for choice, _ in ranked if choice != default)][: FINALISTS + 1]

    def recall(self) -> None:
        """What earlier sessions of this job measured, and others in the same way and with the same versions."""
        about = self.notes
        for record in records.read(self.job.logs):
            same = record.how == (about["metric"], about["device"], about["cpu"])
            # Of tasks, too, that are made on the way, of the layout that wins.
            if same and record.versions == about["versions"]:
                self.known[record.task, record.choice.text()] = Outcome(record.values)
                self.done += record.job == self.job.id and record.round == records.SEARCH
        for failure in failures(self.job.logs):
            # A device that was away says nothing about a candidate.
            if failure.get("job") == self.job.id and failure["failure"] not in AWAY:
                choice = Choice.parse(json.dumps(failure["choice"]))
                kind = Failure(failure["failure"])
                self.known[failure["task"], choice.text()] = Outcome(failure=kind, message=failure["message"])
                self.done += 1

    def standing(self, task: Task) -> dict[str, Any]:
        """What is known of a task before anything is measured: for events."""
        found = {
            text: sorted(outcome.values)[len(outcome.values) // 2]
            for (key, text), outcome in self.known.items()
            if key == task.key and outcome.values
        }
        tried = sum(key == task.key for key, _ in self.known)
        choice = min(found, key=lambda text: found[text], default="")
        default = found.get(task.spaces[0].default().text())
        return {"tried": tried, "default": default, "best": found.get(choice), "choice": choice}

    def close(self) -> None:
        self.trials.close()


def describe(task: Task) -> dict[str, Any]:
    """For events."""
    return {"label": task.label, "key": task.key, "size": task.size, "calls": task.calls}


def say(event: str, **values: Any) -> None:
    """A line for the process that started this one."""
    print(json.dumps({"event": event} | values), flush=True)


def run(folder: Path) -> None:
    """Goes on with a job until its trials, its time or its candidates are used up."""
    from irnn_tvm.tuning.search import meta_schedule

    job = Job.load(folder)
    job.logs.mkdir(parents=True, exist_ok=True)
    records.repair(job.logs)
    import_once(job)
    tasks = list(tasks_of(job.module, job.target).values())
    runner = make_runner(job.runner, targets.get(job.target))
    if runner.metric == INSTRUCTIONS:
        tasks = [task.counted() for task in tasks]
    failed = (Failure.build_refused, Failure.build_crashed, Failure.build_timed_out)
    builders = Pool(job.workers, BUILD_SECONDS, failed)
    ms = meta_schedule()
    database = ms.database.JSONDatabase(work_dir=str(job.logs))
    session = Session(job, runner, tasks, database, Trials(job, runner, builders))
    try:
        session.recall()
        say("start", tasks=[describe(t) | session.standing(t) for t in tasks],
            trials=job.trials, done=session.done,
            metric=runner.metric, device=runner.device, cpu=runner.cpu)  # fmt: skip
        try:
            session.run()
        except Exception:
            if isinstance(session.ended, TuningError):
                raise session.ended from None
            if not isinstance(session.ended, Finished):
                raise
            say("time_over")
            session.finals(session.tasks)
        say("end", done=session.done, tasks=[describe(t) for t in session.tasks])
    finally:
        session.close()


def main() -> None:
    """Runs a job; an error of ours is an event and exit code 2."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(Path(sys.argv[1]))
        # Threads that wait for builds which nobody needs any more would keep the process.
        sys.stdout.flush()
        os._exit(0)
    except TuningError as error:
        say("error", message=str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
