"""The float networks: an encoder for CTC, and an encoder with a decoder that attends to it step by step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from irnn_tvm.nn import AdditiveAttention

State = tuple[Tensor, Tensor, Tensor]  # h and c of the decoder's cell, and the last context


class Encoder(nn.Module):
    """[B, T, features] -> [B, T', 2 * hidden]: an optional convolution that halves the steps, then bidirectional LSTMs.

    channels: of the convolution (5 steps wide, stride 2, batch norm, ReLU), 0 for none. Every layer is a module of its
    own with dropout in between, so that dropout is the only difference between training and use.
    """

    def __init__(self, features: int, hidden: int, layers: int, dropout: float, channels: int = 0) -> None:
        super().__init__()
        self.convolution: nn.Module | None = None
        if channels:
            self.convolution = nn.Sequential(
                nn.Conv1d(features, channels, 5, stride=2, padding=2), nn.BatchNorm1d(channels), nn.ReLU()
            )
        sizes = [channels or features] + [2 * hidden] * (layers - 1)
        self.layers = nn.ModuleList(
            nn.LSTM(size, hidden, batch_first=True, bidirectional=True) for size in sizes
        )
        self.dropout = nn.Dropout(dropout)
        self.size = 2 * hidden

    def forward(self, x: Tensor) -> Tensor:
        if self.convolution is not None:
            x = self.convolution(x.transpose(1, 2)).transpose(1, 2)
        for layer in self.layers:
            x = self.dropout(layer(x)[0])
        return x


class CtcModel(nn.Module):
    """[B, T, features] -> logits [B, T, classes]; class 0 is the blank."""

    def __init__(self, features: int, classes: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.encoder = Encoder(features, hidden, layers, dropout)
        self.output = nn.Linear(self.encoder.size, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(self.encoder(x))
        return logits


class AttentionEncoder(nn.Module):
    """[B, T, features] -> keys [B, T', attention] and values [B, T', 2 * hidden]; T' = T / 2 with a convolution.

    The keys are projected once here and not in every step of the decoder.
    """

    def __init__(
        self, features: int, hidden: int, layers: int, dropout: float, channels: int, attention: int
    ) -> None:
        super().__init__()
        self.encoder = Encoder(features, hidden, layers, dropout, channels)
        self.keys = nn.Linear(self.encoder.size, attention, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values = self.encoder(x)
        return self.keys(values), values


class DecoderStep(nn.Module):
    """One character: LSTM cell over (last character, last context), additive attention with its h, output layer.

    forward: token int64 [B, 1], h and c [B, hidden], context [B, V], keys [B, Tk, attention], values [B, Tk, V],
    lengths int32 [B] (how many of Tk are valid) -> logits [B, classes], h, c, context (Bahdanau et al., 2015, with
    the cell's new h as the query).
    """

    def __init__(
        self, classes: int, embedding: int, hidden: int, values: int, attention: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, embedding)
        self.cell = nn.LSTMCell(embedding + values, hidden)
        self.attention = AdditiveAttention(hidden, attention, attention, project_keys=False)
        self.combine = nn.Linear(hidden + values, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, classes)

    def forward(
        self,
        token: Tensor,
        h: Tensor,
        c: Tensor,
        context: Tensor,
        keys: Tensor,
        values: Tensor,
        lengths: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = torch.cat([self.embedding(token).squeeze(1), context], dim=-1)
        h, c = self.cell(x, (h, c))
        context, _ = self.attention(h, keys, values, lengths)
        combined = torch.tanh(self.combine(torch.cat([h, context], dim=-1)))
        return self.output(self.dropout(combined)), h, c, context


class Recognizer(nn.Module):
    """Encoder, decoder step, and a linear CTC layer on the values that helps the encoder in training and goes after it.

    encoder and decoder may be the float modules or their trainable twins.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, helper: nn.Linear, hidden: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.helper = encoder, decoder, helper
        self.hidden = hidden

    def start(self, values: Tensor) -> State:
        """The state before the first character, all zeros, for values [B, Tk, V]."""
        zeros = values.new_zeros(len(values), self.hidden)
        return zeros, zeros.clone(), values.new_zeros(len(values), values.shape[2])

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, F] and the characters before each one int64 [B, U] -> logits [B, U, classes] of the next
        ones, and the helper's logits [B, T', classes]."""
        keys, values = self.encoder(x)
        lengths = torch.full((len(x),), values.shape[1], dtype=torch.int32, device=x.device)
        h, c, context = self.start(values)
        rows = []
        for place in range(tokens.shape[1]):
            logits, h, c, context = self.decoder(
                tokens[:, place : place + 1], h, c, context, keys, values, lengths
            )
            rows.append(logits)
        return torch.stack(rows, dim=1), self.helper(values)
