"""Float models with attention that train towards integers: (make, example) pairs for trainable.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import irnn_tvm.nn


class Pooled(nn.Module):
    """Softmax over time of a linear score, weighted sum."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.score, self.out = nn.GRU(7, 6, batch_first=True), nn.Linear(6, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        return self.out((torch.softmax(self.score(y), dim=1).transpose(1, 2) @ y).squeeze(1))


class Padded(nn.Module):
    """Multi-head self-attention of padded sequences, residual."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        padding = ~irnn_tvm.nn.lengths_to_mask(lengths, x.size(1))
        return self.out(x + self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0])


class Cross(nn.Module):
    """An LSTM whose steps attend additively to a memory, and causally to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(7, 6, batch_first=True), nn.Linear(12, 3)
        self.attention = irnn_tvm.nn.AdditiveAttention(6, 5, 4)
        self.project = nn.Linear(5, 6)

    def forward(self, x: Tensor, memory: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        y, _ = self.rnn(x)
        context, weights = self.attention(y, memory, lengths=lengths)
        past = F.scaled_dot_product_attention(y, y, y, is_causal=True)
        return self.out(torch.cat((self.project(context), past), -1)), weights


class Pointing(nn.Module):
    """Additive attention with sharp scores that are hardly ever negative: their 8-bit grid needs its zero point."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = irnn_tvm.nn.AdditiveAttention(7, 7, 8), nn.Linear(7, 3)
        with torch.no_grad():
            self.attention.score.copy_(3.0 * self.attention.score.abs() + 1.0)
            self.attention.query_projection.bias.add_(1.0)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.out(self.attention(x, x, lengths=lengths)[0])


class Scores(nn.Module):
    """Products, masked_fill and softmax written out."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.out = nn.Linear(7, 6), nn.Linear(7, 6), nn.Linear(7, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = irnn_tvm.nn.lengths_to_mask(lengths, x.size(1)).unsqueeze(1)
        scores = torch.bmm(self.query(x), self.key(x).transpose(1, 2)) / 6**0.5
        return self.out(torch.softmax(scores.masked_fill(~mask, float("-inf")), -1) @ x)


def _padded(width: int) -> Callable[[int, int], tuple[Any, ...]]:
    return lambda b, t: (torch.randn(b, t, width), torch.randint(1, t + 1, (b,)))


ATTENTION: dict[str, tuple[Callable[[], nn.Module], Callable[[int, int], tuple[Any, ...]]]] = {
    "attention-pooling": (Pooled, lambda b, t: (torch.randn(b, t, 7),)),
    "multi-head-attention": (Padded, _padded(8)),
    "cross-attention": (
        Cross,
        lambda b, t: (torch.randn(b, t, 7), torch.randn(b, 11, 5), torch.randint(0, 12, (b,))),
    ),
    "pointing": (Pointing, _padded(7)),
    "attention-by-hand": (Scores, _padded(7)),
}
