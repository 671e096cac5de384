"""Classification of sequences: data, the networks, training task, accuracy of float models and built libraries.

Every network gives scores for each time step and a sequence's class is the largest of their sums over time, so that
a streaming library needs no pooling layer: the caller adds up integers. Sequences of different lengths are batched
by length, so that nothing is padded and the backward direction of a BiGRU sees what it sees when deployed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irnn_tvm.errors import InputError
from irnn_tvm.runtime import Library

VARIANTS = ("gru", "bigru", "ln-lstm")


@dataclass(frozen=True)
class Sequences:
    """One part of a data set: float32 [T, features] and a class for each sequence."""

    inputs: tuple[np.ndarray, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class ClassificationData:
    """A data set with its classes; features are centred and scaled with the training part's figures.

    source: the archive and its checksum, for result rows.
    """

    classes: tuple[str, ...]
    train: Sequences
    valid: Sequences
    test: Sequences
    source: str

    @property
    def features(self) -> int:
        return int(self.train.inputs[0].shape[1])

    def majority(self) -> float:
        """Accuracy on the test part, in per cent, of always answering the most frequent class of the training part."""
        favourite = int(np.bincount(self.train.labels).argmax())
        return 100 * float(np.mean(np.array(self.test.labels) == favourite))


class SequenceClassifier(nn.Module):
    """Float [B, T, features] to scores [B, T, classes]: one recurrent layer and a linear one."""

    def __init__(self, variant: str, features: int, hidden: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = _recurrent(variant, features, hidden)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden if variant == "bigru" else hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.drop(self.rnn(x)[0]))
        return scores


def _recurrent(variant: str, features: int, hidden: int) -> nn.Module:
    if variant == "gru":
        return nn.GRU(features, hidden, batch_first=True)
    if variant == "lstm":  # not among those that recipes compare: for microcontrollers' tables
        return nn.LSTM(features, hidden, batch_first=True)
    if variant == "bigru":
        return nn.GRU(features, hidden, batch_first=True, bidirectional=True)
    if variant == "ln-lstm":
        from irnn_tvm import nn as irnn_nn

        layer: nn.Module = irnn_nn.LSTM(features, hidden, batch_first=True, norm="layer")
        return layer
    raise InputError(f"there is no classifier {variant!r}; there are {', '.join(VARIANTS)}")


class ClassificationTask:
    """Cross-entropy of the mean score over time, in batches of sequences of one length."""

    def __init__(self, data: ClassificationData, batch: int, seed: int, device: str = "cpu") -> None:
        self.data, self.batch, self.seed, self.device = data, batch, seed, device
        self._batches: list[tuple[Tensor, Tensor]] = []

    def begin_epoch(self, epoch: int) -> None:
        order = np.random.default_rng((self.seed, epoch))
        groups = _by_length(self.data.train)
        batches = []
        for indices in groups.values():
            shuffled = order.permutation(indices)
            batches += [shuffled[i : i + self.batch] for i in range(0, len(shuffled), self.batch)]
        self._batches = [
            _stack(self.data.train, batches[i], self.device) for i in order.permutation(len(batches))
        ]

    def batches(self) -> Sequence[tuple[Tensor, Tensor]]:
        return self._batches

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = batch
        return F.cross_entropy(model(inputs).mean(dim=1), labels)

    def validate(self, model: nn.Module) -> float:
        """Mean cross-entropy of the validation part, which is finer than its accuracy."""
        total = 0.0
        for indices in _by_length(self.data.valid).values():
            inputs, labels = _stack(self.data.valid, indices, self.device)
            total += float(F.cross_entropy(model(inputs).mean(dim=1), labels, reduction="sum"))
        return total / len(self.data.valid.labels)

    def carried(self) -> dict[str, Any]:
        return {}

    def carry(self, state: dict[str, Any]) -> None:
        """Nothing goes from a batch to the next."""


def model_accuracy(model: nn.Module, part: Sequences, device: str = "cpu") -> float:
    """Per cent of the sequences that a float model in eval mode classifies correctly."""
    right = 0
    with torch.no_grad():
        for indices in _by_length(part).values():
            inputs, labels = _stack(part, indices, device)
            right += int((model(inputs).sum(dim=1).argmax(-1) == labels).sum())
    return 100 * right / len(part.labels)


def library_accuracy(library: Library, part: Sequences) -> float:
    """Per cent of the sequences that a built library of batch 1 classifies correctly, in integers alone."""
    (spec,) = library.inputs
    right = 0
    for inputs, label in zip(part.inputs, part.labels, strict=True):
        scores = np.asarray(library.run(spec.quantize(inputs[None])))
        right += int(scores[0].astype(np.int64).sum(axis=0).argmax()) == label
    return 100 * right / len(part.labels)


def calibration_batches(part: Sequences, count: int, batch: int, seed: int = 0) -> list[Tensor]:
    """Up to `count` batches of training inputs, drawn over all lengths."""
    order = np.random.default_rng(seed)
    groups = [order.permutation(indices) for indices in _by_length(part).values()]
    chunks = [g[i : i + batch] for g in groups for i in range(0, len(g), batch)]
    chosen = order.permutation(len(chunks))[:count]
    return [torch.from_numpy(np.stack([part.inputs[i] for i in chunks[c]])) for c in chosen]


def standardized(
    train: Sequences, valid: Sequences, test: Sequences
) -> tuple[Sequences, Sequences, Sequences]:
    """The parts with each feature centred and scaled to a standard deviation of 1 in the training part."""
    everything = np.concatenate(train.inputs).astype(np.float64)
    mean, deviation = everything.mean(axis=0), everything.std(axis=0)

    def scale(part: Sequences) -> Sequences:
        return Sequences(tuple(((x - mean) / deviation).astype(np.float32) for x in part.inputs), part.labels)

    return scale(train), scale(valid), scale(test)


def _by_length(part: Sequences) -> dict[int, np.ndarray]:
    """Indices of the sequences of each length, shortest first."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, sequence in enumerate(part.inputs):
        groups[len(sequence)].append(index)
    return {length: np.array(groups[length]) for length in sorted(groups)}


def _stack(part: Sequences, indices: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    inputs = torch.from_numpy(np.stack([part.inputs[i] for i in indices]))
    return inputs.to(device), torch.tensor([part.labels[i] for i in indices], device=device)
