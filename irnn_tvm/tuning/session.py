"""A tuning session: the process that `tune` starts, and starts again where the compiler takes it down.

`python -m irnn_tvm.tuning.session FOLDER` goes on with the job that the folder describes: job.json, program.pt2. What
it has to say comes line by line as JSON on its output; all that must survive it is in the logs by then.
"""

from __future__ import annotations

import json
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
from irnn_tvm.tuning.trials import AWAY, NoDevice, Trials, failures

FINALISTS = 3  # of a task, besides the default
BUILD_SECONDS = 300.0
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
    started: float = field(default_factory=time.monotonic)
    known: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    done: int = 0
    ended: Exception | None = None

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

    def measure(self, key: str, choices: Sequence[Choice], rounds: int = 0) -> list[Outcome]:
        """`Trials.measure`, but for what is known already, unless there are `rounds`."""
        self.check()
        task, numbers = self.task(key), range(len(choices))
        found = {} if rounds else {n: k for n in numbers if (k := self.known.get((key, choices[n].text())))}
        left = [n for n in numbers if n not in found]
        try:
            found |= zip(left, self.trials.measure(task, [choices[n] for n in left], rounds), strict=True)
        except NoDevice as error:
            self.end(error)
        return [found[n] for n in numbers]

    def check(self) -> None:
        """Raises Finished when the time is over."""
        if self.job.seconds is not None and time.monotonic() - self.started > self.job.seconds:
            self.end(Finished("the time is over"))

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
        for task in tasks:
            these = [
                (choice, outcome)
                for (key, text), outcome in self.known.items()
                if key == task.key and outcome.values
                for choice in [Choice.parse(text)]
                if task.has(choice)
            ]
            if not these:
                continue
            default = task.spaces[0].default()
            ranked = sorted(these, key=lambda pair: sorted(pair[1].values)[len(pair[1].values) // 2])
            chosen = [default, *(choice for choice, _ in ranked if choice != default)][: FINALISTS + 1]
            values: dict[str, list[float]] = {choice.text(): [] for choice in chosen}
            rounds = ROUNDS if self.runner.metric == WALL_CLOCK else 2
            if self.runner.metric != INSTRUCTIONS and len(chosen) > 1:
                for choice, outcome in zip(chosen, self.measure(task.key, chosen, rounds), strict=True):
                    values[choice.text()] += outcome.values
            else:
                for choice in chosen:
                    values[choice.text()] += self.known[task.key, choice.text()].values
            for choice in chosen:
                if values[choice.text()]:
                    self.commit(task, choice, Outcome(tuple(values[choice.text()])), records.FINAL)

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
            job.seconds = None
            session.finals(tasks)
        say("end", done=session.done, tasks=[describe(t) for t in session.tasks])
    finally:
        session.close()


def main() -> None:
    """Runs a job; an error of ours is an event and exit code 2."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(Path(sys.argv[1]))
    except TuningError as error:
        say("error", message=str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
