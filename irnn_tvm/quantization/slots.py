"""Slots: one set of quantization parameters, and everything that is known about the tensors that share it.

A float tensor of the captured graph belongs to one slot. Data movement keeps the slot of its input, so a
permute or a slice never costs a requantization; an operator that rescales anyway starts a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, fx

from irnn_tvm.errors import CalibrationError
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.config import QuantConfig

# What reads a tensor decides the width of an operator that can write either.
Use = str  # "output", "pwl", "state8", "state16", "product", "elementwise", "concat"


class Slot:
    """Quantization parameters in the making.

    name: for messages and the report. tensor_class: which observer of the config watches it.
    bits: fixed width, or None to choose from the uses. fixed: gives known parameters for a width (sigmoid
    outputs). flexible: the producer can write any parameters (a rescale), so a single reader may impose its
    own.
    """

    def __init__(
        self,
        name: str,
        config: QuantConfig,
        tensor_class: str = "activation",
        bits: int | None = None,
        *,
        flexible: bool = False,
        symmetric: bool = False,
        fixed: Callable[[int], QParams] | None = None,
        fixed_until: float | None = None,
        constant: Tensor | None = None,
        fill: float | None = None,
        parent: Slot | None = None,
        factor: float = 1.0,
        merged: list[Slot] | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.tensor_class = tensor_class
        self.flexible = flexible
        self.symmetric = symmetric
        self.constant = constant
        self.fill = fill
        self.parent = parent
        self.factor = factor
        self.merged = merged or []
        self.uses: set[Use] = set()
        self.wants: list[Slot] = []
        self.watched: list[tuple[fx.Node, tuple[int, ...]]] = []
        self.tail: fx.Node | None = None  # the last node that a clamp may still move the observation to
        self.clamped = (False, False)  # its values are cut below / above on purpose (relu ...)
        self.observer = config.observer(tensor_class)
        self.provisional = False  # training goes on with any scale while a tensor has been 0 so far
        self._bits = bits
        self._fixed = fixed
        self._fixed_until = fixed_until
        self._alias: Slot | None = None
        self._qparams: QParams | None = None

    @property
    def root(self) -> Slot:
        """The slot whose parameters this one takes."""
        return self if self._alias is None else self._alias.root

    @property
    def is_constant(self) -> bool:
        return self.constant is not None or self.fill is not None

    def is_zero(self) -> bool:
        """True for a tensor that is 0 everywhere by construction."""
        if self.fill is not None:
            return self.fill == 0.0
        return self.constant is not None and not bool(self.constant.any())

    def watch(self, node: fx.Node, path: tuple[int, ...] = ()) -> None:
        """Observes the value at `path` of the node's result."""
        self.watched.append((node, path))
        self.tail = node if not path else None

    def add_use(self, use: Use) -> None:
        self.uses.add(use)
        if self.parent is not None:
            self.parent.add_use(use)

    def want(self, other: Slot) -> None:
        """Some reader would take this tensor without a requantization if it had the parameters of `other`."""
        self.wants.append(other)

    def follow(self, other: Slot) -> None:
        """Takes the parameters of `other` from now on."""
        if other is not self:
            self._alias = other

    def rests_on(self, other: Slot) -> bool:
        """Whether this slot's parameters are computed from those of `other`."""
        if self is other:
            return True
        sources = [*([self._alias] if self._alias is not None else []), *self.merged]
        sources += [self.parent] if self.parent is not None else []
        return any(source.rests_on(other) for source in sources)

    def settle(self) -> None:
        """After planning: takes over the parameters of its only reader where both allow it."""
        if self.tensor_class == "input" and self.wants and self._alias is None:
            # An initial state: what goes in must mean the same as what comes out as the final state.
            self.follow(self.wants[0].root)
            return
        targets = {id(w.root): w.root for w in self.wants}
        allowed = {"state8", "state16", "output"} | ({"concat"} if self.is_constant else set())
        only_states = self.uses and self.uses <= allowed
        if self.flexible and only_states and len(targets) == 1 and self._alias is None:
            target = next(iter(targets.values()))
            self.follow(target)

    @property
    def bits(self) -> int:
        if self._alias is not None:
            return self.root.bits
        if self.parent is not None:
            return self.parent.bits
        if self._bits is None:
            self._bits = self._choose_bits()
        return self._bits

    def _choose_bits(self) -> int:
        if self.merged:
            if len({m.qparams for m in self.merged}) == 1:
                return self.merged[0].bits
            wide = any(m.bits == 16 for m in self.merged)
            return 16 if wide and self.uses == {"output"} else self.config.activation_bits
        if "output" in self.uses:
            return self.config.output_bits
        if self.uses and self.uses <= {"pwl"}:
            return self.config.gate_bits
        if "state16" in self.uses:
            return 16
        return self.config.activation_bits

    @property
    def qparams(self) -> QParams:
        """The final parameters; calibration must be over. Raises CalibrationError for a range of 0."""
        if self._qparams is None:
            self._qparams = self._resolve()
        return self._qparams

    def forget(self) -> None:
        """The parameters are resolved again when somebody asks: what they rest on has changed."""
        self._qparams = None

    def _resolve(self) -> QParams:
        if self._alias is not None:
            return self.root.qparams
        if self.parent is not None:
            base = self.parent.qparams
            return QParams(base.scale * self.factor, base.zero_point, base.bits)
        if self.merged and len({m.qparams for m in self.merged}) == 1:
            return self.merged[0].qparams
        if self.is_constant:
            value = self.constant.double().numpy() if self.constant is not None else np.array([self.fill])
            return constant_qparams(value, self.bits)
        if self.is_fixed():
            assert self._fixed is not None
            return self._fixed(self.bits)
        return self._observed()

    def is_fixed(self) -> bool:
        """True when the parameters are known ones, as those of a sigmoid are, and hold what was seen."""
        if self._fixed is None:
            return False
        seen = 0.0 if self.observer.empty else max(-self.observer.low, self.observer.high)
        return self._fixed_until is None or seen <= self._fixed_until

    def _observed(self) -> QParams:
        bits, symmetric = self.bits, self.symmetric or self.bits == 16
        self.observer.bits, self.observer.symmetric = bits, symmetric
        if self.observer.empty:
            raise CalibrationError(f"{self.name} was never reached by the calibration data")
        low, high = self.observer.range()
        if not max(-low, high, 0.0) > 1e-30:
            if self.provisional:
                return symmetric_qparams(1.0, bits)
            raise CalibrationError(
                f"{self.name} is constant 0 over the whole calibration data, so it has no scale: use data "
                "that "
                "exercises it, or remove it from the model"
            )
        if symmetric:
            amax = max(-low, high) * (self.config.headroom if bits == 16 else 1.0)
            return symmetric_qparams(min(amax, self.observer.limit), bits)
        return affine_qparams(low, high, bits)


NEARLY_SYMMETRIC = 0.95


def affine_qparams(low: float, high: float, bits: int) -> QParams:
    """Parameters that cover [low, high] and represent 0 exactly.

    A range that is symmetric but for 5 % gets zero point 0 and its larger end exactly on the grid: saturated
    hidden units sit at -1 and 1, and half a step off for all of them would be a systematic error.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if min(-low, high) > NEARLY_SYMMETRIC * max(-low, high):
        return symmetric_qparams(max(-low, high), bits)
    qmin, qmax = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    scale = (high - low) / (qmax - qmin)
    zero_point = int(np.floor(qmin - low / scale + 0.5))
    return QParams(scale, min(max(zero_point, qmin), qmax), bits)


def symmetric_qparams(amax: float, bits: int) -> QParams:
    """Parameters with zero point 0 that cover [-amax, amax]."""
    return QParams(amax / ((1 << (bits - 1)) - 1), 0, bits)


def constant_qparams(value: np.ndarray, bits: int) -> QParams:
    """Symmetric parameters of known values; all zeros take any scale."""
    amax = float(np.abs(value).max()) if value.size else 0.0
    return symmetric_qparams(amax if amax > 0 else 1.0, bits)


class Index:
    """Abstract value of an integer tensor: ids of an embedding."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.limit: int | None = None  # ids are in [0, limit)

    def restrict(self, limit: int) -> None:
        self.limit = limit if self.limit is None else min(self.limit, limit)


class Mask:
    """Abstract value of a boolean mask over the keys of an attention: it exists in the float model only.

    lengths: node of the integer tensor [B] that says how many keys are valid, None when all are. causal: a key is valid
    up to the query's own position. valid: True marks the valid positions, not the others.
    """

    def __init__(self, lengths: fx.Node | None = None, *, causal: bool = False, valid: bool = True) -> None:
        self.lengths = lengths
        self.causal = causal
        self.valid = valid


class Static:
    """Abstract value of anything that is not a tensor: sizes and arithmetic on them."""


Value = Any  # Slot | Index | Mask | Static | Python constant | nested tuple, list, dict of these
