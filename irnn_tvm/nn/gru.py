"""GRU with a choice of where the reset gate acts, and of a norm of its products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from irnn_tvm.errors import InputError
from irnn_tvm.nn.gate_norm import check_norm
from irnn_tvm.nn.gru_recurrence import gru_weights, run_gru
from irnn_tvm.nn.lstm_recurrence import suffix
from irnn_tvm.nn.recurrence import Exact

EXACT = Exact()


class GRU(nn.GRU):
    """torch.nn.GRU plus `reset_after` and `norm`. Parameters, shapes and state_dict are those of torch.nn.GRU.

    reset_after=True  (as torch): n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    reset_after=False (as the original paper, Keras 1 and many pretrained models):
                                  n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)
    In both h' = (1 - z) * n + z * h, gates in the order r, z, n.

    norm="layer" or "mad" (Ba et al. 2016, supplement): with N the norm over the 2H rows of r and z, or the H rows of n,
        r, z = sigmoid(N(W_i x) * gain_i + b_i + N(W_h h) * gain_h + b_h)
        n = tanh(N(W_in x) * gain_in + b_in + r * (N(W_hn h) * gain_hn + b_hn))
    New parameters, per layer and direction: weight_norm_ih_l0, weight_norm_hh_l0 [3H]. A checkpoint of a plain
    torch.nn.GRU loads with strict=False.
    """

    def __init__(self, *args: Any, reset_after: bool = True, norm: str | None = None, **kwargs: Any) -> None:
        """Raises InputError for an unknown norm, or for a norm with the reset gate before the product."""
        super().__init__(*args, **kwargs)
        check_norm(norm, "norm")
        if norm is not None and not reset_after:
            raise InputError(
                f"norm={norm!r} is supported with reset_after=True, not with the reset before the product"
            )
        self.reset_after = reset_after
        self.norm = norm
        if norm is not None:
            for layer in range(self.num_layers):
                for direction in range(2 if self.bidirectional else 1):
                    name = suffix(layer, direction)
                    reference = getattr(self, f"weight_hh_{name}")
                    for kind in ("weight_norm_ih", "weight_norm_hh"):
                        gain = nn.Parameter(torch.ones_like(reference[:, 0]))
                        self.register_parameter(f"{kind}_{name}", gain)

    def reset_parameters(self) -> None:
        """As torch.nn.GRU; gains of norms are 1."""
        super().reset_parameters()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("weight_norm"):
                    parameter.fill_(1.0)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """input [T, B, X] ([B, T, X] when batch_first, [T, X] unbatched), hx [L * D, B, H] or None.

        Returns (output [T, B, D * H], h_n [L * D, B, H]) as torch.nn.GRU. Raises InputError for a
        PackedSequence unless this is torch's GRU.
        """
        if self.reset_after and self.norm is None:
            result: tuple[Tensor, Tensor] = super().forward(input, hx)
            return result
        if not isinstance(input, Tensor):
            raise InputError(
                "GRU(reset_after=False) and GRU(norm=...) take padded tensors, not a PackedSequence"
            )
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        directions = 2 if self.bidirectional else 1
        if hx is None:
            hx = x.new_zeros(self.num_layers * directions, x.shape[1], self.hidden_size)
        elif not batched:
            hx = hx.unsqueeze(1)
        last = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                y, h = self._run(x, hx[layer * directions + direction], layer, direction == 1)
                outputs.append(y)
                last.append(h)
            x = torch.cat(outputs, dim=-1)
            if self.dropout and layer < self.num_layers - 1:
                x = nn.functional.dropout(x, self.dropout, self.training)
        h_n = torch.stack(last)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        return (x, h_n) if batched else (x.squeeze(1), h_n.squeeze(1))

    def _run(self, x: Tensor, h: Tensor, layer: int, reverse: bool) -> tuple[Tensor, Tensor]:
        if self.norm is not None:
            return run_gru(self.norm, gru_weights(self, layer, int(reverse)), x, h, EXACT)
        suffix = f"l{layer}_reverse" if reverse else f"l{layer}"
        w_ih, w_hh = getattr(self, f"weight_ih_{suffix}"), getattr(self, f"weight_hh_{suffix}")
        b_ih = getattr(self, f"bias_ih_{suffix}") if self.bias else None
        b_hh = getattr(self, f"bias_hh_{suffix}") if self.bias else w_hh.new_zeros(w_hh.shape[0])
        size = self.hidden_size
        gates_x = nn.functional.linear(x, w_ih, b_ih)
        outputs: list[Tensor] = []
        for t in range(x.shape[0] - 1, -1, -1) if reverse else range(x.shape[0]):
            xr, xz, xn = gates_x[t].chunk(3, dim=-1)
            hr, hz = nn.functional.linear(h, w_hh[: 2 * size], b_hh[: 2 * size]).chunk(2, dim=-1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            n = torch.tanh(xn + nn.functional.linear(r * h, w_hh[2 * size :], b_hh[2 * size :]))
            h = (1 - z) * n + z * h
            outputs.append(h)
        return torch.stack(outputs[::-1] if reverse else outputs), h
