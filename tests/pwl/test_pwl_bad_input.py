"""What irnn_tvm.pwl refuses, and how it says so."""

from __future__ import annotations

import numpy as np
import pytest
from pwl_samples import IN8, OUT8

from irnn_tvm import pwl
from irnn_tvm.errors import QuantizationError

KINDS = [pwl.fit, pwl.uniform, pwl.greedy]
WIDE = pwl.QParams(1.0, 0, 32)


def log(x: np.ndarray) -> np.ndarray:
    """NaN for negative inputs."""
    return np.asarray(np.log(x))


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((np.tanh, 0, IN8, OUT8), r"0 PWL pieces are not supported; supported: 1\.\.256"),
        ((np.tanh, 257, IN8, OUT8), "257 PWL pieces"),
        ((log, 4, IN8, OUT8), "not a number"),
        ((lambda x: x[:5], 4, IN8, OUT8), "not a number"),
        ((np.tanh, 4, WIDE, OUT8), "8- or 16-bit"),
        ((np.tanh, 4, IN8, WIDE), "8- or 16-bit"),
        ((np.tanh, 4, IN8, OUT8, np.ones(255)), "256 finite weights"),
        ((np.tanh, 4, IN8, OUT8, np.zeros(256)), "not all 0"),
        ((np.tanh, 4, IN8, OUT8, -np.ones(256)), ">= 0"),
        ((np.tanh, 4, IN8, OUT8, np.full(256, np.nan)), "finite"),
    ],
)
def test_tables(method: object, arguments: tuple[object, ...], match: str) -> None:
    with pytest.raises(QuantizationError, match=match):
        method(*arguments)  # type: ignore[operator]


def test_lookup() -> None:
    with pytest.raises(QuantizationError, match="not a number"):
        pwl.lookup(log, IN8, OUT8)
    with pytest.raises(QuantizationError, match="8- or 16-bit"):
        pwl.lookup(np.tanh, IN8, WIDE)


@pytest.mark.parametrize("histogram", [np.ones(7), np.zeros(256), -np.ones(256), np.full(256, np.nan)])
def test_error(histogram: np.ndarray) -> None:
    table = pwl.lookup(np.tanh, IN8, OUT8)
    with pytest.raises(QuantizationError, match="256 finite weights"):
        pwl.error(table, np.tanh, IN8, OUT8, histogram)


def test_grids() -> None:
    with pytest.raises(QuantizationError, match="7 bits"):
        pwl.FUNCTIONS["tanh"].grids(7)
    for limit in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(QuantizationError, match="positive"):
            pwl.FUNCTIONS["tanh"].grids(8, limit)
