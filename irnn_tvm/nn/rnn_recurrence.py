"""The recurrence of a vanilla RNN: h' = tanh or relu of W_ih x + b_ih + W_hh h + b_hh (torch.nn.RNN)."""

from __future__ import annotations

import torch
from torch import Tensor

from irnn_tvm.nn.recurrence import Exact, in_input_order, time_order


def run_rnn(
    function: str,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    x: Tensor,
    h: Tensor,
    reverse: bool,
    hooks: Exact,
) -> tuple[Tensor, Tensor]:
    """One direction over x [T, B, X] from h [B, H]. function: "tanh" or "relu". Returns (y [T, B, H], last h).

    Names that the hooks see: matrices "ih", "hh"; points "gate h" (tanh only) and "hidden state".
    """
    from_x = hooks.linear("ih", x, w_ih, bias)
    outputs: list[Tensor] = []
    for t in time_order(x.shape[0], reverse):
        total = from_x[t] + hooks.linear("hh", h, w_hh)
        if function == "relu":
            h = hooks.point("hidden state", torch.relu(total))
        else:
            h = hooks.activate_onto("gate h", function, total, "hidden state")
        outputs.append(h)
    return in_input_order(outputs, reverse), h
