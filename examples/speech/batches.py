"""Recordings to batches for training, validation and libraries: augmentation, stacking, equal lengths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from irnn_tvm.examples.speech.corpus import Recording
from irnn_tvm.examples.speech.features import Array, stack
from irnn_tvm.examples.speech.text import BLANK, encode


@dataclass(frozen=True)
class Framing:
    """How frames become steps: `factor` frames of 10 ms each, lengths rounded up to a multiple of `multiple` steps."""

    factor: int = 3
    multiple: int = 16


@dataclass(frozen=True)
class Masking:
    """SpecAugment (Park et al., 2019): this many masks of at most so many bands and frames, and of at most a share of
    the recording's frames. Masked values are 0, the mean."""

    band_masks: int = 2
    bands: int = 7
    frame_masks: int = 2
    frames: int = 25
    share: float = 0.15


@dataclass(frozen=True)
class Batch:
    """features float32 [B, T, factor * bands], without padding between recordings; targets int64 [B, L] filled up with
    BLANK, target_lengths int64 [B]; texts: what was said."""

    features: Tensor
    targets: Tensor
    target_lengths: Tensor
    texts: tuple[str, ...]

    @property
    def input_lengths(self) -> Tensor:
        """int64 [B]: T for every recording."""
        return torch.full((len(self.features),), self.features.shape[1], dtype=torch.long)


def mask(features: Array, masking: Masking, rng: np.random.Generator) -> Array:
    """A copy of features [frames, bands] with random bands and stretches of time set to 0."""
    masked = features.copy()
    frames, bands = features.shape
    for _ in range(masking.band_masks):
        width = int(rng.integers(0, min(masking.bands, bands) + 1))
        start = int(rng.integers(0, bands - width + 1))
        masked[:, start : start + width] = 0
    longest = min(masking.frames, int(masking.share * frames))
    for _ in range(masking.frame_masks):
        width = int(rng.integers(0, longest + 1))
        start = int(rng.integers(0, frames - width + 1))
        masked[start : start + width] = 0
    return masked


def pack(arrays: Sequence[Array], texts: Sequence[str]) -> Batch:
    """One batch of stacked features [T, F] of one T."""
    numbers = [encode(text) for text in texts]
    targets = torch.full((len(texts), max(1, *(len(n) for n in numbers))), BLANK, dtype=torch.long)
    for row, values in zip(targets, numbers, strict=True):
        row[: len(values)] = torch.tensor(values)
    lengths = torch.tensor([len(values) for values in numbers])
    return Batch(torch.from_numpy(np.stack(arrays)), targets, lengths, tuple(texts))


def training_batches(
    recordings: Sequence[Recording], size: int, framing: Framing, masking: Masking, seed: int, epoch: int
) -> list[Batch]:
    """An epoch in random order: a speed drawn for every recording, masked, in batches of at most `size` of one length.

    All of it follows from (seed, epoch). How many lengths share the recordings depends on the speeds drawn; so that the
    number of batches is the same in every epoch, the largest are halved until there are `batch_count` of them.
    """
    rng = np.random.default_rng((seed, epoch))
    groups: dict[int, list[tuple[Array, str]]] = defaultdict(list)
    for index in rng.permutation(len(recordings)):
        recording = recordings[index]
        features = recording.features[rng.integers(len(recording.features))]
        steps = stack(mask(features, masking, rng), framing.factor, framing.multiple)
        groups[len(steps)].append((steps, recording.clip.text))
    parts = [
        group[start : start + size]
        for _, group in sorted(groups.items())
        for start in range(0, len(group), size)
    ]
    wanted = batch_count(recordings, size, framing)
    while len(parts) < wanted:
        largest = max(range(len(parts)), key=lambda place: len(parts[place]))
        whole = parts.pop(largest)
        middle = len(whole) // 2
        parts += [whole[:middle], whole[middle:]]
    return [pack(*zip(*parts[place], strict=True)) for place in rng.permutation(len(parts))]


def batch_count(recordings: Sequence[Recording], size: int, framing: Framing) -> int:
    """Batches of every epoch: an upper bound of what any draw of speeds needs, at most one per recording."""
    unit = framing.factor * framing.multiple
    lengths = {-(-len(features) // unit) for recording in recordings for features in recording.features}
    return min(len(recordings), len(recordings) // size + len(lengths))


def plain_batches(recordings: Sequence[Recording], size: int, framing: Framing) -> list[Batch]:
    """Every recording once, unchanged, shortest first, in batches of at most `size` of one length."""
    groups: dict[int, list[tuple[Array, str]]] = defaultdict(list)
    for recording in recordings:
        steps = stack(recording.features[0], framing.factor, framing.multiple)
        groups[len(steps)].append((steps, recording.clip.text))
    batches = []
    for _, group in sorted(groups.items()):
        edges = [*range(0, len(group), size), len(group)]
        batches += [pack(*zip(*group[start:stop], strict=True)) for start, stop in pairwise(edges)]
    return batches


def longest(recordings: Sequence[Recording], framing: Framing) -> int:
    """Steps of the longest recording at its own speed: what a library's scratch memory is sized for."""
    unit = framing.factor * framing.multiple
    return max(-(-len(recording.features[0]) // unit) for recording in recordings) * framing.multiple
