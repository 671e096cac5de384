"""A lookup table of int8 rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class IntegerEmbedding(nn.Module):
    """ids int32/int64 of any shape -> int8 [..., E]. weight int8 [V, E]."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, ids: Tensor) -> Tensor:
        y: Tensor = torch.ops.irnn.embedding(ids, self.weight)
        return y

    def extra_repr(self) -> str:
        return f"num_embeddings={self.weight.shape[0]}, embedding_dim={self.weight.shape[1]}"
