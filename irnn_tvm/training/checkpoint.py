"""What a twin's state_dict holds beside weights, as plain data: steps, ranges, the latest batches, the settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from torch import Tensor

from irnn_tvm.errors import QuantizationError
from irnn_tvm.quantization.inputs import Batch
from irnn_tvm.training.config import QatConfig

# Of QatConfig, what the integers and the learned parameters depend on; the schedule may change between runs.
BINDING = ("cell_clip", "ranges")


def settings(config: QatConfig) -> dict[str, Any]:
    """Name -> value of every setting that a checkpoint is bound to."""
    quant = {f"quant.{f.name}": getattr(config.quant, f.name) for f in fields(config.quant)}
    return quant | {name: getattr(config, name) for name in BINDING}


def check_settings(config: QatConfig, saved: dict[str, Any]) -> None:
    """Raises QuantizationError, naming fields and both values, where a checkpoint was made with other settings."""
    ours = settings(config)
    different = [name for name in saved if name in ours and saved[name] != ours[name]]
    if different:
        pairs = "; ".join(
            f"{name} is {saved[name]!r} there and {ours[name]!r} in this twin" for name in different
        )
        raise QuantizationError(
            f"the checkpoint was made with another config: {pairs}. Prepare the twin with the checkpoint's values"
        )


def pack_batches(batches: Iterable[Batch]) -> list[list[Tensor]]:
    """The tensors of each batch."""
    return [[tensor.detach() for tensor in batch.tensors] for batch in batches]


def unpack_batches(packed: list[list[Tensor]]) -> list[Batch]:
    """The inverse of `pack_batches`."""
    return [Batch(index, tuple(tensors)) for index, tensors in enumerate(packed)]
