"""Truncated back-propagation through time over the corpus, and perplexity per document."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irnn_tvm.examples.language_model.corpus import Corpus
from irnn_tvm.examples.language_model.model import LanguageModel, State
from irnn_tvm.examples.language_model.sampled import sampled_cross_entropy

# A model as evaluation sees it: ids [B, T] and a state (None: zeros) to float logits [B, T, vocabulary] and a state.
Predict = Callable[[Tensor, Any], tuple[Tensor, Any]]


@dataclass(frozen=True)
class Sampling:
    """Epochs before `until` train on `frequent` + `drawn` words instead of the vocabulary (see sampled.py)."""

    until: int = 0
    frequent: int = 1500
    drawn: int = 1000


class LanguageModelTask:
    """Batches of `batch` parallel texts, `steps` words at a time, the state carried from batch to batch.

    Each epoch shuffles the documents, joins them and cuts the text into `batch` equal parts.
    """

    def __init__(
        self,
        corpus: Corpus,
        zero_state: Callable[[int], State],
        batch: int,
        steps: int,
        seed: int,
        sampling: Sampling | None = None,
        limit: int | None = None,
        cell_limit: float | None = None,
        cell_penalty: float = 0.1,
    ) -> None:
        """zero_state: of a batch size, on the device of the model. limit: batches of an epoch, all when None.

        cell_limit: adds cell_penalty * mean(max(0, |c| - cell_limit)) over the final cell states to the loss.
        Without it a unit or two learn to count up for as long as the text lasts, to several hundreds: as good as a
        bias to the float model, but the range of the cell's integers must then hold it, at the cost of the
        resolution of all others.
        """
        self.corpus, self.zero_state = corpus, zero_state
        self.batch, self.steps, self.seed = batch, steps, seed
        self.sampling = sampling or Sampling()
        self.limit = limit
        self.cell_limit, self.cell_penalty = cell_limit, cell_penalty
        self.state: State | None = None
        self.epoch = 0
        self.generator = torch.Generator()
        self._batches: list[tuple[Tensor, Tensor]] = []

    def begin_epoch(self, epoch: int) -> None:
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.corpus.train))
        text = np.concatenate([[self.corpus.end], *(self.corpus.train[i] for i in order)])
        length = (len(text) - 1) // self.batch
        inputs = torch.from_numpy(text[: length * self.batch].reshape(self.batch, length))
        targets = torch.from_numpy(text[1 : length * self.batch + 1].reshape(self.batch, length))
        self._batches = [
            (inputs[:, t : t + self.steps].contiguous(), targets[:, t : t + self.steps].contiguous())
            for t in range(0, length, self.steps)
        ][: self.limit]
        self.state, self.epoch = None, epoch
        self.generator.manual_seed(self.seed * 1000 + epoch)

    def batches(self) -> Sequence[tuple[Tensor, Tensor]]:
        return self._batches

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        state = self.state if self.state is not None else self.zero_state(self.batch)
        ids, targets = (tensor.to(state[0].device) for tensor in batch)
        if isinstance(model, LanguageModel) and self.epoch < self.sampling.until:
            features, state = model.features(ids, state)
            loss = sampled_cross_entropy(
                features.flatten(0, 1),
                model.output,
                targets.flatten(),
                self.sampling.frequent,
                self.sampling.drawn,
                self.generator,
            )
        else:
            logits, state = model(ids, state)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        if self.cell_limit is not None:
            loss = loss + self.cell_penalty * F.relu(state[1].abs() - self.cell_limit).mean()
        self.state = (state[0].detach(), state[1].detach())
        return loss

    def validate(self, model: nn.Module) -> float:
        return perplexity(predictor(model, self.zero_state), self.corpus, "valid")

    def carried(self) -> dict[str, Any]:
        return {"state": self.state, "generator": self.generator.get_state()}

    def carry(self, state: dict[str, Any]) -> None:
        pair = state["state"]
        self.state = None if pair is None else (pair[0], pair[1])
        self.generator.set_state(state["generator"].cpu())


def predictor(model: Callable[..., tuple[Tensor, State]], zero_state: Callable[[int], State]) -> Predict:
    """A float model, or one that looks like it, for `perplexity`."""

    def predict(ids: Tensor, state: State | None) -> tuple[Tensor, State]:
        state = zero_state(len(ids)) if state is None else state
        return model(ids.to(state[0].device), state)

    return predict


def perplexity(
    predict: Predict,
    corpus: Corpus,
    part: str,
    batch: int = 10,
    chunk: int = 50,
    documents: int | None = None,
) -> float:
    """exp of the mean negative log-probability of every word (UNKNOWN and END are words) of a part of the corpus.

    Each document starts from the zero state after END, and the state is kept to its end, so that the figure does
    not depend on `batch` and `chunk`, which only bound the memory. documents: the first so many only.
    """
    texts = sorted(getattr(corpus, part)[:documents], key=len)
    total, count = 0.0, 0
    for first in range(0, len(texts), batch):
        group = texts[first : first + batch]
        longest = max(len(text) for text in group)
        padded = np.full((len(group), longest + 1), corpus.end, np.int64)
        for row, text in enumerate(group):
            padded[row, 1 : len(text) + 1] = text
        lengths = torch.tensor([len(text) for text in group])
        tokens, state = torch.from_numpy(padded), None
        for start in range(0, longest, chunk):
            stop = min(start + chunk, longest)
            logits, state = predict(tokens[:, start:stop], state)
            losses = F.cross_entropy(
                logits.flatten(0, 1).float().cpu(),
                tokens[:, start + 1 : stop + 1].flatten(),
                reduction="none",
            ).view(len(group), -1)
            valid = torch.arange(start, stop) < lengths[:, None]
            total += float(losses[valid].double().sum())
            count += int(valid.sum())
    return math.exp(total / count)
