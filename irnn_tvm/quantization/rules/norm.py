"""LayerNorm and MadNorm: exact integer statistics of a row, one rounding of the normalised value, one of the result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from irnn_tvm.errors import AccumulatorOverflowError, QuantizationError
from irnn_tvm.nn.mad_norm import MadNorm
from irnn_tvm.ops.normalize import MAX_EPS, MAX_FEATURES, MAX_MAD_EPS, UNIT_BITS, largest_unit
from irnn_tvm.ops.qparams import QParams, multiplier
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.modules.integer_norm import IntegerNorm
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.layer import float_array
from irnn_tvm.quantization.slots import Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


def integer_eps(kind: str, eps: float, features: int, scale: float, name: str) -> int:
    """eps in units of the integer statistic, at least 1. scale: of the row that is normalised.

    Raises QuantizationError when it does not fit, which only an eps that dwarfs the data can do.
    """
    real = eps * features * features / (scale * scale if kind == "layer" else scale)
    most = MAX_EPS if kind == "layer" else MAX_MAD_EPS
    if not real < most:
        raise QuantizationError(
            f"{name}: eps={eps} is {real:.3g} steps of its statistic, beyond {most}: the data (scale {scale:.3g}) is "
            "too small beside eps; scale it up or lower eps"
        )
    return max(1, round(real))


def integer_affine(
    kind: str, gamma: np.ndarray, beta: np.ndarray, out: QParams, name: str
) -> tuple[np.ndarray, np.ndarray, int]:
    """(gamma, beta, shift): real gain and offset [N] as int32 multipliers of a normalised value and of 2**16.

    The largest shift is taken for which all fit 31 bits and every sum fits 64.
    """
    unit = 1.0 / (out.scale * 2.0**UNIT_BITS)
    factors = np.abs(np.concatenate([gamma, beta])) * unit
    nonzero = factors[factors > 0]
    if not nonzero.size:
        return np.zeros_like(gamma, np.int64), np.zeros_like(beta, np.int64), UNIT_BITS
    try:
        _, shift = multiplier(nonzero)
    except QuantizationError as error:
        raise QuantizationError(f"{name}: {error}") from error
    reach = largest_unit(kind, gamma.size)
    while shift >= 1:
        gains, offsets = (np.floor(v * unit * 2.0**shift + 0.5).astype(np.int64) for v in (gamma, beta))
        worst = max(
            abs(int(g)) * reach + (abs(int(b)) << UNIT_BITS) for g, b in zip(gains, offsets, strict=True)
        )
        if worst + (1 << (shift - 1)) < 1 << 63:
            return gains, offsets, shift
        shift -= 1
    raise AccumulatorOverflowError(f"{name}: the 64-bit sum of gain and offset can overflow")


@Registry.register(modules=(nn.LayerNorm, MadNorm), functions=(F.layer_norm, torch.layer_norm))
class NormOp(Op):
    """y = (x - mean) / deviation * gamma + beta over the last axes."""

    def plan(self) -> Value:
        self.norm_kind = "mad" if isinstance(self.module, MadNorm) else "layer"
        self.kind = f"{self.norm_kind}_norm"
        self.source = self.slot(self.argument(0, "input"), "pwl")
        self.shape, self.weight, self.bias, self.eps = self._parameters()
        self.features = math.prod(self.shape)
        if self.features > MAX_FEATURES:
            raise self.refuse(f"{self.features} features; at most {MAX_FEATURES} are supported")
        slot = self.planner.new_slot(f"{self.label} output", flexible=True)
        slot.watch(self.node)
        return slot

    def _parameters(self) -> tuple[tuple[int, ...], Tensor | None, Tensor | None, float]:
        if isinstance(self.module, nn.LayerNorm | MadNorm):
            m = self.module
            return tuple(m.normalized_shape), m.weight, m.bias, m.eps
        shape: Sequence[Any] = self.argument(1, "normalized_shape")
        sizes = tuple(int(self.plain(s, "a size of normalized_shape")) for s in shape)
        eps = float(self.plain(self.argument(4, "eps", 1e-5), "eps"))
        return sizes, self._constant(2, "weight"), self._constant(3, "bias"), eps

    def _constant(self, position: int, name: str) -> Tensor | None:
        argument = self.argument(position, name)
        if argument is None:
            return None
        if not isinstance(argument, fx.Node) or not self.planner.is_constant(argument):
            raise self.refuse(f"its {name} must be a parameter or a constant")
        found: Tensor = argument.meta["value"]
        return found

    def build(self) -> IntegerNorm:
        """The integer layer of this call. Raises QuantizationError for an eps out of range."""
        assert isinstance(self.value, Slot)
        x, y = self.source.qparams, self.value.qparams
        ones, zeros = np.ones(self.features), np.zeros(self.features)
        gamma = ones if self.weight is None else float_array(self.weight).reshape(-1)
        beta = zeros if self.bias is None else float_array(self.bias).reshape(-1)
        gains, offsets, shift = integer_affine(self.norm_kind, gamma, beta, y, self.label)
        eps = integer_eps(self.norm_kind, self.eps, self.features, x.scale, self.label)
        return IntegerNorm(
            self.norm_kind,
            torch.from_numpy(gains.astype(np.int32)),
            torch.from_numpy(offsets.astype(np.int32)),
            eps,
            shift,
            x.bits,
            y.zero_point,
            y.bits,
        )

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert isinstance(self.value, Slot)
        if self.module is not None:
            return sim.quantize(self.module(*args, **kwargs), self.value)
        x = args[0] if args else kwargs["input"]
        weight, bias = (self.argument(p, n) for p, n in ((2, "weight"), (3, "bias")))
        weight, bias = (None if a is None else sim.live(a) for a in (weight, bias))
        return sim.quantize(F.layer_norm(x, self.shape, weight, bias, self.eps), self.value)

    def emit(self, emitter: Emitter) -> Any:
        x = emitter.env[self.argument(0, "input")]
        axes = len(self.shape)
        if axes > 1:
            x = emitter.graph.call_method("flatten", (x, -axes))
        y = emitter.layer(self.label, self.build(), x)
        return emitter.graph.call_method("unflatten", (y, -1, self.shape)) if axes > 1 else y
