"""Fixed-point arithmetic of the quantizer: multipliers that cannot overflow, roundings that keep outputs close."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from irnn_tvm.errors import AccumulatorOverflowError, QuantizationError
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.fixed_point import bounded_multiplier, check_accumulators, quantize_product
from irnn_tvm.quantization.rounding import Moments, absorb, round_weights
from irnn_tvm.quantization.slots import affine_qparams, constant_qparams, symmetric_qparams


def test_multipliers_use_31_bits_when_they_can() -> None:
    (mult,), shift = bounded_multiplier([np.array([0.3, 0.001])], [1000], "x")
    assert 2**30 <= mult[0] < 2**31
    assert abs(mult[1] / 2.0**shift / 0.001 - 1) < 1e-6


def test_multipliers_give_way_to_large_sums() -> None:
    (a, b), shift = bounded_multiplier([1.0, 0.25], [1 << 33, 1 << 33], "x")
    assert int(a[0]) * (1 << 33) + int(b[0]) * (1 << 33) + (1 << (shift - 1)) < 1 << 63
    assert a[0] == 4 * b[0]
    with pytest.raises(AccumulatorOverflowError, match="gate"):
        bounded_multiplier([1.0], [1 << 62], "gate")
    with pytest.raises(QuantizationError, match="gate"):
        bounded_multiplier([0.0], [1], "gate")


def test_accumulator_check_names_the_row() -> None:
    check_accumulators(np.array([2**31 - 2]), np.array([1]), "fc")
    with pytest.raises(AccumulatorOverflowError, match="fc, row 1"):
        check_accumulators(np.array([0, 2**31 - 1]), np.array([5, -1]), "fc")


def test_zero_is_always_on_the_grid() -> None:
    for low, high in ((-1.0, 1.0), (0.5, 2.0), (-3.0, -1.0), (-0.2, 7.0), (0.0, 1e-20)):
        q = affine_qparams(low, high, 8)
        assert float(q.dequantize(q.zero_point)) == 0.0
        assert float(q.dequantize(q.qmin)) <= min(low, 0.0) + q.scale
        assert float(q.dequantize(q.qmax)) >= max(high, 0.0) - q.scale
    assert affine_qparams(-0.98, 1.0, 8) == symmetric_qparams(1.0, 8)
    assert constant_qparams(np.zeros(3), 8).scale > 0


def moments(size: int, count: int = 400) -> tuple[Moments, torch.Tensor, QParams]:
    generator = torch.Generator().manual_seed(3)
    basis = torch.randn(size, size, generator=generator) * torch.linspace(1, 0.05, size)
    x = torch.randn(count, size, generator=generator) @ basis.T + 0.3
    grid = affine_qparams(float(x.min()), float(x.max()), 8)
    found = Moments(size)
    found.update(x[: count // 2], grid, 0)
    found.update(x[count // 2 :], grid, 0)
    return found, x, grid


@pytest.mark.parametrize("size", [16, 64, 130])
def test_compensated_rounding_lowers_the_output_error(size: int) -> None:
    found, x, grid = moments(size, 1000)
    weight = np.random.default_rng(0).standard_normal((20, size))
    bias = np.zeros(20)
    q = (torch.floor(x.double() / grid.scale + 0.5)).clamp(
        -128 - grid.zero_point, 127 - grid.zero_point
    ) * grid.scale
    errors = []
    for statistics in (None, found.statistics(weight)):
        rows, total = quantize_product(weight, bias, grid, statistics, "fc")
        integers = q.numpy() / grid.scale + grid.zero_point
        y = (integers @ rows.weight.T + total) * rows.effective
        errors.append(float(np.square(y - x.double().numpy() @ weight.T).mean()))
    assert errors[1] < 0.9 * errors[0]


def test_statistics_need_data_and_a_reasonable_size() -> None:
    weight = np.eye(4)
    assert Moments(4).statistics(weight) is None
    huge = Moments(5000)
    huge.update(torch.ones(3, 5000), QParams(0.1), 0)
    assert huge.statistics(np.ones((2, 5000))) is None
    still = Moments(4)
    still.update(torch.zeros(5, 4), QParams(0.1), 0)
    assert still.statistics(weight) is None
    single = Moments(4)
    single.update(torch.randn(4), QParams(0.1), 0)
    assert single.statistics(weight) is None


def test_what_does_not_generalise_is_not_used() -> None:
    """Each half of the data lies in a subspace of its own: nothing that one teaches is true of the other."""
    found = Moments(32)
    for _ in range(2):
        x = torch.zeros(50, 32)
        half = torch.arange(50) % 2
        x[half == 0, :16] = torch.randn(1, 16)
        x[half == 1, 16:] = torch.randn(1, 16)
        found.update(x, QParams(0.02), 0)
    assert found.statistics(np.random.default_rng(0).standard_normal((40, 32))) is None


def test_unseen_directions_keep_their_weights() -> None:
    found = Moments(4)
    x = torch.zeros(100, 4)
    x[:, 0] = torch.randn(100)
    found.update(x, QParams(0.05), 0)
    assert found.folds is not None
    statistics = (found.folds[0] + found.folds[1]).statistics(0.1, True)
    weight = np.random.default_rng(1).standard_normal((3, 4))
    kept = absorb(weight, statistics)
    assert np.array_equal(np.floor(kept[:, 1:] * 1e6 + 0.5), np.floor(weight[:, 1:] * 1e6 + 0.5))
    rounded = round_weights(weight, np.full(3, 0.01), statistics)
    assert np.abs(rounded * 0.01 - np.clip(weight, -1.27, 1.27)).max() <= 0.011
