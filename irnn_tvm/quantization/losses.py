"""Which rounding loses most: each one by itself is put into the float model, and its outputs are compared."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from irnn_tvm.errors import IrnnError
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.config import QuantConfig
from irnn_tvm.quantization.inputs import Batch, flatten_tensors
from irnn_tvm.quantization.observers import Histogram, Observer
from irnn_tvm.quantization.quality import Loss, decibels
from irnn_tvm.quantization.slots import Slot
from irnn_tvm.quantization.tables import OUTPUTS
from irnn_tvm.training.config import QatConfig
from irnn_tvm.training.gate_tables import Table
from irnn_tvm.training.simulation import Function, Simulation
from irnn_tvm.training.straight_through import round_to_grid

if TYPE_CHECKING:
    from irnn_tvm.quantization.planner import Planner

SECONDS = 10.0  # for the whole search
KEPT = 5  # losses that are reported
FAITHFUL_DB = 20.0  # what the search's own arithmetic has to reach without any rounding
MARGIN_DB = 3.0
OUTLIERS = 12.0  # a largest value beyond this many times the root mean square stretches a range


@dataclass(frozen=True)
class Rounding:
    """One candidate. what: a root slot, ("operand", slot), ("weights", node) or ("gates", name of the layer)."""

    name: str
    what: Any
    advice: str


def find_losses(planner: Planner, batch: Batch, expected: Sequence[Tensor]) -> tuple[Loss, ...]:
    """The worst roundings, the worst first, as far as ten seconds go; expected: the float model's outputs.

    Nothing where the search cannot reproduce the float model (an operation that has no exact form here).
    """
    until = time.monotonic() + SECONDS
    found = []
    with torch.no_grad():
        try:
            clean = _sqnr(planner, batch, expected, None)
            if clean < FAITHFUL_DB:
                return ()
            for rounding in _roundings(planner):
                sqnr = _sqnr(planner, batch, expected, rounding.what)
                found.append(Loss(rounding.name, sqnr, rounding.advice))
                if time.monotonic() > until:
                    break
        except Exception:  # the search serves a message; the integer model does not need it
            return ()
    # What is not well below the search's own noise says nothing.
    losses = [f for f in found if f.sqnr_db < clean - MARGIN_DB]
    return tuple(sorted(losses, key=lambda f: f.sqnr_db)[:KEPT])


def _sqnr(planner: Planner, batch: Batch, expected: Sequence[Tensor], chosen: Any) -> float:
    """SQNR of the worst float output when `chosen` alone is rounded."""
    with _fine(planner, chosen):
        values = _run(planner, batch, Alone(planner, chosen))
    outputs = flatten_tensors(fx.map_arg(planner.captured.output, lambda node: values[node]))
    figures = []
    for real, found in zip(expected, outputs, strict=True):
        if real.is_floating_point():
            exact = real.double()
            difference = found.double() - exact
            figures.append(decibels(float((exact * exact).sum()), float((difference * difference).sum())))
    return min((f for f in figures if f is not None), default=math.inf)


def _run(planner: Planner, batch: Batch, sim: Alone) -> dict[fx.Node, Any]:
    leaves = iter(batch.tensors)
    values: dict[fx.Node, Any] = {}
    for node in planner.captured.graph.nodes:
        if node.op == "output":
            continue
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: values[n])
        sim.node = node
        if node.op == "placeholder":
            slot, value = planner.values[node], next(leaves)
            values[node] = sim.quantize(value, slot) if isinstance(slot, Slot) else value
        else:
            values[node] = planner.ops[node].simulate(sim, args, kwargs)
    return values


class Alone(Simulation):
    """Rounds what was chosen; everything else is exact, or on a grid that is fine enough not to matter."""

    def __init__(self, planner: Planner, chosen: Any) -> None:
        super().__init__(planner, QatConfig(quant=planner.config))
        self.chosen = chosen
        self.node: fx.Node | None = None

    def _is(self, kind: str, what: Any) -> bool:
        return bool(self.chosen == (kind, what))

    def _gates(self, key: Hashable) -> bool:
        return self._is("gates", _layer_of(key))

    def live(self, node: fx.Node) -> Any:
        """As it was captured: attributes of the model may have been taken back."""
        return self.planner.captured.constants.get(str(node.target), node.meta["value"])

    def quantize(self, x: Tensor, slot: Slot) -> Tensor:
        return round_to_grid(x, slot.qparams) if rests_on(slot, self.chosen) else x

    def operand(self, x: Tensor, source: Slot, entry: Slot) -> Tensor:
        alone = self._is("operand", entry) or rests_on(entry, self.chosen)
        return round_to_grid(x, entry.qparams) if alone and source.qparams != entry.qparams else x

    def internal(
        self, x: Tensor, key: Hashable, observer: Observer, resolve: Callable[[], QParams]
    ) -> tuple[Tensor, QParams]:
        q = resolve()
        return (round_to_grid(x, q), q) if self._gates(key) else (x, fine(q))

    def grid(self, key: Hashable, resolve: Callable[[], QParams]) -> QParams:
        return resolve() if self._gates(key) else fine(resolve())

    def rows(self, weight: Tensor) -> Tensor:
        return super().rows(weight) if self._is("weights", self.node) else weight

    def function(
        self, x: Tensor, fn: str | Function, key: Hashable, grid: QParams, out: QParams,
        seen: Observer | Histogram | None,
    ) -> Tensor:  # fmt: skip
        from irnn_tvm.quantization.tables import FUNCTIONS

        function = FUNCTIONS[fn] if isinstance(fn, str) else fn
        y = torch.from_numpy(function(x.double().cpu().numpy())).to(dtype=x.dtype, device=x.device)
        own = self.node is not None and rests_on(self.planner.values.get(self.node), self.chosen)
        return round_to_grid(y, out) if own or self._gates(key) else y

    def table(
        self, fn: str | Function, key: Hashable, grid: QParams, out: QParams, seen: Observer | Histogram | None,
        like: Tensor,
    ) -> Table:  # fmt: skip
        grid = table_grid(grid)
        if isinstance(fn, str) and not self._gates(key) and out == OUTPUTS.get(fn, lambda _: None)(out.bits):
            out = OUTPUTS[fn](16)
        return super().table(fn, key, grid, out, seen, like)


def _layer_of(key: Hashable) -> Hashable:
    """The layer's name in the key of a grid or table, which are nested tuples."""
    while isinstance(key, tuple):
        key = key[0]
    return key


def rests_on(slot: Any, chosen: Any) -> bool:
    """Whether the parameters of a slot are those of the chosen one."""
    return isinstance(slot, Slot) and isinstance(chosen, Slot) and slot.rests_on(chosen)


def fine(q: QParams) -> QParams:
    """A grid of the same reach and more, so fine that it does not matter."""
    return QParams(q.scale / (1 << (20 if q.bits == 8 else 12)), 0, 32)


def table_grid(q: QParams) -> QParams:
    """The finest grid that a table has room for."""
    if q.bits != 32:
        return q
    return QParams(q.scale * (1 << 12), 0, 16)


@contextmanager
def _fine(planner: Planner, chosen: Any) -> Iterator[None]:
    """Inside, every slot but the chosen one has a fine grid."""
    kept = {slot: slot.qparams for slot in planner.slots if _is_used(slot)}
    for slot, q in kept.items():
        if not rests_on(slot, chosen):
            slot._qparams = fine(q)
    try:
        yield
    finally:
        for slot, q in kept.items():
            slot._qparams = q


def _is_used(slot: Slot) -> bool:
    """Whether a slot has parameters."""
    try:
        return slot.qparams is not None
    except IrnnError:
        return False


def _is_rounded(owner: Any, entry: Slot) -> bool:
    """Whether an operand is rounded on the way into a layer, because its own grid is another one."""
    sources = getattr(entry, "sources", None) or [
        s for s in (getattr(owner, "source", None),) if isinstance(s, Slot)
    ]
    return _is_used(entry) and any(source.qparams != entry.qparams for source in sources)


def _roundings(planner: Planner) -> Iterator[Rounding]:
    """All candidates: tensors, operands that are rounded on the way into a layer, weights, the insides of cells."""
    config = planner.config
    by_width = sorted(planner.slots, key=lambda slot: slot.bits)
    for slot in by_width:
        if slot.root is slot and slot.parent is None and not slot.merged and _is_used(slot):
            yield Rounding(f"{slot.name} (int{slot.bits})", slot, _advice(slot, config))
    seen: set[Any] = set()
    for node, op in planner.ops.items():
        owner: Any = getattr(op, "layer", None) or op
        entry = getattr(owner, "entry", None)
        if isinstance(entry, Slot) and entry not in seen and _is_rounded(owner, entry):
            seen.add(entry)
            yield Rounding(
                f"{entry.name} (int{entry.qparams.bits})", ("operand", entry), _advice(entry, config)
            )
        if node.op == "call_module" and getattr(op.module, "_parameters", None):
            yield Rounding(f"the weights of {op.label} (int8)", ("weights", node), _weights_advice(config))
    for layer in planner.layers.values():
        if getattr(layer, "internals", None):
            advice = "QuantConfig(gate_bits=16) helps." if config.gate_bits == 8 else QAT
            bits = config.gate_bits
            yield Rounding(f"the gates of {layer.name} (int{bits})", ("gates", layer.name), advice)


QAT = "Training with the roundings helps (irnn_tvm.prepare_qat, docs/training.md)."


def _weights_advice(config: QuantConfig) -> str:
    if config.weight_rounding == "nearest":
        return 'QuantConfig(weight_rounding="compensated") helps.'
    return f"More calibration data lets more of it be compensated. {QAT}"


def _advice(slot: Slot, config: QuantConfig) -> str:
    """The setting that makes this tensor's grid finer."""
    kind = slot.tensor_class
    if kind == "activation" and slot.bits == 8 and "output" in slot.uses and config.output_bits == 8:
        return "QuantConfig(output_bits=16) helps."
    if slot.bits == 8 and kind == "cell" and config.cell_bits == 8:
        return "QuantConfig(cell_bits=16) helps."
    if slot.bits == 8 and slot.name.endswith("state") and config.gru_state_bits == 8 and kind == "hidden":
        return "QuantConfig(gru_state_bits=16) helps."
    if slot.bits == 8 and "pwl" in slot.uses and config.gate_bits == 8:
        return "QuantConfig(gate_bits=16) helps."
    observer = slot.root.observer
    outlying = not observer.empty and _spread(observer) > OUTLIERS
    if slot.bits == 8 and outlying and getattr(config, f"{kind}_observer") in ("minmax", "moving_average"):
        return (
            f'Few large values stretch its range: QuantConfig({kind}_observer="mse") or "percentile" helps.'
        )
    if slot.bits == 8 and outlying:
        return "Few large values stretch its range: clip or scale them before the model."
    if slot.bits == 16:
        return f"Its range is far wider than its values: less headroom than {config.headroom:g}, or other data, helps."
    return f"It has 8 bits. {QAT}"


def _spread(observer: Observer) -> float:
    """Largest magnitude over the root mean square of what was seen."""
    counts = observer.histogram
    return _histogram_spread(counts)


def _histogram_spread(histogram: Histogram) -> float:
    centers, counts = histogram.centers(), histogram.counts
    total = float(counts.sum())
    if total == 0.0:
        return 0.0
    rms = math.sqrt(float((counts * centers**2).sum()) / total)
    return float(abs(centers[counts > 0]).max()) / rms if rms else 0.0
