"""The recurrence of an LSTM with its variants: formulas in irnn_tvm.nn.LSTM."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from irnn_tvm.nn.gate_norm import EPS
from irnn_tvm.nn.recurrence import Exact, in_input_order, time_order


@dataclass(frozen=True)
class LstmForm:
    """Which variant a layer is. norm, norm_cell: None, "layer" or "mad"; rounds: of the Mogrifier."""

    norm: str | None = None
    norm_cell: str | None = None
    peephole: bool = False
    coupled: bool = False
    cell_clip: float | None = None
    rounds: int = 0
    projected: bool = False
    eps: float = EPS

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the gates in the order of the weights' rows."""
        return ("f", "g", "o") if self.coupled else ("i", "f", "g", "o")

    @property
    def peeping(self) -> tuple[str, ...]:
        """Gates that look at the cell, in the order of weight_peephole."""
        return tuple(gate for gate in self.gates if gate != "g")


@dataclass(frozen=True)
class LstmWeights:
    """Parameters of one layer in one direction: shapes as in irnn_tvm.nn.LSTM, None for what a variant lacks."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    gain_ih: Tensor | None = None
    gain_hh: Tensor | None = None
    gain_cell: Tensor | None = None
    bias_cell: Tensor | None = None
    peephole: Tensor | None = None
    w_hr: Tensor | None = None
    mogrifier: tuple[Tensor, ...] = field(default=())
    reverse: bool = False

    def bias(self) -> Tensor | None:
        """b_ih + b_hh."""
        return None if self.b_ih is None or self.b_hh is None else self.b_ih + self.b_hh


def lstm_form(module: Any) -> LstmForm:
    """The variant of a torch.nn.LSTM or irnn_tvm.nn.LSTM."""
    return LstmForm(
        norm=getattr(module, "norm", None),
        norm_cell=getattr(module, "norm_cell", None),
        peephole=bool(getattr(module, "peephole", False)),
        coupled=bool(getattr(module, "coupled", False)),
        cell_clip=getattr(module, "cell_clip", None),
        rounds=int(getattr(module, "mogrify", 0)),
        projected=bool(getattr(module, "proj_size", 0)),
        eps=float(getattr(module, "eps", EPS)),
    )


def suffix(layer: int, direction: int) -> str:
    """torch's suffix of a parameter's name."""
    return f"l{layer}_reverse" if direction else f"l{layer}"


def lstm_weights(module: Any, layer: int, direction: int) -> LstmWeights:
    """The parameters of one layer and direction."""
    name = suffix(layer, direction)

    def get(kind: str) -> Tensor | None:
        return getattr(module, f"{kind}_{name}", None)

    rounds = [get(f"weight_mogrify{r}") for r in range(1, int(getattr(module, "mogrify", 0)) + 1)]
    return LstmWeights(
        w_ih=getattr(module, f"weight_ih_{name}"),
        w_hh=getattr(module, f"weight_hh_{name}"),
        b_ih=get("bias_ih"),
        b_hh=get("bias_hh"),
        gain_ih=get("weight_norm_ih"),
        gain_hh=get("weight_norm_hh"),
        gain_cell=get("weight_norm_cell"),
        bias_cell=get("bias_norm_cell"),
        peephole=get("weight_peephole"),
        w_hr=get("weight_hr"),
        mogrifier=tuple(r for r in rounds if r is not None),
        reverse=direction == 1,
    )


def run_lstm(
    form: LstmForm, w: LstmWeights, x: Tensor, h: Tensor, c: Tensor, hooks: Exact
) -> tuple[Tensor, Tensor, Tensor]:
    """One direction over x [T, B, X] from h [B, P] and c [B, H]. Returns (y [T, B, P], last h, last c).

    What does not depend on the state is computed for all steps at once. Names that the hooks see: matrices "ih", "hh",
    "hr", "mogrify1" ...; points "W_ih x", "W_hh h" (norms only), "gate i" ..., "mogrifier gate 1", "mogrified 1" ...,
    "cell state", "normalised cell", "before projection", "hidden state".
    """
    bias = w.bias()
    peeps = (
        dict(zip(form.peeping, w.peephole.chunk(len(form.peeping)), strict=True))
        if w.peephole is not None
        else {}
    )

    def normed(name: str, product: Tensor, gain: Tensor | None) -> Tensor:
        assert form.norm is not None
        return hooks.normalise(name, hooks.point(name, product), form.norm, gain, None, form.eps)

    def from_x(v: Tensor) -> Tensor:
        if form.norm is None:
            return hooks.linear("ih", v, w.w_ih, bias)
        product = normed("W_ih x", hooks.linear("ih", v, w.w_ih), w.gain_ih)
        return product if bias is None else product + bias

    def from_h(v: Tensor) -> Tensor:
        product = hooks.linear("hh", v, w.w_hh)
        return product if form.norm is None else normed("W_hh h", product, w.gain_hh)

    names = [f"gate {gate}" for gate in form.gates]
    functions = ["tanh" if gate == "g" else "sigmoid" for gate in form.gates]
    hoisted = None if form.rounds else from_x(x)
    outputs: list[Tensor] = []
    for t in time_order(x.shape[0], w.reverse):
        if hoisted is None:
            v, h = _mogrify(w.mogrifier, x[t], h, hooks)
            sums = from_x(v) + from_h(h)
        else:
            sums = hoisted[t] + from_h(h)
        if not peeps:
            *i, f, g, o = hooks.activate_gates(names, functions, sums)
        else:
            *rest, before_o = sums.chunk(len(form.gates), dim=-1)
            looking = [pre + peeps[gate] * c for gate, pre in zip(form.peeping[:-1], rest, strict=False)]
            *i, f, g = hooks.activate_gates(
                names[:-1], functions[:-1], torch.cat((*looking, rest[-1]), dim=-1)
            )
        c = f * c + (i[0] if i else 1.0 - f) * g
        if form.cell_clip is not None:
            c = c.clamp(-form.cell_clip, form.cell_clip)
        c = hooks.point("cell state", c)
        if peeps:
            o = hooks.activate("gate o", "sigmoid", before_o + peeps["o"] * c)
        if form.norm_cell is None:
            squashed = hooks.activate_cell(c)
        else:
            unit = hooks.normalise("cell state", c, form.norm_cell, w.gain_cell, w.bias_cell, form.eps)
            squashed = hooks.activate("normalised cell", "tanh", unit)
        h = o * squashed
        if w.w_hr is not None:
            h = hooks.linear("hr", hooks.point("before projection", h), w.w_hr)
        h = hooks.point("hidden state", h)
        outputs.append(h)
    return in_input_order(outputs, w.reverse), h, c


def _mogrify(rounds: tuple[Tensor, ...], x: Tensor, h: Tensor, hooks: Exact) -> tuple[Tensor, Tensor]:
    """x [B, X], h [B, P]; rounds: Q, R, Q, ... Returns both after they gated each other."""
    for r, weight in enumerate(rounds, start=1):
        source, value = (h, x) if r % 2 else (x, h)
        gate = hooks.activate(f"mogrifier gate {r}", "sigmoid", hooks.linear(f"mogrify{r}", source, weight))
        gated = hooks.point(f"mogrified {r}", 2.0 * gate * value)
        x, h = (gated, h) if r % 2 else (x, gated)
    return x, h
