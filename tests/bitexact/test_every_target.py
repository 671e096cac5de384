"""Every operator, on every target, computes the integers of the torch reference."""

from __future__ import annotations

import platform
from collections.abc import Callable

import numpy as np
import pytest
from bundle import VARIANTS, Outputs
from cases import BUNDLES, CASES, FEW, FEW_BUNDLES, Case, bundles_for
from disassembly import FLOAT, float_arithmetic, host_float, instructions, undefined_symbols
from every_target import TESTED

import irnn_tvm
from irnn_tvm import Library, ops

Reference = Callable[[str], Outputs]


def _parameters() -> list[object]:
    """(target, bundle, case), those of one build next to each other."""
    rows: list[object] = []
    for target in TESTED:
        marks = [pytest.mark.emulator] if irnn_tvm.TARGETS[target].emulator else []
        for bundle, cases in bundles_for(target).items():
            for case in cases:
                rows.append(pytest.param(target, bundle, case, marks=marks, id=f"{target}-{case.name}"))
    return rows


@pytest.mark.parametrize(("target", "bundle", "case"), _parameters())
def test_outputs_are_those_of_torch(
    target: str, bundle: str, case: Case, reference: Reference, outputs: Callable[[str, str], Outputs]
) -> None:
    got, expected = outputs(bundle, target), reference(bundle)
    for variant in VARIANTS:
        pairs = zip(got[variant][case.name], expected[variant][case.name], strict=True)
        for number, (ours, torchs) in enumerate(pairs):
            where = f"{variant} inputs, output {number}"
            assert (ours.dtype, ours.shape) == (torchs.dtype, torchs.shape), where
            assert np.array_equal(ours, torchs), f"{where}: {np.count_nonzero(ours != torchs)} differ"


@pytest.mark.parametrize(
    ("target", "bundle"),
    [(target, bundle) for target in TESTED if target != "c" for bundle in bundles_for(target)],
)
def test_no_operator_needs_floats(
    target: str, bundle: str, library: Callable[[str, str], Library], require_tool: Callable[[str], str]
) -> None:
    built = library(bundle, target)
    file = built.directory / built.report["files"]["library"]
    code = instructions(file, target, require_tool("llvm-objdump"))
    assert float_arithmetic(code, FLOAT.get(target, host_float(platform.machine()))) == []
    assert all(name.startswith(("mem", "__aeabi_mem", "__aeabi_l")) for name in undefined_symbols(file))


# Their outputs are saturated or constant on purpose.
FLAT = ("saturating", "largest-shift", "one-value", "steepest-slopes")


@pytest.mark.parametrize(
    ("bundle", "case"),
    [pytest.param(b, case, id=case.name) for b, cases in BUNDLES.items() for case in cases],
)
def test_inputs_exercise_the_output_range(bundle: str, case: Case, reference: Reference) -> None:
    """Comparing outputs that hardly vary would prove nothing."""
    first = reference(bundle)["random"][case.name][0]
    if first.size >= 60 and not any(word in case.name for word in FLAT):
        assert np.unique(first).size > 12


def test_every_operator_has_cases() -> None:
    from irnn_tvm.relay_ops.register import OPERATORS

    assert {case.op for case in CASES} == set(OPERATORS)
    assert set(OPERATORS) <= set(ops.__all__)
    for target in TESTED:
        assert {case.op for cases in bundles_for(target).values() for case in cases} == set(OPERATORS)


def test_the_few_cases_are_cases() -> None:
    few = [case for cases in FEW_BUNDLES.values() for case in cases]
    assert {case.op for case in few} == set(FEW)
    both_kinds_of_gru = len(FEW["gru"].split())
    assert len(few) == sum(len(names.split()) for names in FEW.values()) + both_kinds_of_gru
    assert {case.name for case in few} <= {case.name for case in CASES}


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
