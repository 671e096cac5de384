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
        biases = (module.bias_ih, module.bias_hh) if module.bias else (None, None)
        return [[DirectionWeights(module.weight_ih, module.weight_hh, *biases, False)]]
    layers = []
    for layer in range(module.num_layers):
        directions = []
        for reverse in (False, True) if module.bidirectional else (False,):
            suffix = f"l{layer}_reverse" if reverse else f"l{layer}"
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if module.bias else ("weight_ih", "weight_hh")
            found = [getattr(module, f"{kind}_{suffix}") for kind in kinds]
            directions.append(DirectionWeights(*(found + [None, None])[:4], reverse))
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
    """True when the element at `path` of the node's tuple result is read, and only as element[i] with constant i."""
    if not path:
        return all(
            user.op == "call_function" and user.target is operator.getitem and type(user.args[1]) is int
            for user in node.users
        )
    for user in node.users:
        if user.op != "call_function" or user.target is not operator.getitem or not isinstance(user.args[1], int):
            return False
        here = user.args[1] in (path[0], path[0] - len(node.meta["value"]))
        if here and not only_indexed(user, path[1:]):
            return False
    return True


def gate_qparams(observer: Observer, function: str, config: QuantConfig) -> QParams:
    """Grid of a gate's pre-activation: what was seen, but no further than where the function is flat on its output."""
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

    ih, hh: the rows; bias int64 [N]: in accumulator units of ih, with the zero points of both operands folded in.
    ih_bound, hh_bound int64 [N]: largest |accumulator|, bias included.
    """

    ih: Rows
    hh: Rows
    bias: np.ndarray
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
    name: str,
) -> GateRows:
    """Quantizes the rows of every gate. bias [N] (real) goes in the joint bias, own_bias [N] (real) will be added to
    the recurrent accumulator by the caller. h: the recurrent operand's parameters per gate (r * h differs from h);
    fold_h: whether that operand's zero point belongs in the joint bias."""
    ih, hh = float_array(w_ih), float_array(w_hh)
    size = ih.shape[0] // len(h)
    h_scale = np.repeat([q.scale for q in h], size)
    unit_ih = row_units(ih, x.scale)
    unit_hh = np.abs(hh).max(axis=1) / 127.0 * h_scale
    for gate in range(len(h)):
        rows = slice(gate * size, (gate + 1) * size)
        coarsest = float(max(unit_ih[rows].max(), unit_hh[rows].max()))
        unit_ih[rows] = floor_units(unit_ih[rows], coarsest)
        unit_hh[rows] = floor_units(unit_hh[rows], coarsest)
    unit_hh = fit_bias(unit_hh, own_bias)
    quantized = np.floor(hh * (h_scale / unit_hh)[:, None] + 0.5)
    rows_hh = Rows(np.clip(quantized, -127, 127).astype(np.int8), unit_hh)
    zero_points = np.repeat([q.zero_point if fold else 0 for q, fold in zip(h, fold_h, strict=True)], size)
    real = bias - zero_points * rows_hh.sums() * unit_hh
    unit_ih = fit_bias(unit_ih, real)
    rows_ih = quantize_rows(ih, x.scale, unit_ih)
    total = np.floor(real / unit_ih + 0.5).astype(np.int64) - x.zero_point * rows_ih.sums()
    check_accumulators(rows_ih.magnitude(), total, f"{name} (input weights)")
    check_accumulators(rows_hh.magnitude(), np.zeros_like(total), f"{name} (recurrent weights)")
    return GateRows(rows_ih, rows_hh, total, rows_ih.magnitude() + np.abs(total), rows_hh.magnitude())


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


def layered_state(module: Any, state: Tensor) -> Tensor:
    """A float state as [L * D, B, H]; cells have no layer axis, unbatched calls no batch axis."""
    if isinstance(module, nn.RNNCellBase):
        return (state if state.dim() == 2 else state.unsqueeze(0)).unsqueeze(0)
    return state if state.dim() == 3 else state.unsqueeze(1)
