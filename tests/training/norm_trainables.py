"""Float models with norms and pools that train towards integers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import irnn_tvm.nn


class NormedTagger(nn.Module):
    """LayerNorm (layer and function) and MadNorm around a GRU with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.out = nn.Linear(7, 6), nn.GRU(6, 6, batch_first=True), nn.Linear(6, 3)
        self.before, self.after = nn.LayerNorm(6), irnn_tvm.nn.MadNorm(6)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(self.embed(x))
        return F.layer_norm(self.out(self.after(self.rnn(x)[0] + x)), (3,), self.gain)


class PooledTagger(nn.Module):
    """BatchNorm of features and of a summary, pooled windows, mean and maximum over time, best scores."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.summary = nn.BatchNorm1d(7), nn.BatchNorm1d(12)
        self.rnn, self.out = nn.LSTM(7, 6, batch_first=True), nn.Linear(12, 5)
        self.mean = nn.AdaptiveAvgPool1d(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.rnn(self.features(x.transpose(1, 2)).transpose(1, 2))[0].transpose(1, 2)
        y = F.max_pool1d(F.avg_pool1d(y, 3, 1, 1), 2, 1)
        scores = self.out(self.summary(torch.cat((self.mean(y).squeeze(-1) + y.sum(-1), y.amax(-1)), -1)))
        return scores, scores.topk(2).values


def _features(b: int, t: int) -> tuple[Tensor, ...]:
    return (torch.randn(b, t, 7),)


NORMS: dict[str, tuple[Callable[[], nn.Module], Callable[[int, int], tuple[Tensor, ...]]]] = {
    "norms": (NormedTagger, _features),
    "pools": (PooledTagger, _features),
}
