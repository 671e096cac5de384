"""The recurrence of a GRU whose products are normalised: formulas in irnn_tvm.nn.GRU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from irnn_tvm.nn.gate_norm import EPS
from irnn_tvm.nn.lstm_recurrence import suffix
from irnn_tvm.nn.recurrence import Exact, in_input_order, time_order


@dataclass(frozen=True)
class GruWeights:
    """Parameters of one layer in one direction: shapes as in torch.nn.GRU; gain_ih, gain_hh [3H]."""

    w_ih: Tensor
    w_hh: Tensor
    gain_ih: Tensor
    gain_hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    reverse: bool = False


def gru_weights(module: Any, layer: int, direction: int) -> GruWeights:
    """The parameters of one layer and direction of an irnn_tvm.nn.GRU with a norm."""
    name = suffix(layer, direction)
    biases = (f"bias_ih_{name}", f"bias_hh_{name}") if module.bias else ("", "")
    b_ih, b_hh = (getattr(module, n) if n else None for n in biases)
    w_ih, w_hh, gain_ih, gain_hh = (
        getattr(module, f"{kind}_{name}")
        for kind in ("weight_ih", "weight_hh", "weight_norm_ih", "weight_norm_hh")
    )
    return GruWeights(w_ih, w_hh, gain_ih, gain_hh, b_ih, b_hh, direction == 1)


def run_gru(norm: str, w: GruWeights, x: Tensor, h: Tensor, hooks: Exact) -> tuple[Tensor, Tensor]:
    """One direction over x [T, B, X] from h [B, H]. Returns (y [T, B, H], last h).

    y is what the products of the next step see ("hidden state": integers keep an int8 copy of the 16-bit "state").
    Names that the hooks see: matrices "ih", "hh"; points "W_ih x r z", "W_ih x n", "W_hh h r z", "W_hh h n", "gate r",
    "gate z", "gate n", "norm of W_hn h + b_hn", "state", "hidden state".
    """
    size = h.shape[-1]
    zeros = w.w_hh.new_zeros(3 * size)
    b_ih, b_hh = (b if b is not None else zeros for b in (w.b_ih, w.b_hh))

    def normalised(name: str, product: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        rz, n = product[..., : 2 * size], product[..., 2 * size :]
        rz, n = hooks.point(f"{name} r z", rz), hooks.point(f"{name} n", n)
        return (
            hooks.normalise(f"{name} r z", rz, norm, gain[: 2 * size], None, EPS),
            hooks.normalise(f"{name} n", n, norm, gain[2 * size :], None, EPS),
        )

    x_rz, x_n = normalised("W_ih x", hooks.linear("ih", x, w.w_ih), w.gain_ih)
    x_rz, x_n = x_rz + b_ih[: 2 * size] + b_hh[: 2 * size], x_n + b_ih[2 * size :]
    read = hooks.point("hidden state", h)
    outputs: list[Tensor] = []
    for t in time_order(x.shape[0], w.reverse):
        h_rz, h_n = normalised("W_hh h", hooks.linear("hh", read, w.w_hh), w.gain_hh)
        r, z = hooks.activate_gates(("gate r", "gate z"), ("sigmoid", "sigmoid"), x_rz[t] + h_rz)
        reset = hooks.point("norm of W_hn h + b_hn", h_n + b_hh[2 * size :])
        n = hooks.activate("gate n", "tanh", x_n[t] + r * reset)
        h = hooks.point("state", (1.0 - z) * n + z * h)
        read = hooks.point("hidden state", h)
        outputs.append(read)
    return in_input_order(outputs, w.reverse), h
