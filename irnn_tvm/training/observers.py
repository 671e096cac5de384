"""Everything that a planner has seen, by name: so that a trained twin's ranges outlive a new plan, or a process.

A planner is made again from the captured graph whenever integers are emitted, because layers copy their weights.
Planning is deterministic, so observers are found again by where they hang.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from irnn_tvm.errors import QuantizationError
from irnn_tvm.quantization.observers import Histogram, MovingAverageObserver, Observer
from irnn_tvm.quantization.planner import Planner
from irnn_tvm.quantization.rules.base import Op
from irnn_tvm.quantization.rules.layer import Layer
from irnn_tvm.quantization.slots import Slot

Watched = Observer | Histogram
Place = tuple[Watched, Callable[[Watched], None]]


def places(planner: Planner) -> dict[str, Place]:
    """Name -> (observer or histogram, how to put another one in its place), in a fixed order."""
    found: dict[str, Place] = {}
    for i, slot in enumerate(planner.slots):
        found[f"slot {i}: {slot.name}"] = (slot.observer, _attribute(slot, "observer"))
    holders: list[tuple[str, Layer | Op]] = [(layer.name, layer) for layer in planner.layers.values()]
    holders += [(op.label, op) for op in planner.ops.values()]
    for number, (name, holder) in enumerate(holders):
        if isinstance(holder, Layer):
            found[f"{number}: {name} input"] = (holder.entry.observer, _attribute(holder.entry, "observer"))
        for key, value in vars(holder).items():
            for path, item, put in _walk(value, _attribute(holder, key)):
                found[f"{number}: {name} {key}{path}"] = (item, put)
    return found


def _attribute(owner: Any, name: str) -> Callable[[Watched], None]:
    return lambda value: setattr(owner, name, value)


def _walk(value: Any, put: Callable[[Any], None]) -> Iterator[tuple[str, Watched, Callable[[Watched], None]]]:
    if isinstance(value, Observer | Histogram):
        yield "", value, put
    elif isinstance(value, list | dict):
        keys = range(len(value)) if isinstance(value, list) else list(value)
        for key in keys:

            def store(item: Watched, key: Any = key) -> None:
                value[key] = item

            for path, item, inner in _walk(value[key], store):
                yield f".{key}{path}", item, inner


def transplant(source: Planner, target: Planner) -> None:
    """Gives `target` the observers of `source`, a planner of the same graph."""
    have = places(source)
    want = places(target)
    if have.keys() != want.keys():
        missing = sorted(have.keys() ^ want.keys())
        raise QuantizationError(f"the model is no longer the one that was observed: {', '.join(missing[:4])}")
    for name, (watched, _) in have.items():
        want[name][1](watched)


def observers(planner: Planner) -> dict[str, Observer]:
    """The observers among `places`."""
    return {name: w for name, (w, _) in places(planner).items() if isinstance(w, Observer)}


def reset_histograms(planner: Planner) -> None:
    """Forgets distributions, not ranges: the next pass over data fills them again."""
    for watched, put in places(planner).values():
        if isinstance(watched, Observer):
            watched.histogram = Histogram()
        else:
            put(Histogram())


def invalidate(planner: Planner) -> None:
    """Parameters are resolved again from the observers when somebody asks for them."""
    for slot in slots(planner):
        slot.forget()


def slots(planner: Planner) -> list[Slot]:
    """All slots, those of layers' inputs included."""
    return [*planner.slots, *(layer.entry for layer in planner.layers.values())]


def save(planner: Planner) -> dict[str, Any]:
    """Plain data of all observers, for a checkpoint."""
    return {name: _pack(watched) for name, (watched, _) in places(planner).items()}


def check(planner: Planner, state: dict[str, Any]) -> None:
    """Raises QuantizationError for what `save` returned of another model."""
    different = sorted(places(planner).keys() ^ state.keys())
    if different:
        raise QuantizationError(f"the checkpoint belongs to another model: {', '.join(different[:4])}")


def load(planner: Planner, state: dict[str, Any]) -> None:
    """Takes over what `save` returned. Raises QuantizationError for another model's."""
    check(planner, state)
    found = places(planner)
    for name, (watched, _) in found.items():
        _unpack(watched, state[name])


def _pack(watched: Watched) -> dict[str, Any]:
    histogram = watched.histogram if isinstance(watched, Observer) else watched
    packed: dict[str, Any] = {
        "limit": histogram.limit,
        "zeros": histogram.zeros,
        "counts": torch.from_numpy(histogram.counts.copy()),
    }
    if isinstance(watched, Observer):
        packed |= {"low": watched.low, "high": watched.high, "gain": watched.gain, "bound": watched.limit}
    if isinstance(watched, MovingAverageObserver):
        packed["average"] = watched.average
    return packed


def _unpack(watched: Watched, packed: dict[str, Any]) -> None:
    histogram = watched.histogram if isinstance(watched, Observer) else watched
    histogram.limit, histogram.zeros = packed["limit"], packed["zeros"]
    histogram.counts = np.array(packed["counts"].numpy())
    if isinstance(watched, Observer):
        watched.low, watched.high = packed["low"], packed["high"]
        watched.gain, watched.limit = packed["gain"], packed["bound"]
    if isinstance(watched, MovingAverageObserver):
        watched.average = packed["average"]
