"""Vanilla RNN layers on integers: one operator call per layer and direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from irnn_tvm.ops.rnn import rnn_steps
from irnn_tvm.quantization.modules.shapes import check_dtype, check_size

TENSORS = ("w_ih", "w_hh", "bias", "mult_ih", "mult_hh", "table")


@dataclass(frozen=True)
class RnnScalars:
    """The plain integers of `irnn::rnn`; h_zp: zero point of the hidden state."""

    shift: int
    zp: int
    gate_bits: int
    table_shift: int
    h_zp: int


class IntegerRNNLayer(nn.Module):
    """One layer in one direction. Buffers: the tensors of `irnn::rnn`; table is None for relu."""

    w_ih: Tensor
    w_hh: Tensor

    def __init__(self, buffers: dict[str, Tensor], scalars: RnnScalars, reverse: bool) -> None:
        super().__init__()
        for name in TENSORS:
            self.register_buffer(name, buffers.get(name))
        self.scalars = scalars
        self.reverse = reverse

    def forward(self, x: Tensor, h0: Tensor | None) -> tuple[Tensor, Tensor]:
        """x int8 [T, B, X], h0 int8 [B, H] or None for zeros -> (y int8 [T, B, H], last h)."""
        result: tuple[Tensor, Tensor] = torch.ops.irnn.rnn(*self._arguments(x, h0))
        return result

    def count_clips(self, x: Tensor, h0: Tensor | None, counter: Any) -> Tensor:
        """y as forward returns it; counter.narrow counts what every internal tensor loses to saturation."""
        y, _ = rnn_steps(*[*self._arguments(x, h0), counter.narrow])
        return y

    def _arguments(self, x: Tensor, h0: Tensor | None) -> list[Any]:
        s = self.scalars
        check_dtype(x, torch.int8, "RNN input")
        check_size(x, 2, self.w_ih.shape[1], "RNN input")
        if h0 is None:
            h0 = x.new_full((x.shape[1], self.w_hh.shape[1]), s.h_zp)
        tensors = [getattr(self, name) for name in TENSORS]
        return [x, h0, *tensors, s.shift, s.zp, s.gate_bits, s.table_shift, self.reverse]

    def extra_repr(self) -> str:
        return f"input_size={self.w_ih.shape[1]}, hidden_size={self.w_hh.shape[1]}, reverse={self.reverse}"
