"""One direction of a float GRU layer, written out so that calibration can see every gate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class GruTrace:
    """gates [T, B, 3H]: pre-activations in torch's order r, z, n.

    inner [T, B, H]: what the reset gate acts on or makes: W_hn h + b_hn (reset after the product) or r * h
    (before). hidden [T, B, H]: the state after each step. All in input order; last [B, H] is the final state.
    """

    gates: Tensor
    inner: Tensor
    hidden: Tensor
    last: Tensor


def trace_gru(
    x: Tensor,
    h: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    reverse: bool,
    reset_after: bool,
) -> GruTrace:
    """x [T, B, X], h [B, H], w_ih [3H, X], w_hh [3H, H], biases [3H]."""
    size = h.shape[1]
    from_x = F.linear(x, w_ih, b_ih)
    bias = b_hh if b_hh is not None else w_hh.new_zeros(3 * size)
    steps = x.shape[0]
    gates, inners, hiddens = [], [], []
    for t in range(steps - 1, -1, -1) if reverse else range(steps):
        xr, xz, xn = from_x[t].chunk(3, dim=-1)
        hr, hz = F.linear(h, w_hh[: 2 * size], bias[: 2 * size]).chunk(2, dim=-1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        if reset_after:
            inner = F.linear(h, w_hh[2 * size :], bias[2 * size :])
            pre = xn + r * inner
        else:
            inner = r * h
            pre = xn + F.linear(inner, w_hh[2 * size :], bias[2 * size :])
        h = (1.0 - z) * torch.tanh(pre) + z * h
        gates.append(torch.cat((xr + hr, xz + hz, pre), dim=-1))
        inners.append(inner)
        hiddens.append(h)
    order = -1 if reverse else 1
    return GruTrace(
        torch.stack(gates[::order]), torch.stack(inners[::order]), torch.stack(hiddens[::order]), h
    )
