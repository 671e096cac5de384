"""Calls of a twin: the same checks in train and eval mode, and the calls that compute a pass a second time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from irnn_tvm.errors import InputError
from irnn_tvm.quantization.inputs import CallLayout
from irnn_tvm.quantization.integer_model import TensorSpec, check_values
from irnn_tvm.quantization.planner import Planner
from irnn_tvm.quantization.slots import Index


def recomputing() -> bool:
    """Whether a backward pass is running: activation checkpointing then calls the model again with an earlier batch."""
    return torch._C._current_graph_task_id() != -1


def input_specs(planner: Planner, layout: CallLayout, first: tuple[Tensor, ...]) -> list[TensorSpec]:
    """What every call must agree with, of the tensors of the first one."""
    return [
        TensorSpec(
            name=name,
            dtype=str(tensor.dtype).removeprefix("torch."),
            scale=None,
            zero_point=None,
            is_index=isinstance(value, Index),
            example_shape=tuple(tensor.shape),
            limit=value.limit if isinstance(value, Index) else None,
        )
        for name, value, tensor in zip(layout.names, planner.inputs, first, strict=True)
    ]


def check_inputs(specs: list[TensorSpec], tensors: tuple[Tensor, ...]) -> None:
    """Raises InputError as the integer model does: for another rank or kind of dtype, a size of 0, ids out of range."""
    for spec, tensor in zip(specs, tensors, strict=True):
        if spec.is_index and tensor.dtype not in (torch.int32, torch.int64):
            raise InputError(f"input {spec.name!r} is {tensor.dtype}, expected int32 or int64 ids")
        if not spec.is_index and not tensor.is_floating_point():
            raise InputError(f"input {spec.name!r} is {tensor.dtype}, expected a float tensor")
        check_values(spec, tensor)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, tuple | list):
        for element in value:
            yield from tensors_in(element)


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity; ids never do."""
    if not tensor.is_floating_point():
        return True
    # A sum is faster than a test of every element; it may overflow without reason.
    return bool(torch.isfinite(tensor.detach().sum())) or bool(torch.isfinite(tensor.detach()).all())
