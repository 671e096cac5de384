"""Masks that the quantizer recognises, because an integer model needs the lengths and not the mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from irnn_tvm.errors import InputError


def lengths_to_mask(lengths: Tensor, size: Any) -> Tensor:
    """bool [B, size]: True where a position is below its sequence's length.

    lengths: int32 or int64 [B]; size: an int or another sequence's size (x.size(1)). It is the mask that
    F.scaled_dot_product_attention takes (after unsqueezing to [B, 1, 1, size]); nn.MultiheadAttention's
    key_padding_mask is its opposite, ~lengths_to_mask(lengths, size). A traced model keeps it as one call.
    Raises InputError for lengths of another rank or dtype.
    """
    if has_torch_function((lengths, size)):
        found: Tensor = handle_torch_function(lengths_to_mask, (lengths, size), lengths, size)
        return found
    if lengths.dim() != 1 or lengths.dtype not in (torch.int32, torch.int64):
        raise InputError(
            f"lengths are {lengths.dtype} of shape {tuple(lengths.shape)}, expected int32 or int64 [B]"
        )
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def causal_mask(size: Any, device: torch.device | str | None = None) -> Tensor:
    """bool [size, size]: True where a query (row) may see a key (column), that is at and before its own position.

    It is the mask that F.scaled_dot_product_attention takes; nn.MultiheadAttention's attn_mask is its opposite,
    ~causal_mask(size).
    """
    if has_torch_function((size,)):
        found: Tensor = handle_torch_function(causal_mask, (size,), size, device)
        return found
    return torch.ones(size, size, dtype=torch.bool, device=device).tril()


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis of scores [..., N] where mask (bool, broadcastable) is True; 0 elsewhere.

    A row without any True has only zeros, where torch.softmax of -inf gives NaN.
    """
    if has_torch_function((scores,)):
        found: Tensor = handle_torch_function(masked_softmax, (scores,), scores, mask)
        return found
    if mask is None:
        return torch.softmax(scores, -1)
    lowest = torch.finfo(scores.dtype).min
    return torch.softmax(scores.masked_fill(~mask, lowest), -1) * mask
