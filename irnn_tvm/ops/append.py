"""append: one more row in a memory of fixed capacity (`irnn_tvm.nn.GrowingMemory`)."""

import torch
from torch import Tensor

from irnn_tvm.ops.library import irnn_op


@irnn_op
def append(memory: Tensor, length: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """memory int8/int16 [B, M, D], length int32/int64 [B] in [0, 2M), x [B, D] as memory -> (memory', length').

    Row r of memory' is x, the others are those of memory; r = length below M, then length - M: a full memory forgets
    its oldest row. length' = length + 1, or M where that is 2M, so min(length', M) rows are valid and the count never
    overflows. A length outside of [0, 2M) counts as the nearest inside.
    """
    capacity = memory.shape[1]
    count = length.clamp(0, 2 * capacity - 1)
    row = torch.where(count < capacity, count, count - capacity).long()
    here = torch.arange(capacity, device=memory.device) == row.unsqueeze(1)
    after = count + 1
    return (
        torch.where(here.unsqueeze(2), x.unsqueeze(1), memory),
        torch.where(after == 2 * capacity, after - capacity, after),
    )


@append.register_fake
def _(memory: Tensor, length: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    torch._check(length.shape[0] == memory.shape[0], lambda: "as many lengths as memories are needed")
    torch._check(x.shape[0] == memory.shape[0], lambda: "as many new rows as memories are needed")
    torch._check(x.shape[1] == memory.shape[2], lambda: "new rows have the memory's features")
    return memory.new_empty(memory.shape), length.new_empty(length.shape)
