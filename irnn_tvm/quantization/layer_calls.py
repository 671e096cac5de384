"""What a call of a module runs: a layer's forward as torch has it, or code of the user around or instead of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module

from irnn_tvm.quantization.evaluate import WEIGHT_HOOKS

OURS = ("torch.nn.", "torch.ao.nn", "irnn_tvm.nn")
# Parts of a class that a layer's forward does not read.
HARMLESS = frozenset(
    ("__init__", "__doc__", "__module__", "__annotations__", "__constants__", "__dict__", "__weakref__", "__slots__",
     "__orig_bases__", "__parameters__", "__firstlineno__", "__static_attributes__", "__annotate__",
     "__annotate_func__", "__annotations_cache__", "__repr__", "__str__", "__hash__", "__eq__", "__reduce__",
     "__reduce_ex__",
     "__jit_unused_properties__", "__getstate__", "__setstate__", "__deepcopy__", "__copy__", "__len__", "__dir__",
     "__abstractmethods__", "_abc_impl", "extra_repr", "reset_parameters", "_reset_parameters", "_init_weights",
     "from_pretrained", "_version", "flatten_parameters")
)  # fmt: skip
# What every call of a module runs.
CALLING = ("__call__", "_call_impl", "_wrapped_call_impl", "__getattr__", "__getattribute__")
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def is_leaf(module: nn.Module) -> bool:
    """True for layers of torch.nn and irnn_tvm.nn, subclassed too, whose forward is their own.

    A subclass, or an object, that replaces forward or what forward calls is code of the user, which is traced.
    """
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    kinds = type(module).__mro__
    owner = next(c for c in kinds if "forward" in c.__dict__)
    written_in = getattr(owner.__dict__["forward"], "__module__", "")
    if owner.__module__.startswith("torch.nn.utils."):
        return False  # a parametrization: its computation is a part of the graph
    if owner is nn.Module or not owner.__module__.startswith(OURS) or not written_in.startswith(OURS):
        return False
    layers = [c for c in kinds[kinds.index(owner) :] if c not in (nn.Module, object)]
    parts = {name for c in layers for name in c.__dict__} - HARMLESS
    parts |= set(CALLING)
    own = [c for c in kinds[: kinds.index(owner)] if not c.__module__.startswith(OURS)]
    changed = {name for c in own for name in c.__dict__}
    changed |= {
        name for name, value in vars(module).items() if callable(value) and not isinstance(value, type)
    }
    return not (changed - HARMLESS) & parts


def user_hooks(module: nn.Module) -> bool:
    """Whether a call of the module runs hooks, but for those that make its weights (torch.nn.utils)."""
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return True
    return any(
        not isinstance(hook, WEIGHT_HOOKS) for kind in HOOKS for hook in getattr(module, kind).values()
    )


@contextmanager
def user_hooks_alone(module: nn.Module) -> Iterator[None]:
    """Without the hooks that make weights, which the evaluation of the layer runs."""
    hooks: Any = module._forward_pre_hooks
    kept = dict(hooks)
    for key in [k for k, hook in hooks.items() if isinstance(hook, WEIGHT_HOOKS)]:
        del hooks[key]
    try:
        yield
    finally:
        hooks.clear()
        hooks.update(kept)
