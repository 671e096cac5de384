"""GRU layers with normalised products on integers: one operator call per layer and direction."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from irnn_tvm.ops.gru_norm import gru_norm_steps
from irnn_tvm.quantization.modules.shapes import check_dtype, check_size

TENSORS = (
    "w_ih", "w_hh", "bias_ih", "bias_hh", "mult_ih", "mult_hh", "gain_ih", "gain_hh", "gate_bias", "reset_bias",
    "tables",
)  # fmt: skip


@dataclass(frozen=True)
class GruNormScalars:
    """The plain integers of `irnn::gru_norm`, in the order of its arguments (docs/numerics.md)."""

    norm: int
    norm_shift: tuple[int, ...]
    norm_eps: tuple[int, ...]
    gate_shift: tuple[int, ...]
    gate_zp: tuple[int, ...]
    gate_bits: int
    table_shift: tuple[int, ...]
    act_zp: tuple[int, ...]
    reset_shift: int
    rn_mult: int
    z_one: int
    n_mult: int
    h_mult: int
    state_shift: int
    state_zp: int
    state_bits: int
    out_mult: int
    out_shift: int
    out_zp: int


class IntegerGRUNormLayer(nn.Module):
    """One layer in one direction. Buffers: the tensors of `irnn::gru_norm`."""

    w_ih: Tensor
    w_hh: Tensor

    def __init__(self, buffers: dict[str, Tensor], scalars: GruNormScalars, reverse: bool) -> None:
        super().__init__()
        for name in TENSORS:
            self.register_buffer(name, buffers[name])
        self.scalars = scalars
        self.reverse = reverse

    def forward(self, x: Tensor, h0: Tensor | None) -> tuple[Tensor, Tensor]:
        """x int8 [T, B, X], h0 int8/int16 [B, H] (the state) or None for zeros -> (y int8 [T, B, H], last state)."""
        result: tuple[Tensor, Tensor] = torch.ops.irnn.gru_norm(*self._arguments(x, h0))
        return result

    def count_clips(self, x: Tensor, h0: Tensor | None, counter: Any) -> Tensor:
        """y as forward returns it; counter.narrow counts what every internal tensor loses to saturation."""
        y, _ = gru_norm_steps(*[*self._arguments(x, h0), counter.narrow])
        return y

    def _arguments(self, x: Tensor, h0: Tensor | None) -> list[Any]:
        s = self.scalars
        check_dtype(x, torch.int8, "GRU input")
        check_size(x, 2, self.w_ih.shape[1], "GRU input")
        if h0 is None:
            dtype = torch.int16 if s.state_bits == 16 else torch.int8
            h0 = x.new_full((x.shape[1], self.w_hh.shape[1]), s.state_zp, dtype=dtype)
        scalars = [list(v) if isinstance(v, tuple) else v for v in astuple(s)]
        return [x, h0, *(getattr(self, name) for name in TENSORS), *scalars, self.reverse]

    def extra_repr(self) -> str:
        return f"input_size={self.w_ih.shape[1]}, hidden_size={self.w_hh.shape[1]}, reverse={self.reverse}"
