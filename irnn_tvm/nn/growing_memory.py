"""A memory that takes one vector per step, for attention over a model's own past."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from irnn_tvm.errors import InputError


class GrowingMemory(nn.Module):
    """Appends vectors to a memory of fixed capacity. It has no parameters; memory and length are the caller's.

    The memory of a stream starts with any contents and length 0. A full memory forgets its oldest vector: the new
    one takes its row. So rows are in the order of their arrival until then, and rotated by the number of forgotten
    vectors afterwards, which attention without positions does not notice.
    """

    def forward(self, memory: Tensor, length: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """memory [B, M, D], length int [B] in [0, 2M), x [B, D] -> (memory', length').

        min(length', M) rows of the result are valid. length counts to 2M - 1 and goes on at M, so that it says where
        the oldest row is and never overflows. Raises InputError for other shapes.
        """
        if memory.dim() != 3 or x.shape != (memory.shape[0], memory.shape[2]):
            raise InputError(
                f"memory {tuple(memory.shape)} and x {tuple(x.shape)} do not fit: expected [B, M, D] and [B, D]"
            )
        if tuple(length.shape) != (memory.shape[0],):
            raise InputError(f"length has shape {tuple(length.shape)}, expected ({memory.shape[0]},)")
        capacity = memory.shape[1]
        count = length.clamp(0, 2 * capacity - 1)
        row = torch.where(count < capacity, count, count - capacity)
        here = torch.arange(capacity, device=memory.device) == row.unsqueeze(1)
        grown = torch.where(here.unsqueeze(2), x.unsqueeze(1), memory)
        after = count + 1
        return grown, torch.where(after == 2 * capacity, after - capacity, after)
