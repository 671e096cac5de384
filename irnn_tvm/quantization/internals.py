"""The tensors inside recurrent layers, of the integer run and of the float model, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from irnn_tvm.quantization.clipping import Counter, count_gru, count_lstm
from irnn_tvm.quantization.integer_model import IntegerModel
from irnn_tvm.quantization.modules import IntegerGRULayer, IntegerLSTMLayer
from irnn_tvm.quantization.quality import decibels
from irnn_tvm.quantization.rules.layer import Layer

if TYPE_CHECKING:
    from irnn_tvm.quantization.planner import Planner


class Watch(Counter):
    """A counter that keeps the integers of the latest call, too. noise: signal and noise by name, over all calls."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[Tensor]] = {}
        self.noise: dict[str, list[float]] = {}

    def narrow(self, value: Tensor, bits: int, name: str) -> Tensor:
        kept = super().narrow(value, bits, name)
        self.values.setdefault(name, []).append(kept)
        return kept

    def compare(
        self, layer: Layer, place: tuple[int, int], reals: Mapping[str, Tensor], reverse: bool
    ) -> None:
        """Adds the noise of the latest call. reals: the float model's tensors of that call, [T, B, ...] each, in the
        order of the input, or of the computation where they are marked `stepwise`."""
        for internal in layer.internals.get(place, ()):
            real, steps = reals.get(internal.name), self.values.get(internal.name)
            if real is None or steps is None:
                continue
            whole = len(steps) == 1 and steps[0].dim() == real.dim()
            found = steps[0] if whole else torch.stack(steps)
            # Both in the order of the input.
            found = found.flip(0) if reverse and not whole else found
            real = real.flip(0) if reverse and getattr(real, "stepwise", False) else real
            if found.shape != real.shape:
                continue
            q, exact = internal.qparams, real.double()
            reach = internal.flat if internal.flat < float("inf") else None
            shown = (found.double() - q.zero_point) * q.scale
            if reach is not None:  # beyond it the function is flat: what is cut there changes nothing
                shown, exact = shown.clamp(-reach, reach), exact.clamp(-reach, reach)
            sums = self.noise.setdefault(internal.name, [0.0, 0.0])
            sums[0] += float((exact * exact).sum())
            sums[1] += float(((shown - exact) ** 2).sum())

    def sqnr(self, name: str) -> float | None:
        """In dB; None where nothing was compared."""
        return decibels(*self.noise[name]) if name in self.noise else None


class Internals:
    """Watches of all directions of all recurrent layers of an integer model, by the name of their module."""

    def __init__(self, planner: Planner, model: IntegerModel) -> None:
        self.layers: dict[str, Layer] = {
            layer.path: layer
            for layer in planner.layers.values()
            if layer.path is not None and layer.internals
        }
        self.watches: dict[str, Watch] = {}
        self._reals: dict[str, list[dict[str, Tensor]]] = {}
        self._model = model

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, integer runs are counted and compared with the float run before them."""
        handles = []
        for name, module in self._model.graph_module.named_modules():
            plain = isinstance(module, IntegerLSTMLayer | IntegerGRULayer)
            if plain or hasattr(module, "count_clips"):
                self.watches[name] = Watch()
                handles.append(module.register_forward_hook(self._hook(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Any:
        def count(module: Any, args: tuple[Any, ...], result: Any) -> None:
            watch = self.watches[name]
            watch.values.clear()
            function: Any = count_lstm if isinstance(module, IntegerLSTMLayer) else count_gru
            if hasattr(module, "count_clips"):
                function = type(module).count_clips
            if not torch.equal(function(module, *args, watch), result[0]):
                raise AssertionError("the counting recurrence disagrees with its operator")
            path, _, place = name.partition(".layers.")
            layer, queue = self.layers.get(path), self._reals.get(name)
            if layer is not None and queue:
                k, d = place.split(".")
                watch.values.setdefault("hidden state", [result[0]])  # a table's result is not clipped
                watch.compare(layer, (int(k), int(d)), queue.pop(0), bool(module.reverse))

        return count

    def begin(self) -> None:
        """Before the float run of a batch."""
        self._reals.clear()

    def see(self, op: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Runs the float recurrence of a captured call again, and keeps the tensors inside for the integer run."""
        layer: Layer = op.layer

        def witness(k: int, d: int, reals: dict[str, Tensor]) -> None:
            self._reals.setdefault(f"{layer.path}.layers.{k}.{d}", []).append(reals)

        layer.witness = witness
        try:
            op.observe(args, kwargs, output)
        finally:
            layer.witness = None

    def is_watched(self, op: Any) -> bool:
        """Whether a captured call is one of a recurrent layer of the integer model."""
        return getattr(getattr(op, "layer", None), "path", None) in self.layers


def is_alive(made: Any, alive: set[str]) -> bool:
    """Whether any integer node of a (nested) result is in the graph."""
    if isinstance(made, fx.Node):
        return made.name in alive
    return isinstance(made, tuple | list) and any(is_alive(m, alive) for m in made)
