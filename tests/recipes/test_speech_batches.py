"""Batches of the speech recipe: equal lengths, augmentation, losses that see no padding."""

from dataclasses import replace

import numpy as np
import pytest
import speech_samples
import torch
from torch.nn import functional as F

from irnn_tvm.examples.speech.batches import (
    Framing,
    Masking,
    batch_count,
    longest,
    mask,
    pack,
    plain_batches,
    training_batches,
)
from irnn_tvm.examples.speech.features import stack
from irnn_tvm.examples.speech.settings import QUICK
from irnn_tvm.examples.speech.task import IGNORED, AttentionTask, CtcTask, ctc_loss, teacher
from irnn_tvm.examples.speech.text import BLANK, CLASSES, encode

FRAMING = Framing(3, 4)
NO_MASKS = Masking(band_masks=0, frame_masks=0)


def recordings(count: int = 30, speeds: int = 3) -> list:
    return [
        speech_samples.recording(speech_samples.WORDS[i % 6] * (1 + i % 3), i, speeds) for i in range(count)
    ]


def test_an_epoch_has_every_recording_once_and_follows_from_its_seed() -> None:
    clips = recordings()
    first, again, other = (training_batches(clips, 4, FRAMING, Masking(), 5, epoch) for epoch in (0, 0, 1))
    texts = sorted(text for batch in first for text in batch.texts)
    assert texts == sorted(clip.clip.text for clip in clips)
    assert all(torch.equal(a.features, b.features) for a, b in zip(first, again, strict=True))
    assert [b.texts for b in first] != [b.texts for b in other]


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_the_number_of_batches_is_the_same_in_every_epoch(size: int) -> None:
    clips = recordings()
    counts = {len(training_batches(clips, size, FRAMING, Masking(), 0, epoch)) for epoch in range(8)}
    assert counts == {batch_count(clips, size, FRAMING)}
    batches = training_batches(clips, size, FRAMING, Masking(), 0, 0)
    assert all(1 <= len(batch.texts) <= size for batch in batches)


def test_recordings_are_batched_with_none_but_their_own_background() -> None:
    clips = recordings(speeds=1)
    for batches in (
        plain_batches(clips, 4, FRAMING),
        training_batches(clips, 4, FRAMING, NO_MASKS, 0, 0),
    ):
        found = 0
        for batch in batches:
            assert batch.features.shape[1] % FRAMING.multiple == 0
            assert batch.input_lengths.tolist() == [batch.features.shape[1]] * len(batch.texts)
            for row, text in zip(batch.features.numpy(), batch.texts, strict=True):
                same = [c for c in clips if c.clip.text == text]
                found += any(np.array_equal(row, stack(c.features[0], 3, 4)) for c in same)
        assert found == len(clips)


def test_targets_are_filled_up_with_blanks() -> None:
    batch = pack([np.zeros((4, 2), np.float32)] * 3, ["een", "", "zo"])
    assert batch.targets.tolist() == [encode("een"), [BLANK] * 3, [*encode("zo"), BLANK]]
    assert batch.target_lengths.tolist() == [3, 0, 2]


def test_longest_is_what_the_batches_have() -> None:
    clips = recordings(speeds=1)
    assert longest(clips, FRAMING) == max(b.features.shape[1] for b in plain_batches(clips, 4, FRAMING))


def test_masks_hide_bands_and_stretches_of_time() -> None:
    features = np.ones((100, 40), np.float32)
    masking = Masking(band_masks=2, bands=7, frame_masks=2, frames=25, share=0.1)
    shares = []
    for seed in range(50):
        got = mask(features, masking, np.random.default_rng(seed))
        bands, frames = (got == 0).all(axis=0), (got == 0).all(axis=1)
        assert bands.sum() <= 14
        assert frames.sum() <= 20  # two of at most a tenth
        # Nothing but whole bands and whole frames is hidden.
        assert np.array_equal(got == 0, bands[None, :] | frames[:, None])
        shares.append(bands.sum())
    assert features.min() == 1
    assert max(shares) > 7
    single = mask(np.ones((1, 40), np.float32), masking, np.random.default_rng(0))
    assert single.shape == (1, 40)


def test_ctc_loss_of_a_batch_is_the_mean_of_its_recordings() -> None:
    clips = [speech_samples.recording(text, 0) for text in ("een", "vis", "zoo")]
    batch = plain_batches(clips, 4, FRAMING)[0]
    shorter = pack(list(batch.features.numpy()), ["een", "v", "zoo"])
    logits = torch.randn(3, batch.features.shape[1], CLASSES, generator=torch.Generator().manual_seed(0))
    single = [
        F.ctc_loss(
            torch.log_softmax(logits[row : row + 1], -1).transpose(0, 1),
            torch.tensor([encode(text)]),
            [logits.shape[1]],
            [len(text)],
        )
        for row, text in enumerate(shorter.texts)
    ]
    assert float(ctc_loss(logits, shorter)) == pytest.approx(float(torch.stack(single).mean()), rel=1e-5)


def test_teacher_shows_the_characters_before_and_asks_for_the_next_and_the_end() -> None:
    batch = pack([np.zeros((4, 2), np.float32)] * 2, ["een", "zo"])
    tokens, following = teacher(batch)
    assert tokens.tolist() == [[BLANK, *encode("een")], [BLANK, *encode("zo"), BLANK]]
    assert following.tolist() == [[*encode("een"), BLANK], [*encode("zo"), BLANK, IGNORED]]


@pytest.mark.parametrize("kind", [CtcTask, AttentionTask])
def test_tasks_make_their_batches_from_the_epoch(kind: type) -> None:
    settings = replace(QUICK, masking=Masking())
    task = kind(speech_samples.data(), settings, replace(QUICK.ctc, batch=5, framing=FRAMING), 3)
    task.begin_epoch(1)
    first = [batch.features.clone() for batch in task.batches()]
    task.begin_epoch(2)
    task.begin_epoch(1)
    assert all(torch.equal(a, b.features) for a, b in zip(first, task.batches(), strict=True))
    assert task.carried() == {}
