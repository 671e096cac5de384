"""Fills the report: runs the integer model on the calibration data and compares it with the float one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.calibrate import element, run_float
from irnn_tvm.quantization.clipping import Counter, count_gru, count_lstm
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.inputs import Batch
from irnn_tvm.quantization.integer_model import IntegerModel
from irnn_tvm.quantization.modules import IntegerGRULayer, IntegerLSTMLayer
from irnn_tvm.quantization.planner import Planner
from irnn_tvm.quantization.report import ReportRow
from irnn_tvm.quantization.slots import Slot

MEASURED_BATCHES = 32  # of more than that, an even selection is measured
MEASURED = ("linear", "conv1d", "embedding", "pwl", "add", "mul", "lstm", "gru", "rnn", "concat", "clamp",
            "layer_norm", "mad_norm", "mean_pool", "sum_pool", "avg_pool1d",
            "softmax", "matmul", "attention")  # fmt: skip
WIDENED = ("requantize", "add", "mul", "mean_pool", "sum_pool", "avg_pool1d")
STATES = {(): "output", (0,): "output", (1,): "state", (1, 0): "hidden state", (1, 1): "cell state"}
CELL_STATES = {(): "state", (0,): "hidden state", (1,): "cell state"}
ATTENDED = {(): "output", (0,): "output", (1,): "weights"}


@dataclass
class _Measured:
    """One tensor of the integer graph and what it stands for."""

    layer: str
    kind: str
    tensor: str
    slot: Slot
    float_node: fx.Node
    path: tuple[int, ...]
    integer_node: fx.Node
    signal: float = 0.0
    noise: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    counter: Counter = field(default_factory=Counter)


def measure(planner: Planner, emitter: Emitter, model: IntegerModel, batches: list[Batch]) -> list[ReportRow]:
    """One row per quantized tensor, in the order of the graph."""
    alive = set(model.graph_module.graph.nodes)
    by_name = {node.name: node for node in alive}
    measured = [m for m in _tensors(planner, emitter) if m.integer_node.name in by_name]
    clips: dict[str, Counter] = {}
    handles = _watch_recurrent(model, clips)
    try:
        for batch in batches[:: 1 + (len(batches) - 1) // MEASURED_BATCHES]:
            values = run_float(planner, batch, lambda *_: None)
            recorder = _Recorder(model.graph_module)
            recorder.run(*model.quantize_inputs(*batch.tensors))
            for m in measured:
                _compare(
                    m, element(values[m.float_node], m.path), recorder, by_name[m.integer_node.name].name
                )
    finally:
        for handle in handles:
            handle.remove()
    return _rows(planner, emitter, measured, clips)


def _tensors(planner: Planner, emitter: Emitter) -> list[_Measured]:
    found = []
    for node, value in planner.values.items():
        if node.op == "placeholder":
            if isinstance(value, Slot):
                found.append(
                    _Measured(str(node.target), "input", "input", value, node, (), emitter.env[node])
                )
            continue
        op = planner.ops[node]
        if op.kind not in MEASURED:
            continue
        names = (
            CELL_STATES if getattr(op, "is_cell", False) else ATTENDED if op.kind == "attention" else STATES
        )
        for path, slot, made in _leaves(value, emitter.env[node], ()):
            source = planner.folded.source(node)
            if any(slot.clamped) and op.kind != "clamp":
                # The clamp was moved into this operator's saturation: compare what comes after it.
                source, path = slot.watched[0]
                made = emitter.env[source]
            found.append(_Measured(op.label, op.kind, names[path[:2]], slot, source, path, made))
    return found


def _leaves(value: Any, made: Any, path: tuple[int, ...]) -> list[tuple[tuple[int, ...], Slot, fx.Node]]:
    if isinstance(value, Slot):
        return [(path, value, made)]
    if isinstance(value, tuple | list):
        return [
            leaf
            for i, (v, m) in enumerate(zip(value, made, strict=True))
            for leaf in _leaves(v, m, (*path, i))
        ]
    return []


def _compare(m: _Measured, real: Tensor, recorder: _Recorder, name: str) -> None:
    q = m.slot.qparams
    integers = recorder.values[name]
    exact = real.double()
    error = (integers.double() - q.zero_point) * q.scale - exact
    m.signal += float((exact * exact).sum())
    m.noise += float((error * error).sum())
    m.low, m.high = min(m.low, float(exact.min())), max(m.high, float(exact.max()))
    if m.kind == "input":
        wide = torch.floor(exact / q.scale + 0.5) + q.zero_point
        m.counter.add("", _outside(wide, q, (False, False)), wide.numel())
    elif name in recorder.wide:
        wide = recorder.wide[name]
        m.counter.add("", _outside(wide, q, m.slot.clamped), wide.numel())


def _outside(wide: Tensor, q: QParams, on_purpose: tuple[bool, bool]) -> int:
    below = 0 if on_purpose[0] else int((wide < q.qmin).sum())
    return below + (0 if on_purpose[1] else int((wide > q.qmax).sum()))


class _Recorder(fx.Interpreter):
    """Keeps every node's integers, and those of rescaling operators before saturation."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.values: dict[str, Any] = {}
        self.wide: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.values[n.name] = result
        args, _ = self.fetch_args_kwargs_from_env(n)
        if n.op == "call_module":
            layer = self.fetch_attr(str(n.target))
            if hasattr(layer, "run"):
                self.wide[n.name] = layer.run(*args, 32)
        elif n.op == "call_function" and str(n.target).startswith("irnn."):
            name = str(n.target).split(".")[1]
            if name in WIDENED:
                self.wide[n.name] = n.target(*args[:-1], 32)  # type: ignore[operator]
        return result


def _watch_recurrent(model: IntegerModel, clips: dict[str, Counter]) -> list[Any]:
    handles = []
    for name, module in model.graph_module.named_modules():
        if isinstance(module, IntegerLSTMLayer | IntegerGRULayer) or hasattr(module, "count_clips"):
            counter = clips.setdefault(name, Counter())

            def count(layer: Any, args: tuple[Any, ...], result: Any, counter: Counter = counter) -> None:
                function: Any = count_lstm if isinstance(layer, IntegerLSTMLayer) else count_gru
                if hasattr(layer, "count_clips"):
                    function = type(layer).count_clips
                if not torch.equal(function(layer, *args, counter), result[0]):
                    raise AssertionError("the counting recurrence disagrees with its operator")

            handles.append(module.register_forward_hook(count))
    return handles


def _rows(
    planner: Planner, emitter: Emitter, measured: list[_Measured], clips: dict[str, Counter]
) -> list[ReportRow]:
    rows = []
    described: set[str] = set()
    internals = {layer.name: layer for layer in planner.layers.values() if layer.internals}
    for m in measured:
        layer = internals.get(m.layer)
        if layer is not None and m.layer not in described:
            described.add(m.layer)
            for (k, d), tensors in layer.internals.items():
                counter = clips[f"{layer.path}.layers.{k}.{d}"]
                where = f"{m.layer} layer {k}{' reverse' if d else ''}"
                for t in tensors:
                    reach = t.qparams.scale * (t.qparams.qmax - t.qparams.zero_point)
                    harmless = reach >= 0.99 * t.flat
                    share = 0.0 if harmless else counter.share(t.name)
                    rows.append(_row(where, m.kind, t.name, t.qparams, t.low, t.high, share, None))
        saturation = m.counter.share("")
        if layer is not None:
            shares = [c.share(m.tensor.replace("output", "hidden state")) for n, c in clips.items()
                      if n.startswith(f"{layer.path}.layers.")]  # fmt: skip
            saturation = max(shares, default=0.0)
        rows.append(_row(m.layer, m.kind, m.tensor, m.slot.qparams, m.low, m.high, saturation, _db(m)))
    return rows


def _row(
    layer: str, op: str, tensor: str, q: QParams, low: float, high: float, share: float, sqnr: float | None
) -> ReportRow:
    return ReportRow(layer, op, tensor, q.bits, q.scale, q.zero_point, low, high, share, sqnr)


def _db(m: _Measured) -> float | None:
    if m.signal == 0.0:
        return None
    return math.inf if m.noise == 0.0 else 10.0 * math.log10(m.signal / m.noise)
