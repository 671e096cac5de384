"""The two halves of the model as integer graphs, and the word loop over their built libraries."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

import irnn_tvm
from irnn_tvm.examples.g2p import model as g2p
from irnn_tvm.examples.g2p import words as word_lists
from irnn_tvm.quantization import IntegerModel
from irnn_tvm.runtime import Library, Stream

DECODER_BATCH = 200


def quantize_encoder(encoder: g2p.Encoder, words: list[str]) -> IntegerModel:
    """Calibrates on whole words: those of one length form one batch of ids int64 [B, T]."""
    by_length: dict[int, list[list[int]]] = defaultdict(list)
    for word in words:
        by_length[len(word)].append(g2p.encode_word(word))
    return irnn_tvm.quantize(encoder, [torch.tensor(batch) for batch in by_length.values()])


def quantize_decoder(encoder: g2p.Encoder, decoder: g2p.Decoder, words: list[str]) -> IntegerModel:
    """Calibrates on the tokens and states that the float model walks through while it pronounces words."""
    calls = [call for word in words for call in g2p.trajectory(encoder, decoder, word)]
    batches: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(calls), DECODER_BATCH):
        tokens, states = zip(*calls[start : start + DECODER_BATCH], strict=True)
        batches.append((torch.cat(tokens, dim=0), torch.cat(states, dim=1)))
    return irnn_tvm.quantize(decoder, batches)


def encoder() -> IntegerModel:
    """The integer encoder, calibrated on the words set apart for that."""
    calibration, _ = word_lists.split()
    return quantize_encoder(g2p.load()[0], calibration)


def decoder() -> IntegerModel:
    """The integer decoder, calibrated on the words set apart for that."""
    calibration, _ = word_lists.split()
    return quantize_decoder(*g2p.load(), calibration)


@dataclass
class Trace:
    """Everything that comes out of the decoder for one word: what two targets must agree on bit for bit."""

    phonemes: list[int] = field(default_factory=list)
    logits: list[np.ndarray] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)


class Pronouncer:
    """Words to phonemes with two libraries that run on this machine. It owns two streams: one thread only."""

    def __init__(self, encoder: Library, decoder: Library) -> None:
        self._encoder: Stream = encoder.stream()
        self._decoder: Stream = decoder.stream()
        self._ids = np.dtype(encoder.report["inputs"][0]["dtype"])

    def __call__(self, word: str, trace: Trace | None = None) -> list[int]:
        """Phoneme ids of a lower-case word: greedy, at most 20, without the closing </s>."""
        self._encoder.reset()
        self._decoder.reset()
        hidden = self._encoder.run(np.array([g2p.encode_word(word)], self._ids))
        token = g2p.START
        phonemes: list[int] = []
        for _ in range(g2p.MAX_PHONEMES):
            logits, hidden = self._decoder.step(np.array([[token]], self._ids), hidden)
            token = int(logits.argmax())
            if trace is not None:
                trace.phonemes.append(token)
                trace.logits.append(logits.ravel().copy())
                trace.states.append(hidden.ravel().copy())
            if token == g2p.END:
                break
            phonemes.append(token)
        return phonemes
