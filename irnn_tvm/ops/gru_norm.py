"""gru_norm: an integer GRU layer whose products are normalised (LayerNorm or MadNorm), one direction, a sequence."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import matmul_int8, narrow_plain, round_shift
from irnn_tvm.ops.library import observable_op
from irnn_tvm.ops.norm_bounds import norm_units
from irnn_tvm.ops.normalize import UNIT_BITS
from irnn_tvm.ops.pwl import evaluate_pwl

Narrow = Callable[[Tensor, int, str], Tensor]


def gru_norm_steps(
    x: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    mult_ih: Tensor,
    mult_hh: Tensor,
    gain_ih: Tensor,
    gain_hh: Tensor,
    gate_bias: Tensor,
    reset_bias: Tensor,
    tables: Tensor,
    norm: int,
    norm_shift: Sequence[int],
    norm_eps: Sequence[int],
    gate_shift: Sequence[int],
    gate_zp: Sequence[int],
    gate_bits: int,
    table_shift: Sequence[int],
    act_zp: Sequence[int],
    reset_shift: int,
    rn_mult: int,
    z_one: int,
    n_mult: int,
    h_mult: int,
    state_shift: int,
    state_zp: int,
    state_bits: int,
    out_mult: int,
    out_shift: int,
    out_zp: int,
    reverse: bool,
    narrow: Narrow = narrow_plain,
) -> tuple[Tensor, Tensor]:
    """Gates in torch's order r, z, n; rs(v, s) = (v + 2**(s-1)) >> s; N: `norm` (1 layer, 2 mad) with 16 fraction bits.

    x int8 [T, B, X], h0 int8/int16 [B, H] (the state), w_ih int8 [3H, X], w_hh int8 [3H, H]; int32 [3H]: bias_ih,
    bias_hh (zero points), mult_ih, mult_hh, gain_ih, gain_hh, gate_bias; reset_bias int32 [H]; tables int16 [3, 3, P].
    norm_shift, norm_eps: of the input's r and z, the input's n, the state's r and z, the state's n.
    h8 = sat8(rs((h - state_zp) out_mult, out_shift) + out_zp) is what the products and the output see.
    a = N(sat16(rs((w_ih x + bias_ih) mult_ih, norm_shift))), b alike from h8: over 2H rows for r and z, H rows for n.
    r, z: pwl(sat(rs(a gain_ih + b gain_hh + gate_bias 2**16, gate_shift) + gate_zp)).
    hn = sat16(rs(b gain_hh + reset_bias 2**16, reset_shift)),
    n = pwl(sat(rs(a gain_ih + gate_bias 2**16 + (r - zr) hn rn_mult, gate_shift) + gate_zp)).
    h' = sat(rs((z_one - (z - zz))(n - zn) n_mult + (z - zz)(h - state_zp) h_mult, state_shift) + state_zp).
    Returns y int8 [T, B, H] (in input order, also when reverse) and the last state [B, H].
    """
    steps, batch, _ = x.shape
    size = h0.shape[1]
    rows = (slice(0, 2 * size), slice(2 * size, 3 * size))
    gain_x, gain_h, bias = gain_ih.long(), gain_hh.long(), gate_bias.long() << UNIT_BITS

    def normalised(acc: Tensor, part: int, name: str) -> list[Tensor]:
        """Units of r and z, and of n. part: 0 for the input's product, 2 for the state's."""
        found = []
        for i, suffix in enumerate(("r z", "n")):
            wide = round_shift(acc[..., rows[i]], norm_shift[part + i])
            found.append(norm_units(narrow(wide, 16, f"{name} {suffix}"), norm, norm_eps[part + i]))
        return found

    def activate(e: Tensor, k: int) -> Tensor:
        pre = narrow(round_shift(e, gate_shift[k]) + gate_zp[k], gate_bits, f"gate {'rzn'[k]}")
        return evaluate_pwl(pre, tables[k], table_shift[k], gate_bits).long() - act_zp[k]

    def output(state: Tensor) -> Tensor:
        wide = round_shift((state.long() - state_zp) * out_mult, out_shift) + out_zp
        return narrow(wide, 8, "hidden state")

    x_rz, x_n = normalised((matmul_int8(x, w_ih) + bias_ih.long()) * mult_ih.long(), 0, "W_ih x")
    e_rz = x_rz * gain_x[rows[0]] + bias[rows[0]]
    e_n = x_n * gain_x[rows[1]] + bias[rows[1]]
    h, h8 = h0, output(h0)
    out = x.new_empty((steps, batch, size), dtype=torch.int8)
    for t in range(steps - 1, -1, -1) if reverse else range(steps):
        h_rz, h_n = normalised((matmul_int8(h8, w_hh) + bias_hh.long()) * mult_hh.long(), 2, "W_hh h")
        both = e_rz[t] + h_rz * gain_h[rows[0]]
        r, z = activate(both[:, :size], 0), activate(both[:, size:], 1)
        hn = round_shift(h_n * gain_h[rows[1]] + (reset_bias.long() << UNIT_BITS), reset_shift)
        n = activate(e_n[t] + r * narrow(hn, 16, "norm of W_hn h + b_hn").long() * rn_mult, 2)
        mix = (z_one - z) * n * n_mult + z * (h.long() - state_zp) * h_mult
        h = narrow(round_shift(mix, state_shift) + state_zp, state_bits, "state")
        h8 = output(h)
        out[t] = h8
    return out, h.clone()


gru_norm = observable_op(gru_norm_steps)


@gru_norm.register_fake
def _(x, h0, *args, **kwargs):  # type: ignore[no-untyped-def]
    torch._check(h0.shape[0] == x.shape[1], lambda: "the state's batch differs from the input's")
    return (
        x.new_empty((x.shape[0], x.shape[1], h0.shape[1]), dtype=torch.int8),
        x.new_empty((x.shape[1], h0.shape[1]), dtype=h0.dtype),
    )
