"""Every operator, on every target, computes the integers of the torch reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bundle import VARIANTS
from cases import CASES

import irnn_tvm
from irnn_tvm import ops

Outputs = dict[str, dict[str, tuple[Any, ...]]]


def _marks(target: str) -> list[pytest.MarkDecorator]:
    # One worker builds a target's bundle, and all comparisons with it are made there.
    marks = [pytest.mark.xdist_group(f"bitexact-{target}")]
    return [*marks, pytest.mark.emulator] if irnn_tvm.TARGETS[target].emulator else marks


@pytest.mark.parametrize("case", [case.name for case in CASES])
@pytest.mark.parametrize("target", [pytest.param(name, marks=_marks(name)) for name in irnn_tvm.TARGETS])
def test_outputs_are_those_of_torch(
    target: str, case: str, reference: Outputs, outputs: Callable[[str], Outputs]
) -> None:
    results = outputs(target)
    for variant in VARIANTS:
        for number, (expected, got) in enumerate(
            zip(reference[variant][case], results[variant][case], strict=True)
        ):
            where = f"{variant} inputs, output {number}"
            assert (got.dtype, got.shape) == (expected.dtype, expected.shape), where
            assert np.array_equal(got, expected), f"{where}: {np.count_nonzero(got != expected)} differ"


@pytest.mark.xdist_group("bitexact-host")
@pytest.mark.parametrize("case", [case.name for case in CASES])
def test_random_inputs_exercise_the_range(case: str, reference: Outputs) -> None:
    """A case whose output hardly varies would compare nothing: most have many values, few saturate throughout."""
    first = reference["random"][case][0]
    if first.size >= 60 and "saturating" not in case and "largest-shift" not in case and "one-value" not in case:
        assert np.unique(first).size > 8


def test_every_operator_has_cases() -> None:
    from irnn_tvm.relay_ops.register import OPERATORS

    assert {case.op for case in CASES} == set(OPERATORS)
    assert set(OPERATORS) <= set(ops.__all__)


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
