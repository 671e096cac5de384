"""The language model: embedding, stacked LSTM with explicit states, output layer tied to the embedding or not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from irnn_tvm.errors import InputError

VARIANTS = ("lstm", "ln-lstm", "madnorm-lstm", "mogrifier-lstm")
State = tuple[Tensor, Tensor]


class LanguageModel(nn.Module):
    """Logits of the next word for every position.

    forward: ids int64 [B, T] and a state (h, c), each [layers, B, hidden], to logits [B, T, vocabulary] and the final
    state. Where the output layer is tied it shares the embedding's matrix (Press and Wolf, 2017).
    """

    def __init__(
        self,
        vocabulary: int,
        hidden: int = 256,
        layers: int = 2,
        variant: str = "lstm",
        dropout: float = 0.3,
        tied: bool = True,
    ) -> None:
        super().__init__()
        self.hidden, self.layers = hidden, layers
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.drop = nn.Dropout(dropout)
        self.rnn = recurrent(variant, hidden, layers, dropout)
        self.output = nn.Linear(hidden, vocabulary)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        features, state = self.features(ids, state)
        return self.output(features), state

    def features(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Hidden states [B, T, hidden] that the output layer reads, and the final state."""
        out, state = self.rnn(self.drop(self.embedding(ids)), state)
        return self.drop(out), state

    def zero_state(self, batch: int) -> State:
        shape = (self.layers, batch, self.hidden)
        zeros = torch.zeros(shape, device=self.embedding.weight.device)
        return zeros, zeros.clone()


def recurrent(variant: str, hidden: int, layers: int, dropout: float) -> nn.Module:
    """The stacked recurrent layer of a variant, hidden to hidden, batch first. InputError for an unknown variant."""
    sizes: dict[str, Any] = dict(
        input_size=hidden,
        hidden_size=hidden,
        num_layers=layers,
        batch_first=True,
        dropout=dropout if layers > 1 else 0.0,
    )
    if variant == "lstm":
        return nn.LSTM(**sizes)
    options: dict[str, dict[str, Any]] = {
        "ln-lstm": {"norm": "layer"},
        "madnorm-lstm": {"norm": "mad"},
        "mogrifier-lstm": {"mogrify": 4},
    }
    if variant not in options:
        raise InputError(f"there is no language model {variant!r}; there are {', '.join(VARIANTS)}")
    from irnn_tvm import nn as irnn_nn

    layer: nn.Module = irnn_nn.LSTM(**sizes, **options[variant])
    return layer
