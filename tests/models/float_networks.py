"""Float networks of the shapes that people build, with calibration batches: one row each in NETWORKS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from attention_networks import ATTENTION
from norm_networks import NORMS
from torch import Tensor, nn
from torch.nn import functional as F
from variant_networks import VARIANTS

import irnn_tvm.nn


@dataclass(frozen=True)
class Network:
    """make() builds the model, example(batch, steps) its float inputs. streams: must it run step by step?"""

    make: Callable[[], nn.Module]
    example: Callable[[int, int], tuple[Tensor, ...]]
    streams: bool
    steps: tuple[int, ...] = (1, 2, 13)
    calibration_steps: int = 9
    time_axis: int = 1


class StackedLSTM(nn.Module):
    """Two time-major layers of odd sizes and a linear layer on every step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(11, 13, num_layers=2), nn.Linear(13, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


class BiLSTMClassifier(nn.Module):
    """Embedding, stacked bidirectional LSTM, last states of both directions; also all outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(29, 10)
        self.rnn = nn.LSTM(10, 9, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(18, 5)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        y, (h, _) = self.rnn(self.table(ids))
        return self.out(torch.cat((h[-2], h[-1]), dim=1)), y


class ConvGRU(nn.Module):
    """Strided and depthwise convolutions before a GRU, its last step classified."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(6, 8, 5, stride=2, padding=2), nn.ReLU(), nn.Conv1d(8, 8, 3, groups=8)
        )
        self.rnn, self.out = nn.GRU(8, 12, batch_first=True), nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(self.front(x).transpose(1, 2))
        return self.out(y[:, -1])


class ResetBefore(nn.Module):
    """A GRU with the reset gate before the product, sigmoid outputs, final state."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = irnn_tvm.nn.GRU(8, 17, batch_first=True, reset_after=False)
        self.out = nn.Linear(17, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.rnn(x)
        return torch.sigmoid(self.out(y)), h


class Decoder(nn.Module):
    """One token and an explicit state in, logits and the next state out."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.rnn, self.out = (
            nn.Embedding(30, 16),
            nn.GRU(16, 16, batch_first=True),
            nn.Linear(16, 30),
        )

    def forward(self, token: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.rnn(self.table(token), h)
        return self.out(y[:, -1]), h


class LSTMWithStates(nn.Module):
    """Stacked states (layers, batch, hidden) as inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(10, 16, num_layers=2, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.rnn(x, (h, c))
        return self.out(y), h, c


class Residual(nn.Module):
    """LSTM with a skip connection, GRU, elementwise product, silu."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.LSTM(8, 8, batch_first=True), nn.GRU(8, 8, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)[0] + x
        return self.out(F.silu(self.b(y)[0] * y))


class SummaryFeedsBack(nn.Module):
    """The final state of a first pass starts a second one: cannot run step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.GRU(5, 7, batch_first=True), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.rnn(x)
        return self.out(y) + x * 1.5, self.rnn(x, h)[0]


def _features(width: int, batch_first: bool = True) -> Callable[[int, int], tuple[Tensor, ...]]:
    return lambda b, t: (torch.randn(b, t, width) if batch_first else torch.randn(t, b, width),)


def _states(b: int, t: int) -> tuple[Tensor, ...]:
    return torch.randn(b, t, 10), torch.tanh(torch.randn(2, b, 16)), torch.randn(2, b, 16)


NETWORKS: dict[str, Network] = {
    "lstm-alone": Network(lambda: nn.LSTM(12, 16), _features(12, False), True, time_axis=0),
    "lstm-hidden-1": Network(lambda: nn.LSTM(3, 1, bias=False), _features(3, False), True, time_axis=0),
    "stacked-lstm": Network(StackedLSTM, _features(11, False), True, time_axis=0),
    "bilstm-classifier": Network(BiLSTMClassifier, lambda b, t: (torch.randint(0, 29, (b, t)),), False),
    "conv-gru": Network(
        ConvGRU, lambda b, t: (torch.randn(b, 6, t),), False, (5, 6, 31), calibration_steps=24, time_axis=2
    ),
    "gru-reset-before": Network(ResetBefore, _features(8), True),
    "gru-decoder": Network(
        Decoder,
        lambda b, t: (torch.randint(0, 30, (b, 1)), torch.tanh(torch.randn(1, b, 16))),
        True,
        steps=(1,),
    ),
    "lstm-states": Network(LSTMWithStates, _states, False),
    "residual": Network(Residual, _features(8), True),
    "summary-feeds-back": Network(SummaryFeedsBack, _features(5), False),
    "bigru": Network(lambda: nn.GRU(5, 7, bidirectional=True, batch_first=True), _features(5), False),
}

NETWORKS |= {
    name: Network(**{"streams": False} | row)  # type: ignore[arg-type]
    for name, row in (ATTENTION | NORMS | VARIANTS).items()
}


def flat(value: Any) -> list[Tensor]:
    """Tensors of a nested result, in order."""
    return [value] if isinstance(value, Tensor) else [t for item in value for t in flat(item)]
