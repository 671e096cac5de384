"""The search for fast candidates: MetaSchedule's, over the spaces of schedules/spaces.py.

MetaSchedule sees a workload with one block, whose annotations a candidate's trace chooses: what is in a record. The
kernels are made of these choices by the builder (candidates.py), because some of them decide how weights are packed,
which is no transformation of loops.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from irnn_tvm.schedules.choice import Choice
from irnn_tvm.schedules.spaces import Space, features
from irnn_tvm.tuning.outcome import Outcome
from irnn_tvm.tuning.records import PREFIX, SEARCH
from irnn_tvm.tuning.tasks import Task

BLOCK = "workload"
FEW = 24  # candidates of a task that are all measured
PER_ITERATION = 8
Notes = Mapping[str, str]
Measure = Callable[[str, list[Choice]], list[Outcome]]  # task key, candidates
Measured = Callable[[str, Choice, Outcome], bool]  # whether it is new and belongs in the database


def meta_schedule() -> Any:
    """TVM's module. Its context imports all tensor intrinsics of GPUs, which takes a minute and is of no use here."""

    name = "tvm.s_tir.tensor_intrin"
    if name not in sys.modules:
        sys.modules[name] = types.ModuleType(name)
    from tvm.s_tir import meta_schedule

    return meta_schedule


def workload(task: Task, notes: Notes) -> Any:
    """The IRModule that stands for a task in a database, one for each way of measuring it."""
    import tvm
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder as T

    with IRBuilder() as ib:
        with T.prim_func(s_tir=True):
            T.func_name("main")
            marks = {f"{PREFIX}{name}": notes[name] for name in ("metric", "device", "cpu")}
            T.func_attr({"global_symbol": "main", f"{PREFIX}task": task.key, **marks})
            a, b = (T.arg(name, T.buffer((1,), "int8")) for name in "ab")
            with T.serial(1) as i:
                with T.sblock(BLOCK):
                    v = T.axis.spatial(1, i)
                    T.reads(a[v])
                    T.writes(b[v])
                    T.buffer_store(b, a[v], [v])
    return tvm.IRModule({"main": ib.get()})


def annotate(schedule: Any, task: Task, space: Space, notes: Notes, choice: Choice | None = None) -> Any:
    """Puts a choice into a schedule of the workload; without one, a random one."""
    block = schedule.get_sblock(BLOCK)
    for name, value in ({"task": task.key, "isa": space.isa} | dict(notes)).items():
        schedule.annotate(block, f"{PREFIX}{name}", value)
    for name, values in space.settings.items():
        decision = None if choice is None else values.index(choice.values[name])
        chosen = schedule.sample_categorical(list(values), [1 / len(values)] * len(values), decision=decision)
        schedule.annotate(block, f"{PREFIX}{name}", chosen)
    return schedule


def schedule_of(mod: Any, task: Task, choice: Choice, notes: Notes) -> Any:
    """The schedule of a workload with a certain choice."""
    from tvm import s_tir

    space = next(
        space
        for space in task.spaces
        if space.isa == choice.isa and all(choice.values[n] in v for n, v in space.settings.items())
    )
    return annotate(s_tir.Schedule(mod), task, space, notes, choice)


def choice_in(mod: Any, task: Task) -> Choice:
    """The choice that a candidate's module has."""
    from tvm import s_tir

    schedule = s_tir.Schedule(mod)
    notes = schedule.get(schedule.get_sblock(BLOCK)).annotations
    isa = str(notes[f"{PREFIX}isa"])
    space = next(space for space in task.spaces if space.isa == isa)
    return Choice(isa, {name: int(notes[f"{PREFIX}{name}"]) for name in space.settings})


def all_choices(task: Task) -> list[Choice]:
    """Every candidate, the default one first."""
    return [
        Choice(space.isa, dict(zip(space.settings, values, strict=True)))
        for space in task.spaces
        for values in product(*space.settings.values())
    ]


def search(
    tasks: Sequence[Task],
    weights: Sequence[float],
    notes: Notes,
    database: Any,
    target: Any,
    measure: Measure,
    measured: Measured,
    trials: int,
    seed: int = 0,
) -> None:
    """Measures `trials` candidates, more of the tasks that have more weight and gain more.

    measure: builds and runs candidates of a task; measured: hears of every result. Exceptions of both end the search.
    """
    ms = meta_schedule()
    from tvm.ir.utils import derived_object

    notes = {**notes, "round": SEARCH}
    modules = {task.key: workload(task, notes) for task in tasks}
    by_key = {task.key: task for task in tasks}

    def task_of(mod: Any) -> Task:
        return by_key[str(mod["main"].attrs[f"{PREFIX}task"])]

    @derived_object
    class Features(ms.feature_extractor.PyFeatureExtractor):  # type: ignore[name-defined]
        """Settings and what follows from them: the blocks of candidates all look alike."""

        def extract_from(self, _context: Any, candidates: Sequence[Any]) -> list[Any]:
            import numpy as np
            from tvm import runtime

            rows = []
            for candidate in candidates:
                task = task_of(candidate.sch.mod)
                choice = choice_in(candidate.sch.mod, task)
                space = next(space for space in task.spaces if space.isa == choice.isa)
                work = task.workload
                numbers = (float(work.rows), float(work.gates), float(work.depth))
                rows.append(np.array([features(space, choice, numbers)], np.float32))
            return [runtime.tensor(row) for row in rows]

    @derived_object
    class OtherValue(ms.mutator.PyMutator):  # type: ignore[name-defined]
        """Another value of one setting."""

        def __init__(self, start: int) -> None:
            super().__init__()
            import random

            self.random = random.Random(start)

        def _initialize_with_tune_context(self, context: Any) -> None:
            del context

        def apply(self, trace: Any, _state: Any) -> Any:
            samples = [inst for inst in trace.insts if inst.kind.name == "SampleCategorical"]
            if not samples:
                return None
            inst = self.random.choice(samples)
            now = int(trace.get_decision(inst))
            others = [n for n in range(len(inst.attrs[0])) if n != now]
            return trace.with_decision(inst, self.random.choice(others), remove_postproc=True)

        def clone(self) -> Any:
            return OtherValue(seed)

    @derived_object
    class Everything(ms.search_strategy.PySearchStrategy):  # type: ignore[name-defined]
        """All candidates of a small space."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key
            self.left: list[Choice] = []

        def _initialize_with_tune_context(self, context: Any) -> None:
            del context

        def pre_tuning(self, *_arguments: Any) -> None:
            self.left = all_choices(by_key[self.key])[1:]

        def post_tuning(self) -> None:
            self.left = []

        def generate_measure_candidates(self) -> list[Any] | None:
            batch, self.left = self.left[:PER_ITERATION], self.left[PER_ITERATION:]
            task, mod = by_key[self.key], modules[self.key]
            arguments = ms.arg_info.ArgInfo.from_entry_func(mod, remove_preproc=True)
            found = [
                ms.search_strategy.MeasureCandidate(schedule_of(mod, task, choice, notes), arguments)
                for choice in batch
            ]
            return found or None

        def notify_runner_results(self, *_arguments: Any) -> None:
            pass

        def clone(self) -> Any:
            return Everything(self.key)

    outcomes: dict[str, tuple[str, Choice, Outcome]] = {}

    @derived_object
    class Builder(ms.builder.PyBuilder):  # type: ignore[name-defined]
        """Builds and measures: both at the same time for different candidates."""

        def build(self, inputs: Sequence[Any]) -> list[Any]:
            found: list[Any] = []
            groups: dict[str, list[Choice]] = {}
            for item in inputs:
                task = task_of(item.mod)
                groups.setdefault(task.key, []).append(choice_in(item.mod, task))
            results = {key: iter(zip(choices, measure(key, choices), strict=True))
                       for key, choices in groups.items()}  # fmt: skip
            for item in inputs:
                key = task_of(item.mod).key
                choice, outcome = next(results[key])
                number = str(len(outcomes))
                outcomes[number] = key, choice, outcome
                message = f"{outcome.failure}: {outcome.message}" if outcome.failure else None
                found.append(ms.builder.BuilderResult(None if message else number, message))
            return found

    @derived_object
    class Done(ms.runner.PyRunnerFuture):  # type: ignore[name-defined]
        def __init__(self, number: str) -> None:
            super().__init__()
            self.number = number

        def done(self) -> bool:
            return True

        def result(self) -> Any:
            return ms.runner.RunnerResult(list(outcomes[self.number][2].values), None)

    @derived_object
    class Runner(ms.runner.PyRunner):  # type: ignore[name-defined]
        def run(self, inputs: Sequence[Any]) -> list[Any]:
            return [Done(item.artifact_path) for item in inputs]

    @derived_object
    class Keep(ms.measure_callback.PyMeasureCallback):  # type: ignore[name-defined]
        """Writes what is new to the database at once."""

        def apply(self, scheduler: Any, task_id: int, candidates: Any, builds: Any, results: Any) -> None:
            del scheduler
            task = tasks[task_id]
            stored = database.commit_workload(modules[task.key])
            for candidate, built, result in zip(candidates, builds, results, strict=True):
                if built.error_msg or not result.run_secs:
                    continue
                key, choice, outcome = outcomes[str(built.artifact_path)]
                if measured(key, choice, outcome):
                    database.commit_tuning_record(
                        ms.database.TuningRecord(
                            candidate.sch.trace, stored, list(outcome.values), target, candidate.args_info
                        )
                    )

    def space_of(task: Task) -> Callable[[Any], list[Any]]:
        return lambda schedule: [annotate(schedule.copy(), task, space, notes) for space in task.spaces]

    def strategy(task: Task) -> Any:
        if task.size <= FEW:
            return Everything(task.key)
        return ms.search_strategy.EvolutionarySearch(
            population_size=32, init_min_unmeasured=8, genetic_num_iters=3, init_measured_ratio=0.2
        )

    contexts = [
        ms.TuneContext(
            mod=modules[task.key],
            target=target,
            space_generator=ms.space_generator.ScheduleFn(
                space_of(task), sch_rules=[], postprocs=[], mutator_probs={OtherValue(seed): 1.0}
            ),
            search_strategy=strategy(task),
            task_name=task.label,
            rand_state=seed * 1000 + number + 1,
            num_threads=1,
        )
        for number, task in enumerate(tasks)
    ]
    import logging

    for name in ("tvm.s_tir.meta_schedule", "tvm.s_tir.meta_schedule.task_scheduler"):
        logging.getLogger(name).setLevel(logging.WARNING)
    ms.tune.tune_tasks(
        tasks=contexts,
        task_weights=list(weights),
        work_dir="",
        max_trials_global=trials,
        num_trials_per_iter=PER_ITERATION,
        builder=Builder(),
        runner=Runner(),
        database=database,
        cost_model=ms.cost_model.XGBModel(extractor=Features(), num_warmup_samples=16, num_tuning_cores=1),
        measure_callbacks=[Keep(), ms.measure_callback.UpdateCostModel()],
        task_scheduler=ms.task_scheduler.GradientBased(alpha=0.2, window_size=3, seed=seed + 1),
    )
