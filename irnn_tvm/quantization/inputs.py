"""Calibration items: how the arguments of a forward call become a flat list of named tensors, and back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from irnn_tvm.errors import CalibrationError, InputError, UnsupportedModuleError


class _Hole:
    """Stands for a tensor in the skeleton of a call."""

    def __repr__(self) -> str:
        return "tensor"


HOLE = _Hole()


@dataclass(frozen=True)
class CallLayout:
    """Structure of a forward call: where its tensors go, and every other argument as it is.

    args and kwargs hold HOLE in place of each tensor; names has one name per HOLE, in order.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: tuple[str, ...]

    def matches(self, other: CallLayout) -> bool:
        """Whether another call has the same structure, and the same arguments but for its tensors."""
        return _same(self.args, other.args) and _same(self.kwargs, other.kwargs)

    def fill(self, leaves: Iterable[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call's args and kwargs with `leaves` in the holes."""
        queue = list(leaves)
        args = _replace(self.args, lambda hole: queue.pop(0))
        kwargs = _replace(self.kwargs, lambda hole: queue.pop(0))
        return args, kwargs


@dataclass(frozen=True)
class Batch:
    """One calibration item: its flat tensors, in the order of the layout's names."""

    index: int
    tensors: tuple[Tensor, ...]


def read_calibration(model: nn.Module, calibration: Any) -> tuple[CallLayout, list[Batch]]:
    """Checks and flattens the calibration data.

    Raises CalibrationError for no data, NaN or infinity, or items of different structure; InputError for a
    zero size, a dtype that is neither float nor int32/int64, or arguments that forward does not take.
    """
    if isinstance(calibration, Tensor | np.ndarray | dict | str):
        raise CalibrationError(
            "calibration is an iterable of batches (tensors, or tuples or dicts of forward arguments), "
            f"not a {type(calibration).__name__}; for a single batch pass [batch]"
        )
    try:
        iterator = iter(calibration)
    except TypeError as error:
        raise CalibrationError(f"calibration is not iterable: {error}") from error
    items = list(iterator)
    if not items:
        raise CalibrationError("the calibration data is empty: at least one batch is needed")
    layout: CallLayout | None = None
    batches = []
    for index, item in enumerate(items):
        this, tensors = _flatten_item(model, item, index)
        if layout is None:
            layout = this
        elif not this.matches(layout):
            raise CalibrationError(
                f"calibration batch {index} has another structure than batch 0: "
                f"{this.args} {this.kwargs} against {layout.args} {layout.kwargs}"
            )
        batches.append(Batch(index, tensors))
        first = batches[0].tensors
        for name, tensor, reference in zip(layout.names, tensors, first, strict=True):
            check_tensor(name, tensor, f"calibration batch {index}")
            if tensor.dim() != reference.dim() or tensor.dtype != reference.dtype:
                raise CalibrationError(
                    f"input {name!r} of calibration batch {index} is {tensor.dtype} with {tensor.dim()} "
                    "dimensions, "
                    f"in batch 0 it is {reference.dtype} with {reference.dim()}"
                )
    assert layout is not None
    return layout, batches


def check_tensor(name: str, tensor: Tensor, where: str) -> None:
    """Raises InputError for a zero size or an unusable dtype, CalibrationError for values that are not
    finite.
    """
    if tensor.numel() == 0:
        raise InputError(
            f"input {name!r} of {where} has shape {tuple(tensor.shape)}: a time or batch size of 0 is not "
            "supported"
        )
    if tensor.is_floating_point():
        if not bool(torch.isfinite(tensor).all()):
            raise CalibrationError(f"input {name!r} of {where} holds NaN or infinity")
    elif tensor.dtype not in (torch.int32, torch.int64):
        raise InputError(
            f"input {name!r} of {where} has dtype {tensor.dtype}; supported: float tensors, int32 and int64 "
            "indices"
        )


def flatten_tensors(values: Any) -> list[Tensor]:
    """The tensors of nested tuples, lists and dicts, in order. Raises InputError for anything else but None."""
    found: list[Tensor] = []
    _walk(values, "input", found.append)
    return found


def _walk(value: Any, name: str, take: Callable[[Tensor], None]) -> None:
    if isinstance(value, Tensor):
        take(value)
    elif isinstance(value, np.ndarray):
        take(torch.from_numpy(value))
    elif isinstance(value, list) and _is_numbers(value):
        take(_tensor(value, name))
    elif isinstance(value, (tuple, list)):
        for i, element in enumerate(value):
            _walk(element, f"{name}[{i}]", take)
    elif isinstance(value, dict):
        for key, element in value.items():
            _walk(element, f"{name}[{key!r}]", take)
    elif value is not None:
        raise InputError(f"{name} is a {type(value).__name__}, not a tensor")


def _is_numbers(value: list[Any]) -> bool:
    """Whether a (nested) list holds numbers alone."""
    return bool(value) and all(
        _is_numbers(v) if isinstance(v, list) else isinstance(v, int | float) and not isinstance(v, bool)
        for v in value
    )


def _tensor(value: list[Any], name: str) -> Tensor:
    try:
        return torch.tensor(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name} is a list of rows of different lengths") from error


def _flatten_item(model: nn.Module, item: Any, index: int) -> tuple[CallLayout, tuple[Tensor, ...]]:
    """Layout and tensors of a calibration item; the tensors are detached."""
    layout, tensors = flatten_call(model, item, f"calibration batch {index}")
    return layout, tuple(t.detach() for t in tensors)


def flatten_call(model: nn.Module, item: Any, where: str) -> tuple[CallLayout, tuple[Tensor, ...]]:
    """Layout and tensors of the arguments of one forward call, named `where` in messages.

    item: one tensor, a tuple of positional arguments or a dict of keyword arguments. Raises InputError,
    CalibrationError or UnsupportedModuleError.
    """
    if isinstance(item, PackedSequence):
        raise _packed()
    if isinstance(item, dict):
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = dict(item)
    elif isinstance(item, (tuple, list)):
        args, kwargs = tuple(item), {}
    else:
        args, kwargs = (item,), {}
    signature = inspect.signature(model.forward)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InputError(
            f"{where} does not fit {type(model).__name__}.forward{signature}: {error} "
            "(an item is one tensor, a tuple of positional arguments or a dict of keyword arguments; no "
            "labels)"
        ) from error
    names: list[str] = []
    tensors: list[Tensor] = []

    def take(value: Any, name: str) -> Any:
        if isinstance(value, PackedSequence):
            raise _packed()
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        if isinstance(value, Tensor):
            names.append(name)
            tensors.append(value)
            return HOLE
        if isinstance(value, tuple | list):
            taken = [take(element, f"{name}_{i}") for i, element in enumerate(value)]
            return tuple(taken) if isinstance(value, tuple) else taken
        if isinstance(value, dict):
            return {key: take(element, f"{name}_{key}") for key, element in value.items()}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise InputError(f"argument {name!r} of {where} is a {type(value).__name__}, not a tensor")

    flat_args: list[Any] = []
    flat_kwargs: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            flat_args.extend(take(element, f"{name}_{i}") for i, element in enumerate(value))
        elif kind is inspect.Parameter.VAR_KEYWORD:
            flat_kwargs.update({key: take(element, key) for key, element in value.items()})
        elif kind is inspect.Parameter.KEYWORD_ONLY or len(flat_args) != _position(signature, name):
            flat_kwargs[name] = take(value, name)
        else:
            flat_args.append(take(value, name))
    if not tensors:
        raise CalibrationError(f"{where} holds no tensor")
    return CallLayout(tuple(flat_args), flat_kwargs, _unique(names)), tuple(tensors)


def _position(signature: inspect.Signature, name: str) -> int:
    return list(signature.parameters).index(name)


def _unique(names: list[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    result = []
    for raw in names:
        name = "".join(c if c.isalnum() else "_" for c in raw)
        name = f"input_{name}" if not name or name[0].isdigit() else name
        count = seen.get(name, 0)
        seen[name] = count + 1
        result.append(f"{name}_{count}" if count else name)
    return tuple(result)


def _replace(structure: Any, hole: Callable[[_Hole], Any]) -> Any:
    if isinstance(structure, _Hole):
        return hole(structure)
    if isinstance(structure, tuple):
        return tuple(_replace(element, hole) for element in structure)
    if isinstance(structure, list):
        return [_replace(element, hole) for element in structure]
    if isinstance(structure, dict):
        return {key: _replace(element, hole) for key, element in structure.items()}
    return structure


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and repr(a) == repr(b)


def _packed() -> UnsupportedModuleError:
    return UnsupportedModuleError(
        "PackedSequence is not supported: pass padded tensors of one length per call (equal-length "
        "batches, or batch 1)"
    )
