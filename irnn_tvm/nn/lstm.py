"""LSTM with any combination of projection, peepholes, coupled gates, cell clipping, normalisation, Mogrifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irnn_tvm.errors import InputError
from irnn_tvm.nn.gate_norm import EPS, check_norm
from irnn_tvm.nn.lstm_recurrence import lstm_form, lstm_weights, run_lstm, suffix
from irnn_tvm.nn.recurrence import Exact

SAME = "same"
EXACT = Exact()


class LSTM(nn.LSTM):
    """torch.nn.LSTM plus the variants below; without them it is torch.nn.LSTM.

    proj_size=P > 0: h = W_hr (o * tanh(c)), h [B, P] (as torch).
    norm="layer" or "mad": gates = N(W_ih x) * gain_ih + N(W_hh h) * gain_hh + b_ih + b_hh, each norm over all gates
        (Ba et al. 2016, section 3; the two shifts of the paper's norms are in the biases).
    norm_cell: h = o * tanh(N(c) * gain + bias); "same" as `norm` unless it is given.
    peephole: p_i * c and p_f * c are added to i and f, p_o * c' (the new cell) to o (Gers & Schmidhuber 2000).
    coupled: i = 1 - f (CIFG, Greff et al. 2015); the gates are f, g, o, so weights have 3H rows.
    cell_clip: c limited to [-cell_clip, cell_clip] in every step (Sak et al. 2014).
    mogrify=r: before each step x and h gate each other r times (Melis et al. 2020), odd rounds
        x = 2 sigmoid(Q h) * x, even rounds h = 2 sigmoid(R x) * h, full-rank Q [X, P], R [P, X].

    Parameters are named as torch's; new ones, per layer and direction: weight_norm_ih_l0, weight_norm_hh_l0 [G H],
    weight_norm_cell_l0, bias_norm_cell_l0 [H], weight_peephole_l0 ([3H] in the order i, f, o; coupled [2H]: f, o),
    weight_mogrify1_l0 [X, P], weight_mogrify2_l0 [P, X], ... A checkpoint of a plain torch.nn.LSTM of the same shapes
    loads with strict=False.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        norm: str | None = None,
        norm_cell: str | None = SAME,
        peephole: bool = False,
        coupled: bool = False,
        cell_clip: float | None = None,
        mogrify: int = 0,
    ) -> None:
        """Raises InputError for an unknown norm, a clip that is not positive or a negative number of rounds."""
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size
        )
        norm_cell = norm if norm_cell == SAME else norm_cell
        check_norm(norm, "norm")
        check_norm(norm_cell, "norm_cell")
        if cell_clip is not None and not cell_clip > 0:
            raise InputError(f"cell_clip={cell_clip} is not supported; it must be positive")
        if mogrify < 0:
            raise InputError(f"mogrify={mogrify} is not supported; it is a number of rounds, 0 or more")
        self.norm, self.norm_cell = norm, norm_cell
        self.peephole, self.coupled = peephole, coupled
        self.cell_clip, self.mogrify = cell_clip, mogrify
        self.eps = EPS
        for layer in range(num_layers):
            width = input_size if layer == 0 else self.state_size * self.directions
            for direction in range(self.directions):
                self._add_parameters(suffix(layer, direction), width)
        self.reset_parameters()

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def state_size(self) -> int:
        """Width of h."""
        return self.proj_size or self.hidden_size

    @property
    def gates(self) -> int:
        return 3 if self.coupled else 4

    @property
    def is_plain(self) -> bool:
        """True when this is torch.nn.LSTM (projection included)."""
        extras = (self.norm, self.norm_cell, self.cell_clip)
        return all(e is None for e in extras) and not (self.peephole or self.coupled or self.mogrify)

    def _add_parameters(self, name: str, width: int) -> None:
        size, rows = self.hidden_size, self.gates * self.hidden_size
        if self.coupled:
            kinds: dict[str, tuple[int, ...]] = {
                "weight_ih": (rows, width),
                "weight_hh": (rows, self.state_size),
            }
            if self.bias:
                kinds |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for kind, old_shape in kinds.items():
                old = getattr(self, f"{kind}_{name}")
                setattr(self, f"{kind}_{name}", nn.Parameter(old.new_empty(old_shape)))
        new: dict[str, tuple[int, ...]] = {}
        if self.norm is not None:
            new |= {"weight_norm_ih": (rows,), "weight_norm_hh": (rows,)}
        if self.norm_cell is not None:
            new |= {"weight_norm_cell": (size,), "bias_norm_cell": (size,)}
        if self.peephole:
            new["weight_peephole"] = ((self.gates - 1) * size,)
        for r in range(1, self.mogrify + 1):
            new[f"weight_mogrify{r}"] = (width, self.state_size) if r % 2 else (self.state_size, width)
        reference = getattr(self, f"weight_hh_{name}")
        for kind, shape in new.items():
            self.register_parameter(f"{kind}_{name}", nn.Parameter(reference.new_empty(shape)))

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(H) as torch; gains of norms 1, shifts 0."""
        super().reset_parameters()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("weight_norm"):
                    parameter.fill_(1.0)
                elif name.startswith("bias_norm"):
                    parameter.zero_()

    def flatten_parameters(self) -> None:
        """Only torch's own weights have a flat form."""
        if not getattr(self, "coupled", False):
            super().flatten_parameters()

    def forward(  # type: ignore[override]
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """input [T, B, X] ([B, T, X] when batch_first, [T, X] unbatched), hx (h [L D, B, P], c [L D, B, H]) or None.

        Returns (output [T, B, D P], (h_n, c_n)) as torch.nn.LSTM. Raises InputError for a PackedSequence when a
        variant is on, and for an input or states of another shape.
        """
        if self.is_plain:
            result: tuple[Tensor, tuple[Tensor, Tensor]] = super().forward(input, hx)
            return result
        if not isinstance(input, Tensor):
            raise InputError("LSTM variants take padded tensors, not a PackedSequence")
        if input.dim() not in (2, 3) or input.shape[-1] != self.input_size:
            raise InputError(
                f"the LSTM's input has shape {tuple(input.shape)}; expected 2 or 3 axes, the last of {self.input_size}"
            )
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(1)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        h0, c0 = self._states(x, hx, batched)
        form = lstm_form(self)
        last_h: list[Tensor] = []
        last_c: list[Tensor] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.directions):
                index = len(last_h)
                weights = lstm_weights(self, layer, direction)
                y, h, c = run_lstm(form, weights, x, h0[index], c0[index], EXACT)
                outputs.append(y)
                last_h.append(h)
                last_c.append(c)
            x = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        h_n, c_n = torch.stack(last_h), torch.stack(last_c)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        return (x, (h_n, c_n)) if batched else (x.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1)))

    def _states(self, x: Tensor, hx: Any, batched: bool) -> tuple[Tensor, Tensor]:
        layers = self.num_layers * self.directions
        shapes = [(layers, x.shape[1], size) for size in (self.state_size, self.hidden_size)]
        if hx is None:
            return x.new_zeros(shapes[0]), x.new_zeros(shapes[1])
        h, c = (s if batched else s.unsqueeze(1) for s in hx)
        for name, state, shape in zip("hc", (h, c), shapes, strict=True):
            if tuple(state.shape) != shape:
                raise InputError(f"the LSTM's state {name} has shape {tuple(state.shape)}, expected {shape}")
        return h, c

    def extra_repr(self) -> str:
        shown = [super().extra_repr()]
        for key in ("norm", "norm_cell", "peephole", "coupled", "cell_clip", "mogrify"):
            value = getattr(self, key)
            if value:
                shown.append(f"{key}={value}")
        return ", ".join(shown)
