"""nn.LSTM with a projection and irnn_tvm.nn.LSTM with any of its variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irnn_tvm.nn.lstm import LSTM
from irnn_tvm.nn.lstm_recurrence import LstmForm, LstmWeights, lstm_form, lstm_weights, run_lstm
from irnn_tvm.nn.recurrence import Recorder
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.modules.integer_lstm import IntegerLSTM
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.lstm import LstmOp
from irnn_tvm.quantization.rules.lstm_general_build import build_direction
from irnn_tvm.quantization.rules.variant_layer import OPERAND, WIDE, Place, VariantLayer
from irnn_tvm.quantization.slots import Slot

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

HIDDEN, CELL = "hidden state", "cell state"


class LstmGeneralLayer(VariantLayer):
    """hidden: a slot per layer, one for all when stacked states enter or leave the layer. cell: one for all."""

    def __init__(self, op: Op, module: nn.LSTM) -> None:
        self.module = module
        self.form = lstm_form(module)
        directions = 2 if module.bidirectional else 1
        self.weights: list[list[LstmWeights]] = [
            [lstm_weights(module, k, d) for d in range(directions)] for k in range(module.num_layers)
        ]
        new = op.planner.new_slot
        self.hidden = [
            new(f"{op.label} hidden state of layer {k}", tensor_class="hidden", bits=8)
            for k in range(module.num_layers)
        ]
        self.cell = new(
            f"{op.label} cell state", tensor_class="cell", bits=op.config.cell_bits, symmetric=True
        )
        points = lstm_points(self.form)
        super().__init__(
            op,
            [
                [Place(k, d, points, {HIDDEN: self.hidden[k], CELL: self.cell}) for d in range(directions)]
                for k in range(module.num_layers)
            ],
        )

    def share_hidden(self) -> None:
        """Stacked hidden states are one tensor, so all layers get the same parameters."""
        for slot in self.hidden[1:]:
            slot.follow(self.hidden[0])

    def refine(self, x: Tensor, axis: int = 0) -> None:
        """Moments come from `trace`, which sees the operands of every product."""

    def source(self, k: int) -> Slot:
        """The slot of the input of layer k."""
        return self.entry if k == 0 else self.hidden[k - 1]

    def trace(self, x: Tensor, h0: Tensor | None, c0: Tensor | None, refine: bool) -> None:
        """Runs the float layer on time-major x and stacked states. Shows everything to the observers or, when
        refining, the operands of the products to the moments."""
        index = 0
        for k, directions in enumerate(self.weights):
            outputs = []
            for d, w in enumerate(directions):
                h, c = self._initial(x, h0, c0, index)
                recorder = Recorder()
                outputs.append(run_lstm(self.form, w, x, h, c, recorder)[0])
                if refine:
                    self.learn(k, d, recorder, self.operand_grids(k, d))
                else:
                    self._show_initial(k, h0, c0, index)
                    self.show(k, d, recorder)
                index += 1
            x = torch.cat(outputs, dim=-1)

    def _initial(self, x: Tensor, h0: Tensor | None, c0: Tensor | None, index: int) -> tuple[Tensor, Tensor]:
        sizes = (self.module.proj_size or self.module.hidden_size, self.module.hidden_size)
        h, c = (
            s[index] if s is not None else x.new_zeros(x.shape[1], n)
            for s, n in zip((h0, c0), sizes, strict=True)
        )
        return h, c

    def _show_initial(self, k: int, h0: Tensor | None, c0: Tensor | None, index: int) -> None:
        for state, slot in ((h0, self.hidden[k]), (c0, self.cell)):
            if state is not None:
                slot.root.observer.update(state[index])

    def operand_grids(self, k: int, d: int) -> Mapping[str, QParams]:
        """Parameters of the operand of each matrix: "ih", "hh", "hr", "mogrify1" ..."""
        x, h = self.source(k).qparams, self.hidden[k].qparams
        grids: dict[str, QParams] = {}
        for r in range(1, self.form.rounds + 1):
            grids[f"mogrify{r}"] = h if r % 2 else x
            gated = self.grid(k, d, f"mogrified {r}")
            x, h = (gated, h) if r % 2 else (x, gated)
        grids |= {"ih": x, "hh": h}
        if self.form.projected:
            grids["hr"] = self.grid(k, d, "before projection")
        return grids

    def simulate(
        self, sim: Simulation, x: Tensor, h0: Tensor | None, c0: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Time-major x and stacked states on their grids -> (y [T, B, D * P], h_n, c_n [L * D, B, ...])."""
        hs: list[Tensor] = []
        cs: list[Tensor] = []
        for k, directions in enumerate(self.weights):
            outputs = []
            for d, w in enumerate(directions):
                h, c = self._initial(x, h0, c0, len(hs))
                y, h, c = run_lstm(self.form, w, x, h, c, self.hooks(sim, k, d))
                outputs.append(y)
                hs.append(h)
                cs.append(c)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
            if k + 1 < len(self.weights):
                x = F.dropout(x, float(self.module.dropout), self.module.training)
        return x, torch.stack(hs), torch.stack(cs)

    def build(self) -> nn.Module:
        layers = []
        for k, directions in enumerate(self.weights):
            layers.append([build_direction(self, k, d) for d in range(len(directions))])
            for d in range(len(directions)):
                names = [*self.places[k][d].points, CELL, HIDDEN]
                self.internals[k, d] = [self.internal(k, d, name) for name in names]
        return IntegerLSTM(layers, bool(self.module.batch_first), False, self.states_read)


def lstm_points(form: LstmForm) -> dict[str, str]:
    """Points of a step and how their grids come about, in the order of the step."""
    points: dict[str, str] = {}
    for r in range(1, form.rounds + 1):
        points |= {f"mogrifier gate {r}": "sigmoid", f"mogrified {r}": OPERAND}
    if form.norm is not None:
        points |= {"W_ih x": WIDE, "W_hh h": WIDE}
    points |= {f"gate {gate}": "tanh" if gate == "g" else "sigmoid" for gate in form.gates}
    if form.norm_cell is not None:
        points["normalised cell"] = "tanh"
    if form.projected:
        points["before projection"] = OPERAND
    return points


@Registry.register(modules=(LSTM,))
class LstmGeneralOp(LstmOp):
    """y, (h_n, c_n) = lstm(x, (h0, c0)) with variants."""

    def make_layer(self, module: Any) -> Any:
        return LstmGeneralLayer(self, module)
