"""What LSTM and GRU rules share: weights by layer and direction, gate grids, and who reads the final states."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.config import QuantConfig
from irnn_tvm.quantization.fixed_point import (
    Rows,
    check_accumulators,
    fit_bias,
    floor_units,
    quantize_rows,
    row_units,
)
from irnn_tvm.quantization.observers import Observer
from irnn_tvm.quantization.rounding import Moments, Statistics, absorb, mean_shift
from irnn_tvm.quantization.rules.layer import float_array
from irnn_tvm.quantization.slots import affine_qparams, symmetric_qparams
from irnn_tvm.quantization.tables import FLAT, FUNCTIONS, OUTPUTS, fit_table


@dataclass(frozen=True)
class DirectionWeights:
    """Float parameters of one layer in one direction, biases None when the layer has none."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    reverse: bool


def direction_weights(module: nn.RNNBase | nn.RNNCellBase) -> list[list[DirectionWeights]]:
    """[layer][direction] of nn.LSTM, nn.GRU (and subclasses) and their cells."""
    if isinstance(module, nn.RNNCellBase):
        b_ih, b_hh = (module.bias_ih, module.bias_hh) if module.bias else (None, None)
        return [[DirectionWeights(module.weight_ih, module.weight_hh, b_ih, b_hh, False)]]
    layers = []
    for layer in range(module.num_layers):
        directions = []
        for reverse in (False, True) if module.bidirectional else (False,):
            suffix = f"l{layer}_reverse" if reverse else f"l{layer}"
            w_ih, w_hh = (getattr(module, f"{kind}_{suffix}") for kind in ("weight_ih", "weight_hh"))
            b_ih = getattr(module, f"bias_ih_{suffix}") if module.bias else None
            b_hh = getattr(module, f"bias_hh_{suffix}") if module.bias else None
            directions.append(DirectionWeights(w_ih, w_hh, b_ih, b_hh, reverse))
        layers.append(directions)
    return layers


def reads(node: fx.Node, path: tuple[int, ...]) -> bool:
    """True when anything reads the element at `path` of the node's tuple result."""
    for user in node.users:
        if user.op == "call_function" and user.target is operator.getitem and isinstance(user.args[1], int):
            if user.args[1] in (path[0], path[0] - len(node.meta["value"])) and (
                len(path) == 1 or reads(user, path[1:])
            ):
                return True
        else:
            return True
    return False


def only_indexed(node: fx.Node, path: tuple[int, ...]) -> bool:
    """True when the element at `path` of the node's tuple result is read, and only as element[i] with
    constant i.
    """
    if not path:
        return all(
            user.op == "call_function" and user.target is operator.getitem and type(user.args[1]) is int
            for user in node.users
        )
    for user in node.users:
        if (
            user.op != "call_function"
            or user.target is not operator.getitem
            or not isinstance(user.args[1], int)
        ):
            return False
        here = user.args[1] in (path[0], path[0] - len(node.meta["value"]))
        if here and not only_indexed(user, path[1:]):
            return False
    return True


def gate_qparams(observer: Observer, function: str, config: QuantConfig) -> QParams:
    """Grid of a gate's pre-activation: what was seen, but no further than where the function is flat on its
    output.
    """
    flat = FLAT[function, config.gate_bits]
    observer.bits, observer.symmetric = config.gate_bits, config.gate_bits == 16
    low, high = observer.range()
    if config.gate_bits == 16:
        amax = max(-low, high) * config.headroom
        return symmetric_qparams(min(amax, flat) if amax > 0 else flat, 16)
    low, high = max(low, -flat), min(high, flat)
    return affine_qparams(low, high, 8) if max(-low, high) > 0 else symmetric_qparams(flat, 8)


def wide_qparams(observer: Observer, config: QuantConfig) -> QParams:
    """Symmetric grid, gate_bits wide, of an internal tensor; one that is always 0 takes any scale."""
    observer.bits, observer.symmetric = config.gate_bits, True
    low, high = observer.range()
    amax = max(-low, high, 0.0) * (config.headroom if config.gate_bits == 16 else 1.0)
    return symmetric_qparams(amax if amax > 1e-30 else 1.0, config.gate_bits)


@dataclass(frozen=True)
class Tables:
    """The activation tables of one direction: table int16 [n, 3, P], shift and output zero point of each."""

    table: Tensor
    shift: list[int]
    zero_point: list[int]
    scale: list[float]


def fit_tables(
    functions: Sequence[str], grids: Sequence[QParams], observers: Sequence[Observer], config: QuantConfig
) -> Tables:
    """Fits one table per (function, grid), weighted by what its observer saw."""
    outs = [OUTPUTS[name](config.gate_bits) for name in functions]
    fitted = [
        fit_table(FUNCTIONS[name], config.pwl_pieces, grid, out, observer.histogram)
        for name, grid, out, observer in zip(functions, grids, outs, observers, strict=True)
    ]
    return Tables(
        torch.from_numpy(np.stack([t.table for t in fitted])),
        [t.shift for t in fitted],
        [o.zero_point for o in outs],
        [o.scale for o in outs],
    )


@dataclass(frozen=True)
class GateRows:
    """Quantized weights of all gates with one joint bias.

    ih, hh: the rows; bias int64 [N]: in accumulator units of ih, with the zero points of both operands folded
    in. own_bias float64 [N]: the caller's own_bias, with the mean error of the recurrent rows made up for.
    ih_bound, hh_bound int64 [N]: largest |accumulator|, bias included.
    """

    ih: Rows
    hh: Rows
    bias: np.ndarray
    own_bias: np.ndarray
    ih_bound: np.ndarray
    hh_bound: np.ndarray


def gate_rows(
    w_ih: Tensor,
    w_hh: Tensor,
    bias: np.ndarray,
    own_bias: np.ndarray,
    x: QParams,
    h: Sequence[QParams],
    fold_h: Sequence[bool],
    seen: tuple[Statistics | None, Sequence[Statistics | None]],
    name: str,
) -> GateRows:
    """Quantizes the rows of every gate. bias [N] (real) goes in the joint bias, own_bias [N] (real) will be
    added to the recurrent accumulator by the caller. h: the recurrent operand's parameters per gate (r * h
    differs from h); fold_h: whether that operand's zero point and mean error belong in the joint bias (in
    own_bias otherwise). seen: statistics of the input, and of the recurrent operand per gate.
    """
    ih, hh = float_array(w_ih), float_array(w_hh)
    size = ih.shape[0] // len(h)
    gates = [slice(gate * size, (gate + 1) * size) for gate in range(len(h))]
    target_ih = absorb(ih, seen[0])
    target_hh = np.concatenate([absorb(hh[r], s) for r, s in zip(gates, seen[1], strict=True)])
    unit_ih = row_units(target_ih, x.scale)
    unit_hh = np.concatenate([row_units(target_hh[r], q.scale) for r, q in zip(gates, h, strict=True)])
    for r in gates:
        coarsest = float(max(unit_ih[r].max(), unit_hh[r].max()))
        unit_ih[r], unit_hh[r] = floor_units(unit_ih[r], coarsest), floor_units(unit_hh[r], coarsest)
    unit_hh = fit_bias(unit_hh, own_bias)
    joint, own = bias.astype(np.float64), own_bias.astype(np.float64)
    parts = []
    for r, q, statistics, fold in zip(gates, h, seen[1], fold_h, strict=True):
        part = quantize_rows(target_hh[r], q.scale, unit_hh[r], statistics)
        parts.append(part.weight)
        shift = mean_shift(hh[r], part.weight * (part.effective / q.scale)[:, None], statistics)
        if fold:
            joint[r] += shift - q.zero_point * part.sums() * part.effective
        else:
            own[r] += shift
    rows_hh = Rows(np.concatenate(parts), unit_hh)
    unit_ih = fit_bias(unit_ih, joint)
    rows_ih = quantize_rows(target_ih, x.scale, unit_ih, seen[0])
    joint += mean_shift(ih, rows_ih.weight * (unit_ih / x.scale)[:, None], seen[0])
    total = np.floor(joint / unit_ih + 0.5).astype(np.int64) - x.zero_point * rows_ih.sums()
    check_accumulators(rows_ih.magnitude(), total, f"{name} (input weights)")
    check_accumulators(rows_hh.magnitude(), np.zeros_like(total), f"{name} (recurrent weights)")
    return GateRows(rows_ih, rows_hh, total, own, rows_ih.magnitude() + np.abs(total), rows_hh.magnitude())


def joint_bias(weights: DirectionWeights) -> tuple[np.ndarray, np.ndarray]:
    """(b_ih, b_hh) as float64, zeros where the layer has none."""
    zeros = np.zeros(weights.w_ih.shape[0])
    b_ih = float_array(weights.b_ih) if weights.b_ih is not None else zeros
    b_hh = float_array(weights.b_hh) if weights.b_hh is not None else zeros
    return b_ih, b_hh


def int32(values: np.ndarray) -> Tensor:
    """An int32 buffer."""
    return torch.from_numpy(np.asarray(values).astype(np.int32))


def time_major(module: Any, x: Tensor) -> Tensor:
    """The float input of a recurrent layer or cell as [T, B, X]."""
    if isinstance(module, nn.RNNCellBase):
        return (x if x.dim() == 2 else x.unsqueeze(0)).unsqueeze(0)
    if x.dim() == 2:
        return x.unsqueeze(1)
    return x.transpose(0, 1) if module.batch_first else x


def as_called(module: Any, x: Tensor, y: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
    """Time-major y and states [L * D, B, H] in the form that a layer called with x returns (batch_first, unbatched)."""
    if x.dim() == 2:
        return y.squeeze(1), *(s.squeeze(1) for s in states)
    return (y.transpose(0, 1) if module.batch_first else y), *states


def layered_state(module: Any, state: Tensor) -> Tensor:
    """A float state as [L * D, B, H]; cells have no layer axis, unbatched calls no batch axis."""
    if isinstance(module, nn.RNNCellBase):
        return (state if state.dim() == 2 else state.unsqueeze(0)).unsqueeze(0)
    return state if state.dim() == 3 else state.unsqueeze(1)


def statistics_of(moments: Moments | None, weight: Tensor) -> Statistics | None:
    """What rounding of the float weights [N, K] may use; None for plain rounding."""
    return moments.statistics(float_array(weight)) if moments is not None else None
