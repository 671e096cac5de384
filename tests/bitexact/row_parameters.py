"""Arguments of operators over whole rows: see parameters.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from parameters import Arguments, Input, Shape, _tensor

from irnn_tvm.ops.qparams import multiplier


def _norm(
    rng: np.random.Generator,
    *,
    bits: int,
    to: int,
    shape: Shape = (3, 37),
    eps: int = 1,
    out_zp: int | None = None,
    gain: float = 1.0,
    gamma: int | None = None,
    beta: int | None = None,
) -> Arguments:
    """Gains of both signs of about 1; a normalised value of 2.5 reaches the output's limit when `gain` is 1."""
    n = shape[-1]
    real = rng.uniform(0.5, 1.0, n) * rng.choice([-1, 1], n)
    shift = 45 - to - round(np.log2(gain))  # 2.5 * 2**29 * 2**16 >> shift is about 2**(to - 1) for gain 1
    gammas = np.round(real * 2.0**29) if gamma is None else np.full(n, gamma)
    betas = np.round(rng.uniform(-1, 1, n) * 2.0**28) if beta is None else np.full(n, beta)
    zero = {8: -6, 16: 0}[to] if out_zp is None else out_zp
    numbers = {"eps": eps, "shift": shift, "out_zp": zero, "out_bits": to}
    constants = {"gamma": _tensor(gammas.astype(np.int64), 32), "beta": _tensor(betas.astype(np.int64), 32)}
    return Arguments({"x": Input(shape, bits)}, constants, numbers)


def _mean_pool(
    rng: np.random.Generator,
    *,
    bits: int,
    to: int,
    shape: Shape,
    dim: int,
    in_zp: int = 0,
    out_zp: int = 0,
    gain: float = 1.0,
) -> Arguments:
    # The mean of random values is smaller than they are.
    mult, shift = multiplier(1.3 * gain * 2.0 ** (to - bits) * min(4.0, shape[dim] ** 0.5))
    numbers = {"dim": dim, "in_zp": in_zp, "mult": int(mult), "shift": shift}
    return Arguments({"x": Input(shape, bits)}, {}, numbers | {"out_zp": out_zp, "out_bits": to})


def _sum_pool(
    rng: np.random.Generator,
    *,
    bits: int,
    to: int,
    shape: Shape,
    dim: int,
    in_zp: int = 0,
    out_zp: int = 0,
    gain: float = 1.0,
) -> Arguments:
    mult, shift = multiplier(gain * 2.0 ** (to - bits) / shape[dim] ** 0.5)
    numbers = {"dim": dim, "in_zp": in_zp, "mult": int(mult), "shift": shift}
    return Arguments({"x": Input(shape, bits)}, {}, numbers | {"out_zp": out_zp, "out_bits": to})


def _along(rng: np.random.Generator, *, bits: int, shape: Shape, dim: int) -> Arguments:
    return Arguments({"x": Input(shape, bits)}, {}, {"dim": dim})


def _topk(rng: np.random.Generator, *, bits: int, shape: Shape, k: int) -> Arguments:
    return Arguments({"x": Input(shape, bits)}, {}, {"k": k})


def _avg_pool1d(
    rng: np.random.Generator,
    *,
    bits: int,
    to: int,
    kernel: int,
    stride: int,
    padding: int = 0,
    batch: int = 2,
    in_zp: int = 0,
    out_zp: int = 0,
) -> Arguments:
    mult, shift = multiplier(1.1 * 2.0 ** (to - bits) / kernel**0.5)
    numbers = {"kernel": kernel, "stride": stride, "padding": padding, "in_zp": in_zp}
    numbers |= {"mult": int(mult), "shift": shift, "out_zp": out_zp, "out_bits": to}
    return Arguments({"x": Input((batch, 5, 17), bits)}, {}, numbers)


def _max_pool1d(
    rng: np.random.Generator,
    *,
    bits: int,
    kernel: int,
    stride: int,
    padding: int = 0,
    dilation: int = 1,
    batch: int = 2,
) -> Arguments:
    numbers = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return Arguments({"x": Input((batch, 5, 17), bits)}, {}, numbers)


MAKERS: dict[str, Callable[..., Arguments]] = {
    "layer_norm": _norm,
    "mad_norm": _norm,
    "mean_pool": _mean_pool,
    "sum_pool": _sum_pool,
    "max_pool": _along,
    "argmax": _along,
    "topk": _topk,
    "avg_pool1d": _avg_pool1d,
    "max_pool1d": _max_pool1d,
}
