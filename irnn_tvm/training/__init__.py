"""Quantization-aware training: a trainable twin of a float model, and its conversion to integers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from irnn_tvm.training.config import QatConfig
    from irnn_tvm.training.conversion import convert
    from irnn_tvm.training.twin import QatModel, prepare_qat

__all__ = ["QatConfig", "QatModel", "convert", "prepare_qat"]

# Looked up on first use: the quantizer's rules import single files of this package while it is still loading.
_HOME = {"QatConfig": "config", "QatModel": "twin", "convert": "conversion", "prepare_qat": "twin"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"irnn_tvm.training.{_HOME[name]}"), name)
