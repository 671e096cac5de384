"""A table of float networks, one per way of writing a model, with data to calibrate them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irnn_tvm.nn import GRU


@dataclass(frozen=True)
class Network:
    """make() builds the model; batches() the calibration items, the last of which is also compared. sqnr: least
    signal to noise ratio of every output, in dB, with 8-bit gates (their tables are fitted fast)."""

    name: str
    make: Callable[[], nn.Module]
    batches: Callable[[], list[Any]]
    sqnr: float = 25.0


def rows(*shape: int, n: int = 3) -> Callable[[], list[Any]]:
    return lambda: [torch.randn(*shape) for _ in range(n)]


def ids(high: int, *shape: int) -> Callable[[], list[Any]]:
    return lambda: [torch.randint(0, high, shape) for _ in range(3)]


class ZeroState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, 2, batch_first=True, dropout=0.5)
        self.linear = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(2, x.size(0), 16)
        c = torch.zeros(2, x.size(0), 16, device=x.device)
        y, _ = self.lstm(x, (h, c))
        return self.linear(y[:, -1])


class UnpackedShape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 16, batch_first=True)
        self.linear = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert x.dim() == 3
        assert x.shape[-1] == 8, "features"
        if x.size(2) != 8:
            raise ValueError("features")
        batch, _, _ = x.shape
        y, h = self.gru(x, x.new_zeros(1, batch, 16))
        return self.linear(h[-1]), y


class BiLstmClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8, padding_idx=0)
        self.lstm = nn.LSTM(8, 16, 2, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, (h, _) = self.lstm(self.embedding(x))
        return self.linear(torch.cat((h[-2], h[-1]), dim=1))


class LstmWithState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, 2)
        self.linear = nn.Linear(16, 3)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, state = self.lstm(x, state)
        return self.linear(y), state


class GruWithState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 16)
        self.linear = nn.Linear(16, 3)

    def forward(self, x: Tensor, h: Tensor | None = None) -> dict[str, Tensor]:
        y, h = self.gru(x, h)
        return {"y": self.linear(y), "h": h}


class UnrolledCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(8, 16)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs = []
        for t in range(4):
            h, c = self.cell(x[:, t], (h, c))
            outputs.append(h)
        return torch.stack(outputs, 1), h, c


class GruCellStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, 16, bias=False)
        self.linear = nn.Linear(16, 3)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, h)
        return self.linear(h), h


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.act = nn.Tanh()
        self.gru = nn.GRU(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.linear(x))
        z = self.act(self.linear(y)) + x
        _, h = self.gru(y)
        z, _ = self.gru(2 * z, h)
        return z


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(8, 16)
        self.decoder = nn.LSTM(8, 16)
        self.linear = nn.Linear(16, 4)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        _, state = self.encoder(source)
        y, _ = self.decoder(target, state)
        return self.linear(y)


class Bridge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(8, 16, bidirectional=True)
        self.bridge = nn.Linear(32, 16)
        self.decoder = nn.GRU(8, 16)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        _, h = self.encoder(source)
        h = torch.tanh(self.bridge(torch.cat((h[-2], h[-1]), 1))).unsqueeze(0)
        return self.decoder(target, h)[0]


class ConvolutionRnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 12, 4, padding="same")
        self.norm = nn.BatchNorm1d(12)
        nn.init.normal_(self.norm.running_mean)  # type: ignore[arg-type]
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
        self.gru = nn.GRU(12, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x.transpose(1, 2)))).transpose(1, 2)
        return self.gru(x)[0]


class LearnedState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 16)
        self.h0 = nn.Parameter(torch.tanh(torch.randn(1, 1, 16)))

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x, self.h0.expand(-1, x.size(1), -1).contiguous())[0]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(8, 8)
        self.second = nn.LSTM(8, 8)
        self.linear = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)[0] + x
        z, _ = self.second(y)
        return self.linear(z + y)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(8, 6))
        self.b = nn.Parameter(torch.randn(5, 6))
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x @ self.a, self.b, self.bias)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.embedding(x[:, 1:]), x[:, 0]


def _state(scale: float = 0.3) -> list[Any]:
    return [(torch.randn(5, 2, 8), (scale * torch.randn(2, 2, 16), torch.randn(2, 2, 16))) for _ in range(3)]


def _pairs() -> list[Any]:
    return [(torch.randn(4, 3, 8), torch.randn(6, 3, 8)) for _ in range(3)]


MODELS = [
    Network("lstm", lambda: nn.LSTM(8, 16), rows(9, 3, 8)),
    Network("lstm_unbatched", lambda: nn.LSTM(8, 16, 2, bidirectional=True), rows(7, 8), 20.0),
    Network("gru_bidirectional", lambda: nn.GRU(8, 16, 2, bidirectional=True, bias=False), rows(7, 3, 8)),
    Network("gru_before", lambda: GRU(8, 16, 2, batch_first=True, reset_after=False), rows(3, 7, 8)),
    Network(
        "gru_before_bidirectional", lambda: GRU(8, 16, bidirectional=True, reset_after=False), rows(7, 8)
    ),
    Network("lstm_cell", lambda: nn.LSTMCell(8, 16), rows(4, 8, n=6)),
    Network("lstm_cell_unbatched", lambda: nn.LSTMCell(8, 16), rows(8, n=6), 20.0),
    Network("gru_cell_unbatched", lambda: nn.GRUCell(8, 16), rows(8, n=6), 20.0),
    Network("zero_state", ZeroState, rows(5, 7, 8), 15.0),
    Network("unpacked_shape", UnpackedShape, rows(5, 7, 8)),
    Network("bilstm_classifier", BiLstmClassifier, ids(20, 4, 9), 15.0),
    Network("lstm_with_state", LstmWithState, _state),
    Network("gru_without_state", GruWithState, rows(5, 2, 8)),
    Network(
        "gru_with_state", GruWithState, lambda: [(x, torch.rand(1, 2, 16) * 2 - 1) for x in rows(5, 2, 8)()]
    ),
    Network(
        "gru_state_beyond_one",
        GruWithState,
        lambda: [(x, 3 * torch.randn(1, 2, 16)) for x in rows(5, 2, 8)()],
    ),
    Network(
        "unrolled_cell",
        UnrolledCell,
        lambda: [(torch.randn(5, 4, 8), *torch.randn(2, 5, 16)) for _ in range(3)],
    ),
    Network(
        "gru_cell",
        GruCellStep,
        lambda: [(torch.randn(5, 8), torch.tanh(torch.randn(5, 16))) for _ in range(3)],
    ),
    Network("shared_layers", Shared, rows(4, 3, 8)),
    Network("encoder_decoder", EncoderDecoder, _pairs, 20.0),
    Network("bridge", Bridge, _pairs),
    Network("convolution_norm_rnn", ConvolutionRnn, rows(3, 10, 8)),
    Network("learned_state", LearnedState, rows(5, 3, 8)),
    Network("residual", Residual, rows(5, 3, 8)),
    Network("functional", Functional, rows(3, 8)),
    Network("tokens", Tokens, ids(9, 3, 5)),
    Network(
        "sequential",
        lambda: nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 4)),
        rows(6, 8),
    ),
    Network("keyword_arguments", GruWithState, lambda: [{"x": x, "h": None} for x in rows(5, 2, 8)()]),
]

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "stride": {"stride": 2, "padding": 1},
    "dilation": {"dilation": 2},
    "depthwise": {"groups": 8},
    "groups": {"groups": 2, "padding": 2, "bias": False},
    "same": {"padding": "same", "dilation": 3},
}
MODELS += [
    Network(f"conv1d_{name}", lambda o=options: nn.Conv1d(8, 16, 3, **o), rows(3, 8, 12))  # type: ignore[misc]
    for name, options in CONVOLUTIONS.items()
]
MODELS += [
    Network("conv1d_even_same", lambda: nn.Conv1d(8, 16, 4, padding="same"), rows(3, 8, 12)),
    Network("conv1d_unbatched", lambda: nn.Conv1d(8, 16, 3), rows(8, 12)),
    Network("linear_norm", lambda: nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5)), rows(16, 8)),
]
