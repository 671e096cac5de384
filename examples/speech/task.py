"""What the training loop gets: batches of an epoch, the losses of both kinds of models, validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irnn_tvm.examples.speech import attention_decoding, ctc_decoding
from irnn_tvm.examples.speech.batches import Batch, plain_batches, training_batches
from irnn_tvm.examples.speech.data import Data
from irnn_tvm.examples.speech.error_rate import character_error_rate
from irnn_tvm.examples.speech.joint_decoding import joint_search
from irnn_tvm.examples.speech.model import Recognizer, State
from irnn_tvm.examples.speech.settings import Network, Settings
from irnn_tvm.examples.speech.text import BLANK, decode

EVALUATION_BATCH = 16
CELL_PENALTY = 0.1
CHARACTERS_PER_STEP = 2 / 3
IGNORED = -100  # no target: F.cross_entropy's default


class SpeechTask:
    """Batches of the training part; nothing is carried from one to the next."""

    def __init__(self, data: Data, settings: Settings, network: Network, seed: int) -> None:
        self.data, self.settings, self.network, self.seed = data, settings, network, seed
        self._batches: list[Batch] = []

    def begin_epoch(self, epoch: int) -> None:
        network = self.network
        self._batches = training_batches(
            self.data.train, network.batch, network.framing, self.settings.masking, self.seed, epoch
        )

    def batches(self) -> Sequence[Batch]:
        return self._batches

    def carried(self) -> dict[str, Any]:
        return {}

    def carry(self, state: dict[str, Any]) -> None:
        pass


class CtcTask(SpeechTask):
    """Trains a CtcModel; validation is the character error rate of the best path."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        features = batch.features.to(_device(model))
        with last_cells(model) as cells:
            logits = model(features)
        return ctc_loss(logits, batch) + excess(cells, self.network.cell_limit)

    def validate(self, model: nn.Module) -> float:
        return ctc_error_rate(float_logits(model), evaluation_batches(self.data.valid, self.network))


class AttentionTask(SpeechTask):
    """Trains a Recognizer with the right characters before each; validation decodes freely."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        device = _device(model)
        tokens, following = teacher(batch)
        with last_cells(model) as cells:
            logits, helper = model(batch.features.to(device), tokens.to(device))
        attention = F.cross_entropy(
            logits.flatten(0, 1),
            following.flatten().to(device),
            ignore_index=IGNORED,
            label_smoothing=self.network.label_smoothing,
        )
        loss, share = attention, self.network.helper
        if share:
            loss = (1 - share) * attention + share * ctc_loss(helper, batch)
        return loss + excess(cells, self.network.cell_limit)

    def validate(self, model: nn.Module) -> float:
        assert isinstance(model, Recognizer)
        batches = evaluation_batches(self.data.valid, self.network)
        got = [text for batch in batches for text in recognize(model, batch)]
        return character_error_rate(got, [text for batch in batches for text in batch.texts])


@contextmanager
def last_cells(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the last cell states of the nn.LSTM layers that run inside; a trainable twin runs none of them."""
    cells: list[Tensor] = []
    layers = [module for module in model.modules() if isinstance(module, nn.LSTM)]
    hooks = [
        layer.register_forward_hook(lambda module, arguments, result: cells.append(result[1][1]))
        for layer in layers
    ]
    try:
        yield cells
    finally:
        for hook in hooks:
            hook.remove()


def excess(cells: Sequence[Tensor], limit: float) -> Tensor | float:
    """CELL_PENALTY times the mean of max(0, |c| - limit), summed over the layers."""
    return CELL_PENALTY * sum(F.relu(c.abs() - limit).mean() for c in cells)


def ctc_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Negative log-probability of the texts per character, mean over the batch. Texts with no path count 0."""
    steps = torch.full((logits.shape[0],), logits.shape[1], dtype=torch.long)
    return F.ctc_loss(
        torch.log_softmax(logits, dim=-1).transpose(0, 1),
        batch.targets.to(logits.device),
        steps,
        batch.target_lengths,
        blank=BLANK,
        zero_infinity=True,
    )


def teacher(batch: Batch) -> tuple[Tensor, Tensor]:
    """(the characters before, the characters to predict) int64 [B, L + 1]: BLANK first, BLANK last, then IGNORED."""
    start = torch.full((len(batch.texts), 1), BLANK, dtype=torch.long)
    tokens = torch.cat([start, batch.targets], dim=1)
    following = torch.cat([batch.targets, start], dim=1)
    places = torch.arange(following.shape[1])
    following[places > batch.target_lengths[:, None]] = IGNORED
    return tokens, following


def float_logits(model: nn.Module) -> Callable[[Batch], np.ndarray]:
    """A float model, or a twin, as a function of a batch: logits [B, T, classes]."""

    def logits(batch: Batch) -> np.ndarray:
        with torch.no_grad():
            result: np.ndarray = model(batch.features.to(_device(model))).float().cpu().numpy()
        return result

    return logits


def ctc_error_rate(
    logits: Callable[[Batch], np.ndarray],
    batches: Sequence[Batch],
    decoder: Callable[[np.ndarray], list[int]] = ctc_decoding.greedy,
) -> float:
    """Character error rate in per cent over all batches; decoder: logits [T, classes] to characters."""
    got = [decode(decoder(row)) for batch in batches for row in logits(batch)]
    return character_error_rate(got, [text for batch in batches for text in batch.texts])


@torch.no_grad()
def recognize(model: Recognizer, batch: Batch) -> list[str]:
    """The best character each time, all recordings of a batch together."""
    keys, values = model.encoder(batch.features.to(_device(model)))
    lengths = torch.full((len(keys),), keys.shape[1], dtype=torch.int32, device=keys.device)
    h, c, context = model.start(values)
    token = torch.full((len(keys), 1), BLANK, dtype=torch.long, device=keys.device)
    rows = []
    ended = torch.zeros(len(keys), dtype=torch.bool, device=keys.device)
    for _ in range(character_limit(keys.shape[1])):
        logits, h, c, context = model.decoder(token, h, c, context, keys, values, lengths)
        token = logits.argmax(dim=-1, keepdim=True)
        rows.append(token[:, 0])
        ended |= token[:, 0] == BLANK
        if bool(ended.all()):
            break
    texts = []
    for column in torch.stack(rows, dim=1).tolist():
        texts.append(decode(column[: column.index(BLANK)] if BLANK in column else column))
    return texts


@torch.no_grad()
def predict(model: Recognizer, batches: Sequence[Batch]) -> float:
    """Share, in per cent, of next characters that are wrong when those before are right."""
    wrong = total = 0
    for batch in batches:
        before, after = teacher(batch)
        logits, _ = model(batch.features.to(_device(model)), before.to(_device(model)))
        known = after != IGNORED
        wrong += int((logits.argmax(-1).cpu()[known] != after[known]).sum())
        total += int(known.sum())
    return 100.0 * wrong / total


def decode_one(model: Recognizer, features: Tensor, width: int = 1) -> str:
    """One recording [1, T, F]: the decoder's best character each time, or a beam of `width` texts with CTC."""
    device = _device(model)
    with torch.no_grad():
        keys, values = model.encoder(features.to(device))
        lengths = torch.full((1,), keys.shape[1], dtype=torch.int32, device=device)

        def step(token: int, state: State) -> tuple[np.ndarray, State]:
            last = torch.tensor([[token]], device=device)
            logits, h, c, context = model.decoder(last, *state, keys, values, lengths)
            return logits[0].cpu().numpy(), (h, c, context)

        limit = character_limit(keys.shape[1])
        if width == 1:
            return decode(attention_decoding.greedy(step, model.start(values), limit))
        heard = ctc_decoding.log_softmax(model.helper(values)[0].cpu().numpy())
        return decode(joint_search(step, model.start(values), heard, limit, width))


def character_limit(steps: int) -> int:
    """Most characters that are decoded from so many steps of memory (30 ms each, 40 with a convolution).

    Nobody speaks faster in the training part; a decoder that repeats itself for ever stops there.
    """
    return max(16, math.ceil(steps * CHARACTERS_PER_STEP))


def evaluation_batches(
    recordings: Sequence[Any], network: Network, size: int = EVALUATION_BATCH
) -> list[Batch]:
    """The recordings of a part, unchanged."""
    return plain_batches(recordings, size, network.framing)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
