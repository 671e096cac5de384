"""GRU with a choice of where the reset gate acts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from irnn_tvm.errors import InputError


class GRU(nn.GRU):
    """torch.nn.GRU plus `reset_after`. Parameters, shapes and state_dict are those of torch.nn.GRU.

    reset_after=True  (as torch): n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    reset_after=False (as the original paper, Keras 1 and many pretrained models):
                                  n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)
    In both h' = (1 - z) * n + z * h, gates in the order r, z, n.
    """

    def __init__(self, *args: Any, reset_after: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reset_after = reset_after

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """input [T, B, X] ([B, T, X] when batch_first, [T, X] unbatched), hx [L * D, B, H] or None.

        Returns (output [T, B, D * H], h_n [L * D, B, H]) as torch.nn.GRU. Raises InputError for a
        PackedSequence when reset_after is False.
        """
        if self.reset_after:
            result: tuple[Tensor, Tensor] = super().forward(input, hx)
            return result
        if not isinstance(input, Tensor):
            raise InputError("GRU(reset_after=False) takes padded tensors, not a PackedSequence")
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
