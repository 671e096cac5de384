"""GRU layers on integers: one operator call per layer and direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from irnn_tvm.quantization.modules.shapes import check_dtype, check_size


@dataclass(frozen=True)
class GruScalars:
    """The plain integers of `irnn::gru`, in the order of its arguments (docs/numerics.md)."""

    gate_shift: tuple[int, ...]
    gate_zp: tuple[int, ...]
    gate_bits: int
    table_shift: tuple[int, ...]
    act_zp: tuple[int, ...]
    hn_shift: int
    rn_mult: int
    rh_mult: int
    rh_shift: int
    rh_zp: int
    z_one: int
    n_mult: int
    h_mult: int
    state_shift: int
    state_zp: int
    state_bits: int
    out_mult: int
    out_shift: int
    out_zp: int
    reset_after: bool


class IntegerGRULayer(nn.Module):
    """One layer in one direction. Buffers: w_ih int8 [3H, X], w_hh int8 [3H, H], bias, mult_ih, mult_hh int32
    [3H], bias_hn int32 [H], tables int16 [3, 3, P].
    """

    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor
    bias_hn: Tensor
    mult_ih: Tensor
    mult_hh: Tensor
    tables: Tensor

    def __init__(self, buffers: dict[str, Tensor], scalars: GruScalars, reverse: bool) -> None:
        super().__init__()
        for name in ("w_ih", "w_hh", "bias", "bias_hn", "mult_ih", "mult_hh", "tables"):
            self.register_buffer(name, buffers[name])
        self.scalars = scalars
        self.reverse = reverse

    def forward(self, x: Tensor, h0: Tensor | None) -> tuple[Tensor, Tensor]:
        """x int8 [T, B, X], h0 int8/int16 [B, H] (the state) or None for zeros -> (y int8 [T, B, H], last
        state).
        """
        s = self.scalars
        check_dtype(x, torch.int8, "GRU input")
        check_size(x, 2, self.w_ih.shape[1], "GRU input")
        if h0 is None:
            dtype = torch.int16 if s.state_bits == 16 else torch.int8
            h0 = x.new_full((x.shape[1], self.w_hh.shape[1]), s.state_zp, dtype=dtype)
        result: tuple[Tensor, Tensor] = torch.ops.irnn.gru(
            x, h0, self.w_ih, self.w_hh, self.bias, self.bias_hn, self.mult_ih, self.mult_hh,
            list(s.gate_shift),
            list(s.gate_zp), s.gate_bits, self.tables, list(s.table_shift), list(s.act_zp), s.hn_shift,
            s.rn_mult,
            s.rh_mult, s.rh_shift, s.rh_zp, s.z_one, s.n_mult, s.h_mult, s.state_shift, s.state_zp,
            s.state_bits,
            s.out_mult, s.out_shift, s.out_zp, s.reset_after, self.reverse,
        )  # fmt: skip
        return result

    def extra_repr(self) -> str:
        return f"input_size={self.w_ih.shape[1]}, hidden_size={self.w_hh.shape[1]}, reverse={self.reverse}"


class IntegerGRU(nn.Module):
    """Stacked, possibly bidirectional layers with the calling conventions of nn.GRU (batch_first, unbatched)
    or, with cell=True, of nn.GRUCell. y has the output's parameters, h those of the state.
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

    def forward(self, x: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns (y, h); for a cell y is the time-major output of its single step."""
        rank = x.dim()
        if self.cell:
            x = (x if rank == 2 else x.unsqueeze(0)).unsqueeze(0)
            h0 = h0 if h0 is None else (h0 if rank == 2 else h0.unsqueeze(0)).unsqueeze(0)
        elif rank == 2:
            x = x.unsqueeze(1)
            h0 = h0 if h0 is None else h0.unsqueeze(1)
        elif self.batch_first:
            x = x.permute(1, 0, 2)
        y, h = self._run(x, h0)
        if self.cell:
            h = h.squeeze(0)
            return (y, h) if rank == 2 else (y, h.squeeze(0))
        if rank == 2:
            return y.squeeze(1), h.squeeze(1)
        return (y.permute(1, 0, 2) if self.batch_first else y), h

    def _run(self, x: Tensor, h0: Tensor | None) -> tuple[Tensor, Tensor]:
        last: list[Tensor] = []
        for directions in self.layers:
            outputs = []
            for layer in directions:  # type: ignore[attr-defined]
                y, h = layer(x, h0 if h0 is None else h0[len(last)])
                outputs.append(y)
                last.append(h.unsqueeze(0))
            x = outputs[0] if len(outputs) == 1 else torch.ops.irnn.concat(outputs, 2)
        return x, last[0] if len(last) == 1 or not self.states else torch.ops.irnn.concat(last, 0)
