"""LSTM layers with variants on integers: one operator call per layer and direction."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from irnn_tvm.ops.lstm_general import lstm_general_steps
from irnn_tvm.quantization.modules.shapes import check_dtype, check_size

TENSORS = (
    "w_ih", "w_hh", "bias", "mult_ih", "mult_hh", "tables", "bias_hh", "gain_ih", "gain_hh", "gate_bias",
    "mult_peephole", "cell_gain", "cell_bias", "w_hr", "bias_hr", "mult_hr", "w_q", "bias_q", "mult_q", "w_r", "bias_r",
    "mult_r",
)  # fmt: skip


@dataclass(frozen=True)
class LstmGeneralScalars:
    """The plain integers of `irnn::lstm_general`, in the order of its arguments (docs/numerics.md)."""

    gate_shift: tuple[int, ...]
    gate_zp: tuple[int, ...]
    gate_bits: int
    table_shift: tuple[int, ...]
    act_zp: tuple[int, ...]
    norm: int
    norm_shift: tuple[int, ...]
    norm_eps: tuple[int, ...]
    one: int
    f_mult: int
    i_mult: int
    cell_shift: int
    cell_zp: int
    cell_bits: int
    cell_low: int
    cell_high: int
    cell_norm: int
    cell_norm_eps: int
    cell_norm_shift: int
    cell_norm_zp: int
    h_mult: int
    h_shift: int
    h_zp: int
    projection_shift: int
    projection_zp: int
    x_zp: int
    mogrifier_shift: tuple[int, ...]
    mogrifier_zp: tuple[int, ...]
    mogrifier_mult: tuple[int, ...]
    mogrifier_out_shift: tuple[int, ...]
    mogrifier_out_zp: tuple[int, ...]

    def arguments(self) -> list[Any]:
        """In the operator's order, tuples as lists."""
        return [list(v) if isinstance(v, tuple) else v for v in astuple(self)]


class IntegerLSTMGeneralLayer(nn.Module):
    """One layer in one direction. Buffers: the tensors of `irnn::lstm_general` that the variant has."""

    w_ih: Tensor
    w_hh: Tensor

    def __init__(self, buffers: dict[str, Tensor], scalars: LstmGeneralScalars, reverse: bool) -> None:
        super().__init__()
        for name in TENSORS:
            self.register_buffer(name, buffers.get(name))
        self.scalars = scalars
        self.reverse = reverse

    def forward(self, x: Tensor, h0: Tensor | None, c0: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x int8 [T, B, X], h0 int8 [B, P], c0 int8/int16 [B, H] or None for zeros -> (y [T, B, P], hT, cT)."""
        result: tuple[Tensor, Tensor, Tensor] = torch.ops.irnn.lstm_general(*self._arguments(x, h0, c0))
        return result

    def count_clips(self, x: Tensor, h0: Tensor | None, c0: Tensor | None, counter: Any) -> Tensor:
        """y as forward returns it; counter.narrow counts what every internal tensor loses to saturation."""
        y, _, _ = lstm_general_steps(*[*self._arguments(x, h0, c0), counter.narrow])
        return y

    def _arguments(self, x: Tensor, h0: Tensor | None, c0: Tensor | None) -> list[Any]:
        s = self.scalars
        check_dtype(x, torch.int8, "LSTM input")
        check_size(x, 2, self.w_ih.shape[1], "LSTM input")
        if h0 is None:
            zero_point = s.projection_zp if self.w_hr is not None else s.h_zp
            h0 = x.new_full((x.shape[1], self.w_hh.shape[1]), zero_point)
        if c0 is None:
            dtype = torch.int16 if s.cell_bits == 16 else torch.int8
            c0 = x.new_full((x.shape[1], self.hidden_size), s.cell_zp, dtype=dtype)
        tensors = [getattr(self, name) for name in TENSORS]
        return [x, h0, c0, *tensors, *s.arguments(), self.reverse]

    @property
    def hidden_size(self) -> int:
        return int(self.w_ih.shape[0]) // len(self.scalars.gate_shift)

    def extra_repr(self) -> str:
        return f"input_size={self.w_ih.shape[1]}, hidden_size={self.hidden_size}, reverse={self.reverse}"
