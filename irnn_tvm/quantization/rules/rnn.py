"""nn.RNN and nn.RNNCell with tanh or relu."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from irnn_tvm.nn.recurrence import Exact
from irnn_tvm.nn.rnn_recurrence import run_rnn
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.modules.integer_gru import IntegerGRU
from irnn_tvm.quantization.modules.integer_rnn import IntegerRNNLayer, RnnScalars
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.recurrent import (
    DirectionWeights,
    as_called,
    direction_weights,
    gate_rows,
    int32,
    joint_bias,
    layered_state,
    reads,
    time_major,
)
from irnn_tvm.quantization.rules.variant_layer import Place, VariantLayer
from irnn_tvm.quantization.slots import Slot, Value
from irnn_tvm.quantization.tables import FUNCTIONS, fit_table

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

HIDDEN, GATE = "hidden state", "gate h"


class RnnLayer(VariantLayer):
    """hidden: a slot per layer, one for all when stacked states enter or leave the layer."""

    def __init__(self, op: Op, module: nn.RNN | nn.RNNCell) -> None:
        self.module = module
        self.function = str(module.nonlinearity)
        self.hidden = [
            op.planner.new_slot(f"{op.label} hidden state of layer {k}", tensor_class="hidden", bits=8)
            for k in range(len(self.weights))
        ]
        self.state_sizes = (module.hidden_size,)
        points = {GATE: "tanh"} if self.function == "tanh" else {}
        super().__init__(
            op,
            [
                [Place(k, d, points, {HIDDEN: self.hidden[k]}) for d in range(len(directions))]
                for k, directions in enumerate(self.weights)
            ],
        )

    @property
    def weights(self) -> list[list[DirectionWeights]]:
        """[layer][direction], as they are now."""
        return direction_weights(self.module)

    def share_hidden(self) -> None:
        """Stacked hidden states are one tensor, so all layers get the same parameters."""
        for slot in self.hidden[1:]:
            slot.follow(self.hidden[0])

    def source(self, k: int) -> Slot:
        return self.entry if k == 0 else self.hidden[k - 1]

    def state_slots(self, k: int) -> list[list[Slot]]:
        return [[self.hidden[k]]]

    def operand_grids(self, k: int, d: int) -> Mapping[str, QParams]:
        return {"ih": self.source(k).qparams, "hh": self.hidden[k].qparams}

    def run(
        self, k: int, d: int, x: Tensor, states: list[Tensor], hooks: Exact
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        w = self.weights[k][d]
        bias = None if w.b_ih is None or w.b_hh is None else w.b_ih + w.b_hh
        y, h = run_rnn(self.function, w.w_ih, w.w_hh, bias, x, states[0], w.reverse, hooks)
        return y, (h,)

    def build(self) -> nn.Module:
        layers = []
        for k, directions in enumerate(self.weights):
            layers.append([self._direction(k, d) for d in range(len(directions))])
            for d in range(len(directions)):
                self.describe(k, d, (HIDDEN,))
        cell = isinstance(self.module, nn.RNNCell)
        return IntegerGRU(layers, not cell and bool(self.module.batch_first), cell, self.states_read)

    def _direction(self, k: int, d: int) -> IntegerRNNLayer:
        w, config = self.weights[k][d], self.planner.config
        name = f"{self.name} layer {k}{' reverse' if w.reverse else ''}"
        x, h = self.source(k).qparams, self.hidden[k].qparams
        b_ih, b_hh = joint_bias(w)
        seen = (
            self.statistics_for(k, d, "ih", w.w_ih),
            [self.statistics_for(k, d, "hh", w.w_hh)],
        )
        rows = gate_rows(w.w_ih, w.w_hh, b_ih + b_hh, 0.0 * b_hh, x, [h], [True], seen, name)
        grid = self.grid(k, d, GATE) if self.function == "tanh" else h
        (m_ih, m_hh), shift = bounded_multiplier(
            [rows.ih.effective / grid.scale, rows.hh.effective / grid.scale],
            [rows.ih_bound, rows.hh_bound],
            name,
        )
        buffers = {
            "w_ih": torch.from_numpy(rows.ih.weight),
            "w_hh": torch.from_numpy(rows.hh.weight),
            "bias": int32(rows.bias),
            "mult_ih": int32(m_ih),
            "mult_hh": int32(m_hh),
        }
        table_shift = 0
        if self.function == "tanh":
            histogram = self.seen[k][d][GATE].histogram
            table = fit_table(FUNCTIONS["tanh"], config.pwl_pieces, grid, h, histogram)
            buffers["table"] = torch.from_numpy(table.table.copy())
            table_shift = table.shift
        scalars = RnnScalars(shift, grid.zero_point, config.gate_bits, table_shift, h.zero_point)
        return IntegerRNNLayer(buffers, scalars, w.reverse)


@Registry.register(modules=(nn.RNN, nn.RNNCell))
class RnnOp(Op):
    """y, h_n = rnn(x, h0); h = cell(x, h)."""

    kind = "rnn"

    def plan(self) -> Value:
        module = self.module
        assert isinstance(module, nn.RNN | nn.RNNCell)
        self.is_cell = isinstance(module, nn.RNNCell)
        if module not in self.planner.layers:
            self.planner.layers[module] = RnnLayer(self, module)
        self.layer: RnnLayer = self.planner.layers[module]
        self.layer.call(self.slot(self.argument(0, "input"), "product"))
        read = self.is_cell or reads(self.node, (1,))
        self.layer.states_read |= read
        self.state: Slot | None = None
        given = self.planner.value(self.argument(1, "hx"))
        if given is not None:
            if not isinstance(given, Slot):
                raise self.refuse("its state is not a float tensor")
            if not (given.is_constant and given.is_zero()):
                given.add_use("state8")
                given.want(self.layer.hidden[0])
                self.state = given
        if read or self.state is not None:
            self.layer.share_hidden()
        return self.layer.hidden[0] if self.is_cell else (self.layer.hidden[-1], self.layer.hidden[0])

    def observe(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self.layer.observe(args[0] if args else kwargs["input"])
        self._trace(args, kwargs, False)

    def refine(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self._trace(args, kwargs, True)

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        hx = args[1] if len(args) > 1 else kwargs.get("hx")
        return layered_state(self.module, hx) if hx is not None and self.state is not None else None

    def _trace(self, args: tuple[Any, ...], kwargs: dict[str, Any], refine: bool) -> None:
        x = time_major(self.module, args[0] if args else kwargs["input"])
        self.layer.trace_layers(x, (self._given(args, kwargs),), refine)

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = self.planner.values[self.argument(0, "input")]
        x = sim.operand(args[0] if args else kwargs["input"], source, self.layer.entry)
        h0 = self._given(args, kwargs)
        if h0 is not None:
            assert self.state is not None
            h0 = sim.operand(h0, self.state, self.layer.hidden[0])
        module = self.module
        dropout = float(getattr(module, "dropout", 0.0))
        assert module is not None
        y, h = self.layer.simulate_layers(sim, time_major(module, x), (h0,), dropout, module.training)
        if self.is_cell:
            return h[0] if x.dim() == 2 else h[0, 0]
        return as_called(module, x, y, h)

    def emit(self, emitter: Emitter) -> Any:
        x = self.argument(0, "input")
        source: Slot = self.planner.values[x]
        args = [emitter.to(emitter.env[x], source.qparams, self.layer.entry, self.layer.name), None]
        if self.state is not None:
            given = emitter.env[self.argument(1, "hx")]
            args[1] = emitter.to(given, self.state.qparams, self.layer.hidden[0], self.layer.name)
        call = self.layer.emit(emitter, *args)
        y, h = emitter.item(call, 0), emitter.item(call, 1)
        return h if self.is_cell else (y, h)
