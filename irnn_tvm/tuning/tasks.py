"""What there is to tune in a model: its operators, once each, by family of kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from irnn_tvm.relay_ops.workload import Workload, workload_of
from irnn_tvm.schedules.choice import Choice
from irnn_tvm.schedules.spaces import AHEAD, SEQUENCE, STEP, TIMED, Space, family, layout, spaces
from irnn_tvm.targets import Target
from irnn_tvm.tuning.one_operator import module_of, reference

if TYPE_CHECKING:
    import torch

LONG = 32  # time steps of what is measured with several


@dataclass(frozen=True)
class Task:
    """Kernels of one operator, in one family. calls: of the model with this workload; call, values: one of them, and
    what the model's variables are bound to; steps: time steps of a measured call. base: settings that all candidates
    have: of kernels that share weights with others, how these lie."""

    workload: Workload
    family: str
    calls: int
    spaces: tuple[Space, ...]
    call: Any = field(repr=False)
    values: Mapping[Any, Any] = field(repr=False)
    steps: int = 1
    base: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The same for tasks that share their records."""
        return task_key(self.family, self.workload.text, self.spaces[0].isa if self.base else "", self.base)

    @property
    def plain_key(self) -> str:
        """The same without the base."""
        return task_key(self.family, self.workload.text)

    def based_on(self, choice: Choice) -> Task | None:
        """This task with the layout of a choice; None where its kernels would not be those."""
        if not self.workload.rows:
            return None
        those = tuple(spaces(self.family, choice.isa, self.workload.gates, self.workload.rows))
        return replace(self, spaces=those, base=layout(choice))

    @property
    def label(self) -> str:
        """For people."""
        work = self.workload
        size = f" {work.gates} x {work.rows} x {work.depth}" if work.rows else ""
        base = "".join(f", {name} {value}" for name, value in self.base.items())
        return f"{work.op.removeprefix('irnn.')}{size}, {self.family}{base}"

    @property
    def size(self) -> int:
        """Candidates."""
        return sum(space.size for space in self.spaces)

    def has(self, choice: Choice) -> bool:
        """Whether a choice is one of the candidates: other versions may have had other settings."""
        return any(
            space.isa == choice.isa
            and set(space.settings) == set(choice.values)
            and all(choice.values[name] in values for name, values in space.settings.items())
            for space in self.spaces
        )

    def counted(self) -> Task:
        """This task for runners that count instructions: without settings that these say nothing of."""
        those = tuple(
            replace(space, settings={n: v for n, v in space.settings.items() if n not in TIMED})
            for space in self.spaces
        )
        return replace(self, spaces=those)

    def module(self) -> Any:
        """The program that is measured."""
        return module_of(self.call, self.values)

    def inputs(self, seed: int = 0) -> list[np.ndarray]:
        """Random integers over the whole range; numbers of rows, in the middle of it."""
        random = np.random.default_rng(seed)
        found = []
        main = self.module()["main"]
        for parameter in main.params:
            shape = tuple(self.steps if not _known(d) else int(d) for d in parameter.ty.shape.values)
            dtype = str(parameter.ty.dtype)
            if dtype in ("int32", "int64"):  # lengths and places
                found.append(np.full(shape, max(1, self.steps // 2), dtype))
                continue
            limits = np.iinfo(dtype)
            found.append(random.integers(limits.min, limits.max, shape, dtype, endpoint=True))
        return found

    def expected(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """What the reference computes of them."""
        return reference(self.call, self.values, inputs)


def task_key(kind: str, workload: str, isa: str = "", base: Mapping[str, int] | None = None) -> str:
    """The key of a task, see `Task`."""
    said = "" if not base else f"[{isa} {' '.join(f'{k}={v}' for k, v in sorted(base.items()))}] "
    return f"{kind} {said}{workload}"


def _known(dim: Any) -> bool:
    from tvm import tirx

    return isinstance(dim, int | tirx.IntImm)


def extract(program: torch.export.ExportedProgram, target: Target) -> list[Task]:
    """The tasks of a program for a target that is no choice of several (Target.variants)."""
    from irnn_tvm.frontend.import_program import import_program

    return extract_module(import_program(program), target)


def extract_module(mod: Any, target: Target) -> list[Task]:
    """The same of a program that is imported."""
    from irnn_tvm.compiler.streaming import analyse
    from irnn_tvm.relay_ops.register import OPERATORS

    main = mod["main"]
    streaming = analyse(main).streamable
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    values = {binding.var: binding.value for binding in bindings}
    found: dict[str, Task] = {}
    for binding in bindings:
        call = binding.value
        name = str(getattr(getattr(call, "op", None), "name", ""))
        if name.removeprefix("irnn.") not in OPERATORS or module_of(call, values) is None:
            continue
        work = workload_of(call)
        leading, *following = family(name, streaming, work.rows)
        if sum(space.size for space in spaces(leading, target.simd(), work.gates, work.rows)) < 2:
            continue
        # What several steps take is needed to judge a layout, whatever else there is to choose.
        for kind in (leading, *following):
            those = tuple(spaces(kind, target.simd(), work.gates, work.rows))
            task = Task(work, kind, 1, those, call, values, _steps(call, kind, streaming))
            before = found.get(task.key)
            calls = 1 if before is None else before.calls + 1
            found[task.key] = Task(work, kind, calls, those, call, values, task.steps)
    return list(found.values())


def _steps(call: Any, kind: str, streaming: bool) -> int:
    """Time steps of a measured call: one, where the model takes one at a time."""
    dynamic = any(not _known(d) for argument in call.args for d in argument.ty.shape.values)
    if not dynamic:
        first = call.args[0].ty.shape.values
        return int(first[0]) if kind in (AHEAD, SEQUENCE, STEP) else 1
    if kind == STEP:
        return 1
    return LONG if kind in (AHEAD, SEQUENCE) or not streaming else 1
