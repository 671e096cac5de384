"""Kernels in tiles compute the integers of the torch reference, on every target that has instructions for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from bundle import VARIANTS, Outputs
from tile_cases import TILES

import irnn_tvm
from irnn_tvm import Library

TILED = [name for name, target in irnn_tvm.TARGETS.items() if target.simd() is not None]


def _targets() -> list[object]:
    emulated = pytest.mark.emulator
    return [pytest.param(name, marks=[emulated] if irnn_tvm.TARGETS[name].emulator else []) for name in TILED]


@pytest.mark.parametrize("target", _targets())
def test_outputs_are_those_of_torch(
    target: str, reference: Callable[[str], Outputs], outputs: Callable[[str, str], Outputs]
) -> None:
    got, expected = outputs("tiles", target), reference("tiles")
    wrong = [
        f"{case.name}, {variant} inputs, output {number}"
        for variant in VARIANTS
        for case in TILES
        for number, (ours, torchs) in enumerate(
            zip(got[variant][case.name], expected[variant][case.name], strict=True)
        )
        if ours.dtype != torchs.dtype or not np.array_equal(ours, torchs)
    ]
    assert wrong == []


@pytest.mark.parametrize("target", _targets())
def test_kernels_are_tiles_but_where_they_cannot_be(
    target: str, library: Callable[[str, str], Library]
) -> None:
    rules = [kernel["schedule"] for kernel in library("tiles", target).report["kernels"]]
    # An LSTM and a GRU with too many pieces and with too long ones. Those with too low weights, on instruction sets
    # that cannot multiply them.
    exact = target == "arm"
    assert rules.count("dot_rows") == (4 if exact else 6)
    assert rules.count("tiles") > 100


def test_there_is_something_to_test() -> None:
    assert {"arm", "arm-a53", "armv7"} <= set(TILED)
