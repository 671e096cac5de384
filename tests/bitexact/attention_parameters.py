"""Arguments of softmax, attention and products of activations: see parameters.py."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from parameters import Arguments, Input, Shape, _tensor, _weights, table_of

from irnn_tvm.ops.qparams import QParams, multiplier
from irnn_tvm.ops.softmax import exp_table


def _softmax(
    rng: np.random.Generator,
    *,
    shape: Shape,
    bits: int = 16,
    to: int = 16,
    scale: float = 2e-4,
    pieces: int = 32,
    lengths: bool = False,
    causal: bool = False,
) -> Arguments:
    """scale: real value of one step of the scores."""
    table = exp_table(pieces)
    mult, shift = multiplier(scale * 2**11)
    inputs = {"x": Input(shape, bits)}
    if lengths:
        inputs["lengths"] = Input((shape[0],), 32, shape[-1] + 1)
    numbers = {
        "mult": int(mult),
        "shift": shift,
        "table_shift": table.shift,
        "causal": causal,
        "out_bits": to,
    }
    return Arguments(
        inputs, {"table": _tensor(table.table, 16)}, numbers | ({} if lengths else {"lengths": None})
    )


def _attention(
    rng: np.random.Generator,
    *,
    b: int,
    tq: int,
    tk: int,
    d: int,
    v: int | None = None,
    heads: int = 1,
    to: int = 8,
    lengths: int = 0,
    causal: bool = False,
    q_zp: int = 5,
    v_zp: int = -7,
    out_zp: int | None = None,
    score: float = 2e-3,
    gain: float = 1.0,
    pieces: int = 32,
) -> Arguments:
    """score: real value of one step of a product of q and k; gain 1 gives the values' own size."""
    table = exp_table(pieces)
    mult, shift = multiplier(score * 2**11 / math.sqrt(d / heads))
    out_mult, out_shift = multiplier(2.0**-22 * gain * (1 if to == 8 else 128))
    v = d if v is None else v
    inputs = {"q": Input((b, tq, d)), "k": Input((b, tk, d)), "v": Input((b, tk, v))}
    if lengths:
        inputs["lengths"] = Input((lengths,), 32, tk + 1)
    numbers = {
        **{"heads": heads, "q_zp": q_zp, "v_zp": v_zp, "mult": int(mult), "shift": shift},
        **{"table_shift": table.shift, "causal": causal, "out_mult": int(out_mult), "out_shift": out_shift},
        **{"out_zp": (3 if to == 8 else 0) if out_zp is None else out_zp, "out_bits": to},
    }
    return Arguments(
        inputs, {"table": _tensor(table.table, 16)}, numbers | ({} if lengths else {"lengths": None})
    )


def _matmul(
    rng: np.random.Generator,
    *,
    m: int,
    k: int,
    n: int,
    lead: Shape = (2,),
    a: int = 8,
    b: int = 8,
    a_zp: int = 3,
    b_zp: int = -4,
    to: int = 8,
    out_zp: int | None = None,
    gain: float = 1.0,
    transposed: bool = False,
) -> Arguments:
    # A sum of random terms reaches a quarter of the output's range.
    spread = 0.3 * math.sqrt(k) * 2.0 ** (a + b - 2)
    mult, shift = multiplier(gain * 2.0 ** (to - 3) / spread)
    right = (*lead, n, k) if transposed else (*lead, k, n)
    numbers = {
        **{"a_zp": a_zp, "b_zp": b_zp, "mult": int(mult), "shift": shift, "transpose_b": transposed},
        **{"out_zp": (6 if to == 8 else 0) if out_zp is None else out_zp, "out_bits": to},
    }
    return Arguments({"a": Input((*lead, m, k), a), "b": Input(right, b)}, {}, numbers)


def _append(rng: np.random.Generator, *, b: int, m: int, d: int, bits: int = 8) -> Arguments:
    inputs = {"memory": Input((b, m, d), bits), "length": Input((b,), 32, 2 * m), "x": Input((b, d), bits)}
    return Arguments(inputs, {}, {})


def _additive_scores(
    rng: np.random.Generator,
    *,
    b: int,
    tq: int,
    tk: int,
    h: int,
    q: int = 16,
    k: int = 16,
    pre: int = 16,
    to: int = 16,
    out_zp: int = 0,
    pieces: int = 32,
    gain: float = 1.0,
) -> Arguments:
    grid = QParams(8 / 127, 5, 8) if pre == 8 else QParams(8 / 32767, 0, 16)
    table = table_of("tanh", pieces, grid, 8)
    # Each operand reaches about +-4 before tanh.
    (q_mult, k_mult), pre_shift = multiplier(
        np.array([4 / 2.0 ** (bits - 1) / grid.scale for bits in (q, k)])
    )
    mult, shift = multiplier(gain * 2.0 ** (to - 3) / (0.5 * 74 * 74 * math.sqrt(h)))
    numbers = {
        **{
            "q_zp": 3 if q == 8 else 0,
            "k_zp": -4 if k == 8 else 0,
            "q_mult": int(q_mult),
            "k_mult": int(k_mult),
        },
        **{"pre_shift": pre_shift, "pre_zp": grid.zero_point, "pre_bits": pre, "table_shift": table.shift},
        **{"mult": int(mult), "shift": shift, "out_zp": out_zp, "out_bits": to},
    }
    constants: dict[str, torch.Tensor] = {"weight": _weights(rng, (h,)), "table": _tensor(table.table, 16)}
    return Arguments({"q": Input((b, tq, h), q), "k": Input((b, tk, h), k)}, constants, numbers)


MAKERS: dict[str, Callable[..., Arguments]] = {
    "softmax": _softmax,
    "attention": _attention,
    "matmul": _matmul,
    "append": _append,
    "additive_scores": _additive_scores,
}
