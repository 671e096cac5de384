"""Float networks with attention: pooling, Transformer blocks, decoders over a memory, a memory that grows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import irnn_tvm.nn


class AttentionPooling(nn.Module):
    """Bidirectional GRU, softmax over time of a linear score, weighted sum (as in textgenrnn), linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 9, batch_first=True, bidirectional=True)
        self.score, self.out = nn.Linear(18, 1, bias=False), nn.Linear(18, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        weights = torch.softmax(self.score(y), dim=1)
        return self.out((weights.transpose(1, 2) @ y).squeeze(1))


class TransformerBlock(nn.Module):
    """Multi-head self-attention over padded sequences and a feed-forward part, both residual and normalised before."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(15), nn.LayerNorm(15)])
        self.attention = nn.MultiheadAttention(15, 3, batch_first=True)
        self.wide, self.narrow = nn.Linear(15, 33), nn.Linear(33, 15)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        padding = ~irnn_tvm.nn.lengths_to_mask(lengths, x.size(1))
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, key_padding_mask=padding, need_weights=False)[0]
        return x + self.narrow(F.gelu(self.wide(self.norms[1](x))))


class CausalAttention(nn.Module):
    """Time-major self-attention of one head with one feature each, that sees only the past; separate projections."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(5, 5, bias=False, kdim=7, vdim=3)

    def forward(self, x: Tensor) -> Tensor:
        mask = ~irnn_tvm.nn.causal_mask(x.size(0))
        keys, values = torch.cat((x, x[..., :2]), -1), x[..., 1:4]
        return self.attention(x, keys, values, attn_mask=mask)[0]


class HandMade(nn.Module):
    """Scores, masked_fill and softmax written out; and the same by scaled_dot_product_attention with heads."""

    def __init__(self) -> None:
        super().__init__()
        self.project, self.out = nn.Linear(9, 36), nn.Linear(24, 5)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = (self.project(x)[..., i * 12 : i * 12 + 12] for i in range(3))
        mask = irnn_tvm.nn.lengths_to_mask(lengths, x.size(1))
        scores = (q @ k.transpose(1, 2)) / 12**0.5
        weights = torch.softmax(scores.masked_fill(~mask.unsqueeze(1), float("-inf")), -1)
        heads = [t.unflatten(-1, (2, 6)).transpose(1, 2) for t in (q, k, v)]
        y = (
            F.scaled_dot_product_attention(*heads, attn_mask=mask[:, None, None, :])
            .transpose(1, 2)
            .flatten(2)
        )
        return self.out(torch.cat((weights @ v, y), -1)), weights


class AttentionDecoder(nn.Module):
    """One step of a decoder with additive attention over an encoder's memory; every state is explicit."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.rnn = nn.Embedding(17, 6), nn.GRUCell(6 + 9, 11)
        self.attention, self.out = irnn_tvm.nn.AdditiveAttention(11, 9, 7), nn.Linear(20, 17)

    def forward(
        self, token: Tensor, h: Tensor, context: Tensor, memory: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        h = self.rnn(torch.cat((self.table(token), context), 1), h)
        context, weights = self.attention(h, memory, lengths=lengths)
        return self.out(torch.cat((h, context), 1)), h, context, weights


class LocationAttention(nn.Module):
    """Additive attention that sees where it looked before (Chorowski et al., 2015): convolved weights join the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.location = nn.Linear(9, 7, bias=False), nn.Conv1d(1, 4, 5, padding=2)
        self.features = nn.Linear(4, 7, bias=False)
        self.attention = irnn_tvm.nn.AdditiveAttention(11, 7, 7, project_keys=False)

    def forward(
        self, query: Tensor, memory: Tensor, lengths: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor]:
        where = self.features(self.location(before.unsqueeze(1)).transpose(1, 2))
        return self.attention(query, self.keys(memory) + where, memory, lengths)


class CrossAttention(nn.Module):
    """A recurrent layer whose steps attend to a memory with projected keys: streams, because steps are alike."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(6, 8, batch_first=True), nn.Linear(15, 4)
        self.additive = irnn_tvm.nn.AdditiveAttention(8, 7, 7, project_keys=False)
        self.dots = nn.MultiheadAttention(8, 2, batch_first=True, kdim=7, vdim=7)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        context, _ = self.additive(y, memory)
        return self.out(torch.cat((context, self.dots(y, memory, memory, need_weights=False)[0]), -1))


class OwnPast(nn.Module):
    """Self-attention of a stream: each step appends to a memory and attends to what is in it."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.entry, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 5)
        self.memory = irnn_tvm.nn.GrowingMemory()

    def forward(self, x: Tensor, memory: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        memory, length = self.memory(memory, length, self.entry(x))
        mask = irnn_tvm.nn.lengths_to_mask(length, memory.size(1)).unsqueeze(1)
        y = F.scaled_dot_product_attention(self.query(x).unsqueeze(1), memory, memory, attn_mask=mask)
        return self.out(y.squeeze(1)), memory, length


def _lengths(b: int, t: int, least: int = 1) -> Tensor:
    return torch.randint(least, t + 1, (b,))


def _located(b: int, t: int) -> tuple[Tensor, ...]:
    before = torch.softmax(2 * torch.randn(b, t), -1)
    return torch.randn(b, 11), torch.randn(b, t, 9), _lengths(b, t), before


def _decoder(b: int, t: int) -> tuple[Tensor, ...]:
    h, context = torch.tanh(torch.randn(b, 11)), torch.randn(b, 9)
    return torch.randint(0, 17, (b,)), h, context, torch.randn(b, 13, 9), _lengths(b, 13, 0)


# Name -> arguments of float_networks.Network.
ATTENTION: dict[str, dict[str, object]] = {
    "attention-pooling": {"make": AttentionPooling, "example": lambda b, t: (torch.randn(b, t, 6),)},
    "transformer-block": {
        "make": TransformerBlock,
        "example": lambda b, t: (torch.randn(b, t, 15), _lengths(b, t)),
    },
    "causal-attention": {
        "make": CausalAttention,
        "example": lambda b, t: (torch.randn(t, b, 5),),
        "time_axis": 0,
    },
    "attention-by-hand": {
        "make": HandMade,
        "example": lambda b, t: (torch.randn(b, t, 9), _lengths(b, t)),
    },
    "attention-decoder": {"make": AttentionDecoder, "example": _decoder, "streams": True, "steps": (1,)},
    "location-attention": {"make": LocationAttention, "example": _located},
    "cross-attention": {
        "make": CrossAttention,
        "example": lambda b, t: (torch.randn(b, t, 6), torch.randn(b, 11, 7)),
        "streams": True,
    },
    "own-past": {
        "make": OwnPast,
        "example": lambda b, t: (
            torch.randn(b, 6),
            torch.tanh(torch.randn(b, 7, 8)),
            torch.randint(0, 14, (b,)),
        ),
        "streams": True,
        "steps": (1,),
    },
}
