"""Calibration: the captured float graph runs on every batch and shows its tensors to the observers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx

from irnn_tvm.errors import CalibrationError, UnsupportedModuleError
from irnn_tvm.quantization.evaluate import run_graph
from irnn_tvm.quantization.inputs import Batch
from irnn_tvm.quantization.planner import Planner
from irnn_tvm.quantization.slots import Slot


def calibrate(planner: Planner, batches: Iterable[Batch]) -> None:
    """Feeds every observer. Raises CalibrationError when a layer's output is not finite,
    UnsupportedModuleError when a size that the model uses as a constant differs between batches.
    """
    watchers: dict[fx.Node, list[tuple[tuple[int, ...], Slot]]] = {}
    for slot in _all_slots(planner):
        if slot.root is slot:
            for node, path in slot.watched:
                watchers.setdefault(node, []).append((path, slot))

    def see(node: fx.Node, args: Any, kwargs: Any, value: Any, batch: Batch) -> None:
        if node in planner.guards and value != planner.guards[node]:
            raise UnsupportedModuleError(
                f"the size expression {node.name!r} is used as a constant, but it is {planner.guards[node]} "
                "in batch 0 "
                f"and {value} in batch {batch.index}"
            )
        infinite = node in planner.ops and planner.ops[node].may_be_infinite
        looks = isinstance(value, Tensor) and value.is_floating_point() and not infinite
        if looks and not bool(torch.isfinite(value).all()):
            raise CalibrationError(f"{node.name} holds NaN or infinity in calibration batch {batch.index}")
        if node in planner.ops:
            planner.ops[node].observe(args, kwargs, value)
        for path, slot in watchers.get(node, ()):
            slot.observer.update(element(value, path))

    for batch in batches:
        run_float(planner, batch, _placed(planner, see))


def refine(planner: Planner, batches: Iterable[Batch]) -> None:
    """Runs the data once more, now that the parameters are known, for the statistics that weight rounding
    uses.
    """
    if planner.config.weight_rounding == "nearest":
        return

    def see(node: fx.Node, args: Any, kwargs: Any, value: Any, batch: Batch) -> None:
        if node in planner.ops:
            planner.ops[node].refine(args, kwargs, value)

    for batch in batches:
        run_float(planner, batch, _placed(planner, see))


def _placed(planner: Planner, see: Callable[..., None]) -> Callable[..., None]:
    """`see`, whose errors get the user's source line."""

    def placed(node: fx.Node, *seen: Any) -> None:
        with planner.at(node):
            see(node, *seen)

    return placed


def run_float(planner: Planner, batch: Batch, see: Callable[..., None]) -> dict[fx.Node, Any]:
    """Runs the captured graph on one batch; see(node, args, kwargs, value, batch) is called for every node.
    Returns all values.
    """
    return run_graph(planner.captured, batch.tensors, see=lambda node, *seen: see(node, *seen, batch))


def element(value: Any, path: tuple[int, ...]) -> Tensor:
    """The tensor at `path` of a nested tuple."""
    for index in path:
        value = value[index]
    found: Tensor = value
    return found


def _all_slots(planner: Planner) -> list[Slot]:
    return planner.slots
