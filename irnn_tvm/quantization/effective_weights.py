"""Weights that are computed before use: weight_norm, spectral_norm, pruning masks, torch.nn.utils.parametrize.

Rules read `layer.weight`. With parametrize that is a property, computed at each access; with the older hooks it is an
attribute that the layer's next call sets, so that it may be behind its originals, or a part of an old autograd graph.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.quantization.evaluate import WEIGHT_HOOKS


@contextmanager
def effective_weights(model: nn.Module, *, again: bool = False) -> Iterator[None]:
    """Inside, every layer of the model holds the weights that its originals give now, each computed once.

    With gradients enabled they carry them to the originals. Afterwards the attributes that hooks set are as they were.
    again: a pass is computed a second time (activation checkpointing): spectral_norm takes no further step of its power
    iteration.
    """
    made = [module for module in model.modules() if _makes_weights(module)]
    modes = {part: part.training for module in made for part in (module, *_parametrizations(module))}
    before = [(module, name, vars(module).get(name)) for module in made for name in _names(module)]
    try:
        with fresh_parametrizations():
            if again:
                for part in modes:
                    part.training = False
            for module in made:
                _compute(module)
            for part, training in modes.items():
                part.training = training
            yield
    finally:
        for part, training in modes.items():
            part.training = training
        for module, name, value in before:
            if value is not None:
                setattr(module, name, value)


@contextmanager
def fresh_parametrizations(*, cached: bool = True) -> Iterator[None]:
    """torch's cached() without what an outer one holds: that may be without gradients, or stale. cached: keep what is
    computed inside, for inside."""
    outer, enabled = parametrize._cache, parametrize._cache_enabled
    parametrize._cache, parametrize._cache_enabled = {}, int(cached)
    try:
        yield
    finally:
        parametrize._cache, parametrize._cache_enabled = outer, enabled


def copied(model: nn.Module) -> nn.Module:
    """A deep copy, also of a model whose layers hold results of autograd; the copy holds their values.

    Raises UnsupportedModuleError, naming the attribute, for what Python cannot copy.
    """
    try:
        return copy.deepcopy(model, memo_of_results(model))
    except Exception as error:
        raise UnsupportedModuleError(
            f"{type(model).__name__} cannot be copied, and training needs a copy: {_culprit(model)}: "
            f"{type(error).__name__}: {error}"
        ) from error


def memo_of_results(model: nn.Module) -> dict[int, Any]:
    """For copy.deepcopy, which refuses tensors that autograd made: a copy of the value of each."""
    memo: dict[int, Any] = {}

    def look(value: Any) -> None:
        if isinstance(value, Tensor):
            if not value.is_leaf and id(value) not in memo:
                memo[id(value)] = value.detach().clone()
        elif isinstance(value, list | tuple | set):
            for element in value:
                look(element)
        elif isinstance(value, dict):
            for element in value.values():
                look(element)

    for module in model.modules():
        look(vars(module))
    return memo


def _culprit(model: nn.Module) -> str:
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                copy.deepcopy(value, memo_of_results(model))
            except Exception:
                owner = f"{path}.{name}" if path else name
                return f"its attribute {owner!r} is a {type(value).__name__}"
    return "one of its parts refuses"


def is_effective(model: nn.Module, name: str) -> bool:
    """Whether an attribute ("rnn.weight_hh_l0") is one that holds an effective weight, made anew by every call."""
    path, _, attribute = name.partition("[")[0].rpartition(".")
    module = dict(model.named_modules()).get(path)
    if module is None or not _makes_weights(module):
        return False
    return attribute in (*_names(module), "_flat_weights", "_flat_weight_refs")


def _makes_weights(module: nn.Module) -> bool:
    return bool(_hooks(module)) or parametrize.is_parametrized(module)


def _hooks(module: nn.Module) -> list[Any]:
    return [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, WEIGHT_HOOKS)]


def _names(module: nn.Module) -> list[str]:
    """The attributes that hooks set."""
    found = (getattr(hook, "name", None) or getattr(hook, "_tensor_name", None) for hook in _hooks(module))
    return [str(name) for name in found if name is not None]


def _parametrizations(module: nn.Module) -> list[nn.Module]:
    return list(module.parametrizations.modules()) if parametrize.is_parametrized(module) else []  # type: ignore[union-attr]


def _compute(module: nn.Module) -> None:
    for hook in _hooks(module):
        hook(module, ())
    if parametrize.is_parametrized(module):
        for name in module.parametrizations:  # type: ignore[union-attr]
            getattr(module, name)  # is kept by fresh_parametrizations
