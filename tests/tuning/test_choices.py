"""Whatever is chosen for a kernel, its integers are those of the reference."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tuned_networks import everything, whole

from irnn_tvm import runtime
from irnn_tvm.compiler.build_library import resolve_program
from irnn_tvm.schedules.choice import Choice
from irnn_tvm.schedules.spaces import Space
from irnn_tvm.targets import get
from irnn_tvm.tuning.candidates import write
from irnn_tvm.tuning.tasks import Task, extract
from irnn_tvm.tuning.timing import check

TARGETS = (
    "x86-avx512",
    "x86-avx2",
    "arm",
    "arm-a53",
    "arm-i8mm",
    "armv7",
    "cortex-m4",
    "cortex-m55",
    "cortex-m0plus",
)
FEW = {"cortex-m4"}


@pytest.mark.parametrize("target", ["x86-avx512", "arm-a53", "cortex-m55", "cortex-m4"])
def test_spaces_begin_with_the_default(target: str) -> None:
    """The first value of every setting is what a kernel has without being tuned; no value is there twice."""
    streaming, others = (extract(program, get(target)) for program in (everything(), whole()))
    assert {task.family for task in streaming} == {"step", "ahead", "matvec", "table", "loops"}
    assert {task.family for task in others} >= {
        *("sequence", "convolution", "table", "norm", "attention"),
    }
    for task in (*streaming, *others):
        if task.family in ("convolution", "table", "norm", "attention") and target != "cortex-m4":
            assert task.spaces[-1].isa == "scalar"
            assert len(task.spaces) > 1
        for space in task.spaces:
            assert all(len(set(values)) == len(values) > 1 for values in space.settings.values())
        assert task.spaces[0].default() == Choice(
            task.spaces[0].isa, {name: values[0] for name, values in task.spaces[0].settings.items()}
        )


def test_equal_layers_are_one_task() -> None:
    """Layers that differ by their numbers alone share what is found for them."""
    from torch import nn

    import irnn_tvm

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (nn.GRU(20, 20, batch_first=True) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x)[0])[0]

    torch.manual_seed(0)
    model = irnn_tvm.quantize(Twice().eval(), [torch.randn(2, 9, 20)])
    tasks = extract(resolve_program(model)[0], get("arm"))
    assert {(task.family, task.calls) for task in tasks} == {("step", 2), ("ahead", 2)}


@pytest.mark.parametrize(
    ("target", "program"),
    [
        pytest.param(
            t, p, marks=() if t in FEW and p is everything else pytest.mark.exhaustive, id=f"{t}-{p.__name__}"
        )
        for t in TARGETS
        for p in (everything, whole)
    ],
)
@pytest.mark.emulator
def test_candidates_compute_what_torch_does(target: str, program: Callable[[], Any], tmp_path: Path) -> None:
    """Of every task the choices with the last values, and some at random."""
    chosen = get(target)
    tasks = extract(program(), chosen)
    assert tasks
    for task in tasks:
        for choice in _some(task, 1 if target in FEW else 2):
            _compare(task, target, choice, tmp_path)


def _some(task: Task, count: int) -> list[Choice]:
    draw = random.Random(task.key)
    found = [_of(space, lambda values: values[-1]) for space in task.spaces]
    found += [_of(space, draw.choice) for space in task.spaces for _ in range(count)]
    return list(dict.fromkeys(found))


def _of(space: Space, pick: object) -> Choice:
    assert callable(pick)
    return Choice(space.isa, {name: pick(values) for name, values in space.settings.items()})


def _compare(task: Task, target: str, choice: Choice, tmp_path: Path) -> None:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    write(task, get(target), choice, folder)
    report = json.loads((folder / "report.json").read_text())
    assert "candidate" in {kernel["tuned"] for kernel in report["kernels"]}
    library = runtime.load(folder, emulate=not get(target).runs_natively)
    for extreme in (None, -128, 127):
        inputs = task.inputs(seed=3)
        if extreme is not None:
            inputs = [np.full_like(x, extreme) if x.dtype == np.int8 else x for x in inputs]
        found = library.run(*inputs)
        check(list(found) if isinstance(found, tuple) else [found], task.expected(inputs))
