"""Fills the report: runs the integer model on the calibration data and compares it with the float one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx

from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.calibrate import element, run_float
from irnn_tvm.quantization.clipping import Counter
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.inputs import Batch, flatten_tensors
from irnn_tvm.quantization.integer_model import IntegerModel
from irnn_tvm.quantization.internals import Internals, is_alive
from irnn_tvm.quantization.planner import Planner
from irnn_tvm.quantization.quality import Comparison, Quality, decibels
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
    """One row per quantized tensor, in the order of the graph. Sets model.quality, and warns where it is not good."""
    alive = set(model.graph_module.graph.nodes)
    by_name = {node.name: node for node in alive}
    measured = [m for m in _tensors(planner, emitter) if m.integer_node.name in by_name]
    internals = Internals(planner, model)
    outputs = _comparisons(planner, model)
    recurrent = {
        node: op
        for node, op in planner.ops.items()
        if internals.is_watched(op) and is_alive(emitter.env[node], set(by_name))
    }

    def see(node: fx.Node, args: Any, kwargs: Any, value: Any, _: Batch) -> None:
        if node in recurrent:
            internals.see(recurrent[node], args, kwargs, value)

    with internals.watching():
        for batch in batches[:: 1 + (len(batches) - 1) // MEASURED_BATCHES]:
            internals.begin()
            values = run_float(planner, batch, see)
            recorder = _Recorder(model.graph_module)
            results = flatten_tensors(recorder.run(*model.quantize_inputs(*batch.tensors)))
            for m in measured:
                _compare(
                    m, element(values[m.float_node], m.path), recorder, by_name[m.integer_node.name].name
                )
            for comparison, real, found in zip(outputs, _results(planner, values), results, strict=True):
                comparison.add(real, found)
    model.quality = Quality(tuple(comparison.result() for comparison in outputs))
    if not model.quality.is_good:
        first = batches[0]
        expected = _results(planner, run_float(planner, first, lambda *_: None))
        # Of the training stage, which is made of this one: a circle where it stands at the top.
        from irnn_tvm.quantization.losses import find_losses

        model.quality = replace(model.quality, losses=find_losses(planner, first, expected))
        model.quality.warn(model.name)
    return _rows(planner, emitter, measured, internals)


def _results(planner: Planner, values: dict[fx.Node, Any]) -> list[Tensor]:
    """The model's outputs, flat."""
    return flatten_tensors(fx.map_arg(planner.captured.output, lambda node: values[node]))


def _comparisons(planner: Planner, model: IntegerModel) -> list[Comparison]:
    """One per output. Class scores are what a linear layer or a softmax makes."""
    made: list[fx.Node | None] = []
    fx.map_arg(planner.captured.output, lambda node: made.extend([node] * _width(planner.values[node])))
    if len(made) != len(model.output_specs):  # nested results of a single node
        made = [None] * len(model.output_specs)
    found = []
    for spec, node in zip(model.output_specs, made, strict=True):
        kind = planner.ops[node].kind if node in planner.ops else ""
        wide = len(spec.example_shape) > 0 and spec.example_shape[-1] > 1
        found.append(Comparison(spec, kind in ("linear", "softmax") and wide))
    return found


def _width(value: Any) -> int:
    """How many tensors a value holds."""
    return sum(_width(v) for v in value) if isinstance(value, tuple | list) else 1


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


def _rows(
    planner: Planner, emitter: Emitter, measured: list[_Measured], watched: Internals
) -> list[ReportRow]:
    rows = []
    clips = watched.watches
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
                    rows.append(
                        _row(where, m.kind, t.name, t.qparams, t.low, t.high, share, counter.sqnr(t.name))
                    )
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
    return decibels(m.signal, m.noise)
