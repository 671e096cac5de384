"""The logs in the package: of the layers of the benchmark tables, measured as said, and about the kernels of today."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import irnn_tvm
from irnn_tvm.compiler.build_library import resolve_program
from irnn_tvm.frontend.import_program import import_program
from irnn_tvm.schedules.instruction_sets import get
from irnn_tvm.schedules.spaces import apply
from irnn_tvm.targets import TARGETS
from irnn_tvm.tuning import edit, records
from irnn_tvm.tuning.logs import shipped_folder
from irnn_tvm.tuning.tasks import Task, extract_module

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from layers import integer_model
from workloads import WORKLOADS

METRIC = {
    "x86-avx2": "wall clock",
    "x86-avx512": "wall clock",
    "x86-avx512-vnni": "wall clock",
    "arm": "instructions",
    "arm-a53": "instructions",
    "cortex-m4": "instructions",
    "cortex-m55": "instructions",
}
FEW = ("lstm-128", "gru-256")


@cache
def tasks(name: str, target: str) -> list[Task]:
    program, _ = resolve_program(
        integer_model(WORKLOADS[name]), batch=1, seq_len=None, max_seq_len=100, calibration=None, config=None
    )
    return extract_module(import_program(program), TARGETS[target])


def test_which_there_are() -> None:
    assert edit.targets_in(shipped_folder()) == sorted(METRIC)


@pytest.mark.parametrize("target", METRIC)
def test_records_are_of_one_way_of_measuring_and_can_be_built(target: str) -> None:
    found = records.read(shipped_folder() / target)
    assert {record.metric for record in found} == {METRIC[target]}
    assert len({record.how for record in found}) == 1
    usual = get(TARGETS[target].simd())
    for record in found:
        apply(record.choice, usual, "shipped")
    for group in records.groups(found).values():
        assert records.ranked(group)[0].value <= records.default_of(group).value


@pytest.mark.parametrize("target", METRIC)
@pytest.mark.parametrize(
    "name", [n if n in FEW else pytest.param(n, marks=pytest.mark.exhaustive) for n in WORKLOADS]
)
def test_every_layer_of_the_benchmarks_is_there(target: str, name: str) -> None:
    """By the keys that a build looks for, so that other shapes or operators of these layers are noticed."""
    known = {record.task for record in records.read(shipped_folder() / target)}
    wanted = {task.key for task in tasks(name, target)}
    assert wanted
    assert wanted <= known


@pytest.mark.exhaustive
@pytest.mark.parametrize("target", METRIC)
@pytest.mark.parametrize("name", FEW)
def test_integers_with_shipped_logs(target: str, name: str, tmp_path: Path) -> None:
    model = integer_model(WORKLOADS[name])
    library = irnn_tvm.build(model, target, out=tmp_path / "out", max_seq_len=100)
    torch.manual_seed(4)
    x = model.quantize_inputs(torch.randn(1, 5, WORKLOADS[name].hidden))[0]
    assert np.array_equal(library.run(x.numpy()), model(x).numpy())
    assert all(kernel["tuned"] for kernel in library.report["kernels"])
