"""The networks that microcontrollers.py counts: layers of workloads.py, and a decoder step with attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from layers import integer_model
from torch import Tensor, nn
from workloads import Workload

import irnn_tvm
from irnn_tvm import Library

KEYS = 32  # rows of the memory that the decoder attends to


@dataclass(frozen=True)
class Network:
    """A network after quantization, and its multiply-accumulates of a time step."""

    macs: int

    def integer_model(self) -> irnn_tvm.IntegerModel:
        raise NotImplementedError

    def check(
        self, model: irnn_tvm.IntegerModel, library: Library, inputs: Sequence[np.ndarray[Any, Any]]
    ) -> None:
        """AssertionError unless the library computes what PyTorch does."""
        expected = model(*(torch.from_numpy(x) for x in inputs))
        wanted = expected if isinstance(expected, tuple) else (expected,)
        found = library.run(*inputs)
        got = found if isinstance(found, tuple) else (found,)
        assert all(np.array_equal(y, t.numpy()) for y, t in zip(got, wanted, strict=True))


@dataclass(frozen=True)
class LayerNetwork(Network):
    """One of workloads.py's layers."""

    workload: Workload

    def integer_model(self) -> irnn_tvm.IntegerModel:
        return integer_model(self.workload)


class _Decoder(nn.Module):
    """A step: additive attention over a memory [B, KEYS, size], projected before, then a GRU of the context."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.attention = irnn_tvm.nn.AdditiveAttention(size, size, size, project_keys=False)
        self.cell = nn.GRUCell(size, size)

    def forward(self, memory: Tensor, state: Tensor) -> Tensor:
        context, _ = self.attention(state.unsqueeze(1), memory, memory)
        return self.cell(context.squeeze(1), state)


@dataclass(frozen=True)
class DecoderNetwork(Network):
    """The decoder's step."""

    size: int

    def integer_model(self) -> irnn_tvm.IntegerModel:
        torch.manual_seed(0)
        model = _Decoder(self.size).eval()
        batches = [(torch.randn(4, KEYS, self.size), torch.tanh(torch.randn(4, self.size))) for _ in range(3)]
        return irnn_tvm.quantize(model, batches, irnn_tvm.QuantConfig(weight_rounding="nearest"))


def _layer(cell: str, hidden: int, bidirectional: bool = False) -> LayerNetwork:
    workload = Workload(cell, hidden, bidirectional=bidirectional)
    return LayerNetwork(
        4 * 2 * hidden * hidden if cell.endswith("lstm") and not bidirectional else workload.macs, workload
    )


NETWORKS: dict[str, Network] = {
    **{f"lstm-{h}": _layer("lstm", h) for h in (128, 256, 512, 1024)},
    **{f"gru-{h}": _layer("gru", h) for h in (128, 256)},
    "lnlstm-128": _layer("lnlstm", 128),
    "bilstm-128": _layer("lstm", 128, bidirectional=True),
    # Query projection, scores and context of KEYS rows, the cell.
    "attention-128": DecoderNetwork(128 * 128 + 2 * KEYS * 128 + 3 * 2 * 128 * 128, 128),
}
