"""rnn: one integer vanilla RNN layer (tanh or relu), one direction, over a sequence."""

from collections.abc import Callable

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import matmul_int8, narrow_plain, round_shift
from irnn_tvm.ops.library import observable_op
from irnn_tvm.ops.pwl import evaluate_pwl


def rnn_steps(
    x: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    mult_ih: Tensor,
    mult_hh: Tensor,
    table: Tensor | None,
    shift: int,
    zp: int,
    gate_bits: int,
    table_shift: int,
    reverse: bool,
    narrow: Callable[[Tensor, int, str], Tensor] = narrow_plain,
) -> tuple[Tensor, Tensor]:
    """rs(v, s) = (v + 2**(s-1)) >> s.

    x int8 [T, B, X], h0 int8 [B, H], w_ih int8 [H, X], w_hh int8 [H, H], bias, mult_ih, mult_hh int32 [H], table int16
    [3, P] or None. e = (w_ih x + bias) mult_ih + (w_hh h) mult_hh;
    tanh (a table): h' = sat8(pwl(sat(rs(e, shift) + zp))), the table maps to the grid of h;
    relu (no table): h' = max(sat8(rs(e, shift) + zp), zp), zp the zero point of h.
    Zero points of x and h are folded in bias. Returns y int8 [T, B, H] (in input order, also when reverse), last h.
    """
    steps, batch, _ = x.shape
    acc_x = (matmul_int8(x, w_ih) + bias.long()) * mult_ih.long()
    h = h0
    out = x.new_empty((steps, batch, h0.shape[1]), dtype=torch.int8)
    for t in range(steps - 1, -1, -1) if reverse else range(steps):
        wide = round_shift(acc_x[t] + matmul_int8(h, w_hh) * mult_hh.long(), shift) + zp
        if table is None:
            h = narrow(wide.clamp(min=zp), 8, "hidden state")
        else:
            h = evaluate_pwl(narrow(wide, gate_bits, "gate h"), table, table_shift, 8)
        out[t] = h
    return out, h.clone().to(torch.int8)


rnn = observable_op(rnn_steps)


@rnn.register_fake
def _(x, h0, *args, **kwargs):  # type: ignore[no-untyped-def]
    torch._check(h0.shape[0] == x.shape[1], lambda: "the state's batch differs from the input's")
    return (
        x.new_empty((x.shape[0], x.shape[1], h0.shape[1]), dtype=torch.int8),
        x.new_empty((x.shape[1], h0.shape[1]), dtype=torch.int8),
    )
