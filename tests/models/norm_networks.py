"""Float networks with normalisation, pooling over time, argmax and top-k."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import irnn_tvm.nn


def _spread(*layers: nn.Module) -> None:
    """Gains, offsets and running statistics as training leaves them, not as they start."""
    for layer in layers:
        for name, values in [*layer.named_parameters(), *layer.named_buffers()]:
            if name == "weight":
                nn.init.normal_(values, 1.0, 0.4)
            elif name in ("bias", "running_mean"):
                nn.init.normal_(values, 0.0, 0.4)
            elif name == "running_var":
                nn.init.uniform_(values, 0.3, 2.0)


class LayerNormLSTM(nn.Module):
    """LayerNorm before and after an LSTM, the latter on a sum with the layer's input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.out = nn.Linear(7, 13), nn.LSTM(13, 13, batch_first=True), nn.Linear(13, 5)
        self.before, self.after = nn.LayerNorm(13), nn.LayerNorm(13)
        _spread(self.before, self.after)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(self.embed(x))
        return self.out(self.after(self.rnn(x)[0] + x))


class MadNormGRU(nn.Module):
    """MadNorm with and without gain; the second over two axes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.GRU(9, 12, batch_first=True), nn.Linear(12, 6)
        self.plain = irnn_tvm.nn.MadNorm(9, elementwise_affine=False)
        self.pairs = irnn_tvm.nn.MadNorm((3, 4))
        _spread(self.pairs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(self.plain(x))[0]
        return self.out(self.pairs(y.unflatten(-1, (3, 4))).flatten(-2))


class OneFeature(nn.Module):
    """A norm over a single feature: its offset, whatever comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.norm, self.mad = nn.LSTM(3, 1), nn.LayerNorm(1), irnn_tvm.nn.MadNorm(1)
        _spread(self.norm, self.mad)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.rnn(x)[0]
        return self.norm(y) + y, self.mad(y)


class PooledClassifier(nn.Module):
    """BatchNorm on features, bidirectional GRU, mean, maximum and gated sum over time, BatchNorm, classes by argmax."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.summary = nn.BatchNorm1d(6), nn.BatchNorm1d(42)
        self.rnn, self.out = nn.GRU(6, 7, batch_first=True, bidirectional=True), nn.Linear(42, 5)
        self.gate = nn.Linear(14, 1)
        _spread(self.features, self.summary)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.rnn(self.features(x.transpose(1, 2)).transpose(1, 2))[0]
        gated = (torch.sigmoid(self.gate(y)) * y).sum(1)
        pooled = torch.cat((y.mean(1), y.max(dim=1).values, gated), -1)
        scores = self.out(self.summary(pooled))
        return scores, F.log_softmax(scores, dim=-1).argmax(-1)


class PooledWindows(nn.Module):
    """Average and maximum of windows between a convolution and an LSTM; the three best classes of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(5, 8, 3, padding=1), nn.ReLU(), nn.AvgPool1d(3, 2, padding=1), nn.MaxPool1d(2, 1)
        )
        self.rnn, self.out = nn.LSTM(8, 9, batch_first=True), nn.Linear(9, 11)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = self.out(self.rnn(self.front(x).transpose(1, 2))[0])
        values, _ = scores.topk(2)
        return values, torch.topk(scores.softmax(-1), 3).indices, scores.mean((1, 2))


class NormedStream(nn.Module):
    """BatchNorm after a recurrent layer, pools over features, argmax and top-k of each step: all of it streams."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.norm, self.out = nn.GRU(8, 10, batch_first=True), nn.BatchNorm1d(10), nn.Linear(10, 12)
        _spread(self.norm)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        y = self.norm(self.rnn(x)[0].transpose(1, 2)).transpose(1, 2)
        scores = self.out(y)
        grouped = F.max_pool1d(F.avg_pool1d(scores, 2), 3, 3)
        best, where = scores.topk(3, dim=-1)
        return grouped, best, where, scores.argmax(-1), y.amax(-1) + y.mean(-1)


def _row(make: type[nn.Module], width: int, **settings: Any) -> dict[str, Any]:
    return {"make": make, "example": lambda b, t: (torch.randn(b, t, width),)} | settings


NORMS: dict[str, dict[str, Any]] = {
    "layer-norm-lstm": _row(LayerNormLSTM, 7, streams=True),
    "mad-norm-gru": _row(MadNormGRU, 9, streams=True),
    "one-feature": {
        "make": OneFeature,
        "example": lambda b, t: (torch.randn(t, b, 3),),
        "streams": True,
        "time_axis": 0,
    },
    "pooled-classifier": _row(PooledClassifier, 6, steps=(1, 2, 5, 16, 37)),
    "pooled-windows": {
        "make": PooledWindows,
        "example": lambda b, t: (torch.randn(b, 5, t),),
        "steps": (4, 7, 30),
        "time_axis": 2,
    },
    "normed-stream": _row(NormedStream, 8, streams=True),
}
