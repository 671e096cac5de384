"""Checkpoints that a crash cannot damage: written to a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from irnn_tvm.errors import InputError


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, texts, lists and dicts of them) so that `path` is always a whole
    checkpoint.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What `save` wrote, its tensors on `device`. Raises InputError for a file that is not a checkpoint."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path} is not a checkpoint of this recipe: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(state, dict):
        raise InputError(f"{path} is not a checkpoint of this recipe: it holds a {type(state).__name__}")
    return state
