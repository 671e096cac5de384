"""Every operator, on every target, computes the integers of the torch reference."""

from __future__ import annotations

import platform
from collections.abc import Callable

import numpy as np
import pytest
from bundle import VARIANTS, Outputs
from cases import BUNDLES, CASES, ESSENTIAL, FEW, FEW_BUNDLES, SAMPLE, Case, bundles_for
from disassembly import FLOAT, float_arithmetic, host_float, instructions, undefined_symbols
from every_target import DISTINCT, TESTED

import irnn_tvm
from irnn_tvm import Library, ops

Reference = Callable[[str], Outputs]


def _parameters() -> list[object]:
    """(target, bundle): a sample on each target, and exhaustively all cases."""
    rows: list[object] = []
    for target in TESTED:
        marks = [pytest.mark.emulator] if irnn_tvm.TARGETS[target].emulator else []
        rows += [
            pytest.param(target, bundle, marks=marks)
            for bundle in SAMPLE
            if target in DISTINCT
            # test_tiles.py has a sample of layers for every instruction set. RISC-V has the scalar kernels of others.
            if bundle != "sample-layers" or (irnn_tvm.TARGETS[target].simd() is None and target != "riscv32")
        ]
        rows += [
            pytest.param(target, bundle, marks=[*marks, pytest.mark.exhaustive])
            for bundle in bundles_for(target)
        ]
    return rows


@pytest.mark.parametrize(("target", "bundle"), _parameters())
def test_outputs_are_those_of_torch_without_floats(
    target: str,
    bundle: str,
    reference: Reference,
    outputs: Callable[[str, str], Outputs],
    library: Callable[[str, str], Library],
    require_tool: Callable[[str], str],
) -> None:
    """One test for both, so that a library is built once."""
    got, expected = outputs(bundle, target), reference(bundle)
    assert list(got) == list(expected) == list(VARIANTS)
    wrong = [
        f"{case}, {variant} inputs, output {number}: {_difference(ours, torchs)}"
        for variant in VARIANTS
        for case, results in expected[variant].items()
        for number, (ours, torchs) in enumerate(zip(got[variant][case], results, strict=True))
        if ours.dtype != torchs.dtype or not np.array_equal(ours, torchs)
    ]
    assert wrong == []
    if target == "c":  # built by whatever compiler there is
        return
    built = library(bundle, target)
    file = built.directory / built.report["files"]["library"]
    code = instructions(file, target, require_tool("llvm-objdump"))
    assert float_arithmetic(code, FLOAT.get(target, host_float(platform.machine()))) == []
    allowed = ("memcpy", "memset", "__aeabi_mem")
    assert [name for name in undefined_symbols(file) if not name.startswith(allowed)] == []


def _difference(ours: np.ndarray, torchs: np.ndarray) -> str:
    if (ours.dtype, ours.shape) != (torchs.dtype, torchs.shape):
        return f"{ours.dtype}{ours.shape} instead of {torchs.dtype}{torchs.shape}"
    return f"{np.count_nonzero(ours != torchs)} differ"


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
    assert {case.op for cases in SAMPLE.values() for case in cases} == set(OPERATORS)
    for target in TESTED:
        assert {case.op for cases in bundles_for(target).values() for case in cases} == set(OPERATORS)


@pytest.mark.parametrize(
    ("chosen", "names"),
    [([c for b in FEW_BUNDLES.values() for c in b], FEW), (SAMPLE["sample-layers"], ESSENTIAL)],
)
def test_chosen_cases_are_cases(chosen: list[Case], names: dict[str, str]) -> None:
    layers = [case for case in chosen if case.op in names]
    assert {case.op for case in layers} == set(names)
    both_kinds_of_gru = len(names["gru"].split())
    assert len(layers) == sum(len(labels.split()) for labels in names.values()) + both_kinds_of_gru
    assert {case.name for case in chosen} <= {case.name for case in CASES}


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
