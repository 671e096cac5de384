"""LSTM layers on integers: one operator call per layer and direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from irnn_tvm.quantization.modules.shapes import check_dtype, check_size


@dataclass(frozen=True)
class LstmScalars:
    """The plain integers of `irnn::lstm`, in the order of its arguments (docs/numerics.md)."""

    gate_shift: tuple[int, ...]
    gate_zp: tuple[int, ...]
    gate_bits: int
    table_shift: tuple[int, ...]
    act_zp: tuple[int, ...]
    f_mult: int
    i_mult: int
    cell_shift: int
    cell_zp: int
    cell_bits: int
    h_mult: int
    h_shift: int
    h_zp: int


class IntegerLSTMLayer(nn.Module):
    """One layer in one direction. Buffers: w_ih int8 [4H, X], w_hh int8 [4H, H], bias, mult_ih, mult_hh int32
    [4H], tables int16 [5, 3, P].
    """

    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor
    mult_ih: Tensor
    mult_hh: Tensor
    tables: Tensor

    def __init__(self, buffers: dict[str, Tensor], scalars: LstmScalars, reverse: bool) -> None:
        super().__init__()
        for name in ("w_ih", "w_hh", "bias", "mult_ih", "mult_hh", "tables"):
            self.register_buffer(name, buffers[name])
        self.scalars = scalars
        self.reverse = reverse

    def forward(self, x: Tensor, h0: Tensor | None, c0: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x int8 [T, B, X], h0 int8 [B, H], c0 int8/int16 [B, H] or None for zeros -> (y [T, B, H], hT, cT)."""
        s = self.scalars
        check_dtype(x, torch.int8, "LSTM input")
        check_size(x, 2, self.w_ih.shape[1], "LSTM input")
        hidden = self.w_hh.shape[1]
        if h0 is None:
            h0 = x.new_full((x.shape[1], hidden), s.h_zp)
        if c0 is None:
            dtype = torch.int16 if s.cell_bits == 16 else torch.int8
            c0 = x.new_full((x.shape[1], hidden), s.cell_zp, dtype=dtype)
        result: tuple[Tensor, Tensor, Tensor] = torch.ops.irnn.lstm(
            x, h0, c0, self.w_ih, self.w_hh, self.bias, self.mult_ih, self.mult_hh, list(s.gate_shift),
            list(s.gate_zp), s.gate_bits, self.tables, list(s.table_shift), list(s.act_zp), s.f_mult,
            s.i_mult,
            s.cell_shift, s.cell_zp, s.cell_bits, s.h_mult, s.h_shift, s.h_zp, self.reverse,
        )  # fmt: skip
        return result

    def extra_repr(self) -> str:
        return f"input_size={self.w_ih.shape[1]}, hidden_size={self.w_hh.shape[1]}, reverse={self.reverse}"


class IntegerLSTM(nn.Module):
    """Stacked, possibly bidirectional layers with the calling conventions of nn.LSTM (batch_first, unbatched)
    or, with cell=True, of nn.LSTMCell.
    states=False: nobody reads the final states of a stack, so they are not put together.
    """

    def __init__(
        self, layers: Sequence[Sequence[nn.Module]], batch_first: bool, cell: bool, states: bool = True
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList(directions) for directions in layers)
        self.batch_first = batch_first
        self.cell = cell
        self.states = states

    def forward(
        self, x: Tensor, h0: Tensor | None = None, c0: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns (y, h, c); for a cell y is the time-major output of its single step, which nobody needs."""
        rank = x.dim()
        batch_axis = 1
        if self.cell:
            x = (x if rank == 2 else x.unsqueeze(0)).unsqueeze(0)
            h0, c0 = (s if s is None else (s if rank == 2 else s.unsqueeze(0)).unsqueeze(0) for s in (h0, c0))
        elif rank == 2:
            x = x.unsqueeze(1)
            h0, c0 = (s if s is None else s.unsqueeze(1) for s in (h0, c0))
        elif self.batch_first:
            x = x.permute(1, 0, 2)
        y, h, c = self._run(x, h0, c0)
        if self.cell:
            h, c = h.squeeze(0), c.squeeze(0)
            return (y, h, c) if rank == 2 else (y, h.squeeze(0), c.squeeze(0))
        if rank == 2:
            return y.squeeze(batch_axis), h.squeeze(batch_axis), c.squeeze(batch_axis)
        return (y.permute(1, 0, 2) if self.batch_first else y), h, c

    def _run(self, x: Tensor, h0: Tensor | None, c0: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        last_h: list[Tensor] = []
        last_c: list[Tensor] = []
        for directions in self.layers:
            outputs = []
            for layer in directions:  # type: ignore[attr-defined]
                index = len(last_h)
                h = h0 if h0 is None else h0[index]
                c = c0 if c0 is None else c0[index]
                y, h, c = layer(x, h, c)
                outputs.append(y)
                last_h.append(h.unsqueeze(0))
                last_c.append(c.unsqueeze(0))
            x = outputs[0] if len(outputs) == 1 else torch.ops.irnn.concat(outputs, 2)
        if len(last_h) == 1 or not self.states:
            return x, last_h[0], last_c[0]
        return x, torch.ops.irnn.concat(last_h, 0), torch.ops.irnn.concat(last_c, 0)
