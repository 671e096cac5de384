"""Kernels in tiles compute the integers of the torch reference, on every target that has instructions for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from bundle import VARIANTS, Outputs
from every_target import runnable
from parameters import arguments
from tile_cases import SAMPLE, TILE_BUNDLES, TILE_SAMPLE, TILES

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.schedules.instruction_sets import INSTRUCTION_SETS, get

# One target for each instruction set: `host` is in no need of the one that it takes.
TILED = list({simd: name for name, t in reversed(irnn_tvm.TARGETS.items()) if (simd := t.simd())}.values())
CASES = TILE_BUNDLES | TILE_SAMPLE

# Other formulas in lanes, with the same products. These sets have lanes of their own; others inherit them.
VARIANT_LAYERS = ("tiles-lstm-general", "tiles-gru-before", "tiles-gru-norm")
OWN_LANES = ("avx2", "avx512", "neon-dotprod", "armv7-neon", "arm-dsp", "helium")
SAMPLED = ("host", "x86-avx512-vnni", "arm", "armv7", "cortex-m4", "cortex-m55")


def _parameters() -> list[object]:
    """(target, bundle): a sample for every kind of processor, and exhaustively the rest."""
    rows: list[tuple[str, str, list[pytest.MarkDecorator]]] = [
        (
            name,
            "tiles-sample" if irnn_tvm.TARGETS[name].simd() in OWN_LANES else "tiles-sample-products",
            [] if name in SAMPLED else [pytest.mark.exhaustive],
        )
        for name in TILED
    ]
    rows += [
        (name, bundle, [pytest.mark.exhaustive])
        for name in TILED
        for bundle in TILE_BUNDLES
        if bundle not in VARIANT_LAYERS or irnn_tvm.TARGETS[name].simd() in OWN_LANES
    ]
    return [
        pytest.param(
            name,
            bundle,
            marks=[pytest.mark.emulator, *marks] if runnable(name).emulator else marks,
            id=f"{name}-{bundle}",
        )
        for name, bundle, marks in rows
    ]


@pytest.mark.parametrize(("target", "bundle"), _parameters())
def test_tiles_compute_what_torch_does(
    target: str,
    bundle: str,
    reference: Callable[[str], Outputs],
    outputs: Callable[[str, str], Outputs],
    library: Callable[[str, str], Library],
) -> None:
    """One test for both, so that a library is built once: the integers, and that tiles are what computed them."""
    got, expected = outputs(bundle, target), reference(bundle)
    wrong = [
        f"{case.name}, {variant} inputs, output {number}"
        for variant in VARIANTS
        for case in CASES[bundle]
        for number, (ours, torchs) in enumerate(
            zip(got[variant][case.name], expected[variant][case.name], strict=True)
        )
        if ours.dtype != torchs.dtype or not np.array_equal(ours, torchs)
    ]
    assert wrong == []
    rules = [kernel["schedule"] for kernel in library(bundle, target).report["kernels"]]
    # Too many pieces (which armv7 has with 64), too long ones, and weights too low for NEON without dot products.
    exceptions = 0
    if bundle not in ("tiles-rnn", "tiles-linear", *TILE_SAMPLE):
        name = irnn_tvm.TARGETS[target].simd()
        exceptions = {"neon": 3, "armv7-neon": 4, "helium": 1, "arm-dsp": 1}.get(name, 2)
        isa = get(name)
        # And a Mogrifier that does not fill a tile: of inputs, units or states.
        exceptions += sum(
            "rounds" in case.settings
            and min(map(int, (case.settings["x"], case.settings["h"]))) < min(isa.tiles)
            for case in CASES[bundle]
            if isa is not None and case.op == "lstm_general"
        )
    assert rules.count("dot_rows") == exceptions
    assert rules.count("tiles") >= len(CASES[bundle]) - exceptions


def test_there_is_something_to_test() -> None:
    assert {irnn_tvm.TARGETS[name].simd() for name in TILED} == set(INSTRUCTION_SETS)
    assert len(TILED) == len(INSTRUCTION_SETS)
    layers = {"lstm", "lstm-general", "gru", "gru-before", "gru-norm", "rnn", "linear"}
    assert set(TILE_BUNDLES) == {f"tiles-{layer}" for layer in layers}
    assert [case.name for case in TILE_SAMPLE["tiles-sample"]] == [c.name for c in TILES if c.name in SAMPLE]
    assert len(TILE_SAMPLE["tiles-sample"]) == len(SAMPLE)


def test_some_sums_need_64_bits() -> None:
    """The wide cases are beyond what lanes saturate in 32 bits, others are not."""
    from irnn_tvm.relay_ops import fixed_point as fp

    for name in ("gru-before-tiles-wide", "lstm-general-tiles-bare-wide"):
        case = next(case for case in TILES if case.name == name)
        numbers, w = arguments(case).numbers, arguments(case).constants
        sums = (w["w_ih"].long().abs().sum(1) * 127) * w["mult_ih"].long()
        assert not fp.within_int32(int(sums.max()), min(numbers["gate_shift"]), 0)
