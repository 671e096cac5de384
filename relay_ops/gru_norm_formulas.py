"""The formulas of irnn_tvm/ops/gru_norm.py for a unit and for the lanes of a tile, from products on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

from irnn_tvm.ops.normalize import UNIT_BITS, largest_unit

from . import fixed_point as fp
from . import normalize_lanes
from .gru import Layer
from .lanes import Lanes
from .lstm_general_layout import KINDS
from .registry import attr
from .tiles import magnitude, products_bound

GATES = 3
R, Z, N = range(GATES)
# Products on their 16-bit grids, with norms of their own: rows of r and z together, and n.
PRODUCTS = {"x_rz": 2, "x_n": 1, "h_rz": 2, "h_n": 1}
Expr = Any


def fits(call: Any, arrays: dict[str, np.ndarray]) -> bool:
    """Whether every sum that is rescaled fits int32 before it is saturated."""
    hidden, kind = arrays["w_hh"].shape[1], KINDS[attr(call, "norm")]
    both, one = largest_unit(kind, 2 * hidden), largest_unit(kind, hidden)
    unit, state = 1 << attr(call, "gate_bits"), 1 << attr(call, "state_bits")
    checks: list[tuple[int, int, int]] = []
    for part, side in enumerate(("ih", "hh")):
        bound = products_bound(arrays[f"w_{side}"], arrays[f"mult_{side}"], arrays[f"bias_{side}"])
        largest = int(bound.max())
        checks += [(largest, attr(call, "norm_shift")[2 * part + n], 0) for n in range(2)]
    gain_x, gain_h = magnitude(arrays["gain_ih"]), magnitude(arrays["gain_hh"])
    bias = magnitude(arrays["gate_bias"]) << UNIT_BITS
    sums = [both * (gain_x + gain_h) + bias] * 2
    sums.append(one * gain_x + bias + unit * (1 << 16) * attr(call, "rn_mult"))
    checks += zip(sums, attr(call, "gate_shift"), attr(call, "gate_zp"), strict=True)
    checks.append(
        (one * gain_h + (magnitude(arrays["reset_bias"]) << UNIT_BITS), attr(call, "reset_shift"), 0)
    )
    # Both products of the state update are within int32 (verify).
    update = (1 << 31) * (attr(call, "n_mult") + attr(call, "h_mult"))
    checks.append((update, attr(call, "state_shift"), attr(call, "state_zp")))
    checks.append((2 * state * attr(call, "out_mult"), attr(call, "out_shift"), attr(call, "out_zp")))
    return all(fp.within_int32(*check) for check in checks)


class NormLayer(Layer):
    """A call of the op, and what a step computes from the statistics of its products on."""

    @property
    def kind(self) -> str:
        return str(KINDS[attr(self.call, "norm")])

    def row_length(self, product: str) -> int:
        """Elements that a product's norm spans."""
        return PRODUCTS[product] * self.hidden

    def update(
        self,
        lanes: Lanes,
        cells: dict[str, Any],
        element: Callable[[str, int], Expr],
        vector: Callable[[str, int], Expr],
        tables: Any,
        h: Expr,
        store: Callable[[Expr, Expr], None],
        local: tuple[Any, Any, tuple[Any, Any]],
    ) -> None:
        """Gates and the new state of the units of `lanes`.

        cells: statistics by product; element: product and gate to its elements, int32; vector: name and gate to gains
        or biases; h: the old state, int32; store: takes the new state and its int8 copy; local: of `locals_of`.
        """
        call = self.call
        act, units, scratch = local

        def normalised(at: int, product: str, gate: int) -> Expr:
            n, value = self.row_length(product), element(product, gate)
            return normalize_lanes.units(lanes, units, at, cells[product], value, n)

        def bias(name: str, gate: int) -> tuple[Expr, Expr]:
            return normalize_lanes.bias_term(lanes, vector(name, gate))

        for g in (R, Z):
            terms = [(normalised(0, "x_rz", g), vector("gain_ih", g))]
            terms += [(normalised(1, "h_rz", g), vector("gain_hh", g)), bias("gate_bias", g)]
            lanes.store(act, self.activate(lanes, scratch, tables, terms, g), g, 0)
        terms = [(normalised(0, "h_n", N), vector("gain_hh", N)), bias("reset_bias", 0)]
        hn = lanes.rescale(scratch[1], terms, attr(call, "reset_shift"), 0, 16, self.fits)
        lanes.store(act, fp.i32(hn), 3, 0)
        gated = lanes.load(act, R, 0) * lanes.load(act, 3, 0), lanes.wide(T.int32(attr(call, "rn_mult")))
        terms = [(normalised(0, "x_n", N), vector("gain_ih", N)), bias("gate_bias", N), gated]
        lanes.store(act, self.activate(lanes, scratch, tables, terms, N), N, 0)
        z, n = lanes.load(act, Z, 0), lanes.load(act, N, 0)
        lanes.store(act, fp.i32(self.state(lanes, scratch, z, n, h - attr(call, "state_zp"))), 3, 0)
        state = lanes.load(act, 3, 0)
        store(fp.cast(self.state_bits, state), self.output(lanes, scratch, state))


def locals_of(lanes: Lanes) -> tuple[Any, Any, tuple[Any, Any]]:
    """What `NormLayer.update` works in, allocated in the current block."""
    act, units = lanes.local(GATES + 1, "int32"), lanes.local(2, "int32")
    return act, units, (lanes.scratch(), lanes.sums())
