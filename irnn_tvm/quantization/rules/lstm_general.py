"""nn.LSTM with a projection and irnn_tvm.nn.LSTM with any of its variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from irnn_tvm.nn.lstm import LSTM
from irnn_tvm.nn.lstm_recurrence import LstmForm, LstmWeights, lstm_form, lstm_weights, run_lstm
from irnn_tvm.nn.recurrence import Exact, Recorder
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.float_lstm import trace_lstm
from irnn_tvm.quantization.modules.integer_lstm import IntegerLSTM
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.lstm import LstmOp
from irnn_tvm.quantization.rules.lstm_general_build import build_direction
from irnn_tvm.quantization.rules.variant_layer import OPERAND, WIDE, Place, Rounded, VariantLayer
from irnn_tvm.quantization.slots import Slot
from irnn_tvm.training.lstm_sequence import LstmGrids, lstm_sequence
from irnn_tvm.training.sequence import states_before

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

HIDDEN, CELL, MIDDLE = "hidden state", "cell state", "before projection"


class LstmGeneralLayer(VariantLayer):
    """hidden: a slot per layer, one for all when stacked states enter or leave the layer. cell: one for all."""

    def __init__(self, op: Op, module: nn.LSTM) -> None:
        self.module = module
        self.form = lstm_form(module)
        directions = 2 if module.bidirectional else 1
        new = op.planner.new_slot
        self.hidden = [
            new(f"{op.label} hidden state of layer {k}", tensor_class="hidden", bits=8)
            for k in range(module.num_layers)
        ]
        self.cell = new(
            f"{op.label} cell state", tensor_class="cell", bits=op.config.cell_bits, symmetric=True
        )
        self.state_sizes = (module.proj_size or module.hidden_size, module.hidden_size)
        points = lstm_points(self.form)
        super().__init__(
            op,
            [
                [Place(k, d, points, {HIDDEN: self.hidden[k], CELL: self.cell}) for d in range(directions)]
                for k in range(module.num_layers)
            ],
        )

    @property
    def weights(self) -> list[list[LstmWeights]]:
        """[layer][direction], as they are now."""
        module = self.module
        directions = range(2 if module.bidirectional else 1)
        return [[lstm_weights(module, k, d) for d in directions] for k in range(module.num_layers)]

    def share_hidden(self) -> None:
        """Stacked hidden states are one tensor, so all layers get the same parameters."""
        for slot in self.hidden[1:]:
            slot.follow(self.hidden[0])

    def source(self, k: int) -> Slot:
        return self.entry if k == 0 else self.hidden[k - 1]

    def state_slots(self, k: int) -> list[list[Slot]]:
        return [[self.hidden[k]], [self.cell]]

    def run(
        self, k: int, d: int, x: Tensor, states: list[Tensor], hooks: Exact
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        h, c = states
        if self.form == LstmForm(projected=True, eps=self.form.eps):
            if isinstance(hooks, Rounded):
                return self._projected(k, d, x, h, c, hooks)
            if isinstance(hooks, Recorder):
                return self._recorded(self.weights[k][d], x, h, c, hooks)
        y, h, c = run_lstm(self.form, self.weights[k][d], x, h, c, hooks)
        return y, (h, c)

    def _projected(
        self, k: int, d: int, x: Tensor, h: Tensor, c: Tensor, hooks: Rounded
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`run` in training, without autograd inside: PyTorch's projected LSTM is a kernel as well."""
        w, sim, points = self.weights[k][d], hooks.sim, self.places[k][d].points
        assert w.w_hr is not None
        names = [f"gate {gate}" for gate in self.form.gates]
        grids = LstmGrids(
            hooks.gate_tables(names, [points[name] for name in names], c.shape[1], x),
            hooks.cell_table(x),
            self.hidden[k].qparams,
            hooks.grid(MIDDLE),
        )
        gains = sim.gain(self.cell), sim.gain(self.hidden[k]), sim.gain_of(self.seen[k][d][MIDDLE])
        from_x = hooks.linear("ih", x, w.w_ih, w.bias())
        y, last = lstm_sequence(
            from_x, h, c, sim.rows(w.w_hh), grids, w.reverse, gains, w_hr=sim.rows(w.w_hr)
        )
        return y, (y[0] if w.reverse else y[-1], last)

    def _recorded(
        self, w: LstmWeights, x: Tensor, h: Tensor, c: Tensor, hooks: Recorder
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`run` for observers."""
        seen = trace_lstm(x, h, c, w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.reverse, w.w_hr)
        for gate, pre in zip(self.form.gates, seen.gates.chunk(4, dim=-1), strict=True):
            hooks.seen[f"gate {gate}"] = [pre]
        hooks.seen |= {CELL: [seen.cell], MIDDLE: [seen.middle], HIDDEN: [seen.hidden]}
        before = states_before(seen.hidden, h, w.reverse)
        hooks.operands |= {"ih": [x], "hh": [before], "hr": [seen.middle]}
        return seen.hidden, (seen.last_hidden, seen.last_cell)

    def trace(self, x: Tensor, h0: Tensor | None, c0: Tensor | None, refine: bool) -> None:
        """`trace_layers` of both states."""
        self.trace_layers(x, (h0, c0), refine)

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
            grids["hr"] = self.grid(k, d, MIDDLE)
        return grids

    def simulate(
        self, sim: Simulation, x: Tensor, h0: Tensor | None, c0: Tensor | None
    ) -> tuple[Tensor, ...]:
        """`simulate_layers` of both states: (y [T, B, D * P], h_n, c_n [L * D, B, ...])."""
        return self.simulate_layers(sim, x, (h0, c0), float(self.module.dropout), self.module.training)

    def build(self) -> nn.Module:
        layers = []
        for k, directions in enumerate(self.weights):
            layers.append([build_direction(self, k, d) for d in range(len(directions))])
            for d in range(len(directions)):
                self.describe(k, d, (CELL, HIDDEN))
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
        points[MIDDLE] = OPERAND
    return points


@Registry.register(modules=(LSTM,))
class LstmGeneralOp(LstmOp):
    """y, (h_n, c_n) = lstm(x, (h0, c0)) with variants."""

    def make_layer(self, module: Any) -> Any:
        return LstmGeneralLayer(self, module)
