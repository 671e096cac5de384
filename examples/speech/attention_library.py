"""The attention model as built libraries: encoder and CTC layer over a recording, the decoder a character at a time.

What goes from one library to the other, and from a step to the next, is rescaled with integers where scales differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech import attention_decoding
from irnn_tvm.examples.speech.batches import Batch
from irnn_tvm.examples.speech.ctc_decoding import log_softmax
from irnn_tvm.examples.speech.joint_decoding import joint_search
from irnn_tvm.examples.speech.task import IGNORED, character_limit, teacher
from irnn_tvm.examples.speech.text import decode
from irnn_tvm.ops.qparams import multiplier
from irnn_tvm.runtime import Library
from irnn_tvm.runtime.tensors import Tensor

Array = NDArray[Any]
# Inputs of the decoder step, in order: token, h, c, context, keys, values, lengths.
STATES, KEYS, VALUES = slice(1, 4), 4, 5


def rescaler(source: Tensor, target: Tensor) -> Callable[[Array], Array]:
    """From the integers of one tensor to those of another: sat(rs((q - zero_point) * mult, shift) + zero_point).

    The identity where type, scale and zero point agree. InputError for tensors of indices.
    """
    if source.scale is None or source.zero_point is None or target.scale is None or target.zero_point is None:
        raise InputError(f"{source.name!r} and {target.name!r} are not both quantized: nothing to rescale")
    if (source.dtype, source.scale, source.zero_point) == (target.dtype, target.scale, target.zero_point):
        return lambda values: values
    factor, shift = multiplier(source.scale / target.scale)
    limits, before, after = np.iinfo(target.dtype), source.zero_point, target.zero_point

    def rescale(values: Array) -> Array:
        scaled = (values.astype(np.int64) - before) * int(factor)
        rounded = (scaled + (1 << (shift - 1))) >> shift if shift else scaled
        return np.clip(rounded + after, limits.min, limits.max).astype(target.dtype)

    return rescale


@dataclass
class Memory:
    """What the decoder attends to, as its inputs: keys, values [1, capacity, ...] and lengths int32 [1].

    heard: what CTC makes of the recording, natural logarithms of probabilities [T, classes].
    """

    keys: Array
    values: Array
    lengths: Array
    heard: NDArray[np.float64]


class LibraryRecognizer:
    """Recordings to texts with three libraries for this machine, a recording at a time."""

    def __init__(self, encoder: Library, decoder: Library, helper: Library) -> None:
        self.encoder, self.decoder, self.helper = encoder, decoder, helper
        self._to_helper = rescaler(encoder.outputs[1], helper.inputs[0])
        self._features = encoder.inputs[0]
        inputs, outputs = decoder.inputs, decoder.outputs
        self._token = inputs[0]
        self._states = inputs[STATES]
        self._lengths = inputs[6]
        self._to_memory = [
            rescaler(source, inputs[place])
            for source, place in zip(encoder.outputs, (KEYS, VALUES), strict=True)
        ]
        self._feedback = [
            rescaler(source, target) for source, target in zip(outputs[1:], self._states, strict=True)
        ]

    def __call__(self, features: NDArray[np.float32], width: int = 1) -> str:
        """The text of stacked features [T, F]. width: of the beam with CTC, 1 for the decoder's best character."""
        memory = self.remember(features)
        start, step = self._start(), self._step(memory)
        limit = character_limit(int(memory.lengths[0]))
        if width == 1:
            return decode(attention_decoding.greedy(step, start, limit))
        return decode(joint_search(step, start, memory.heard, limit, width))

    def predict(self, features: NDArray[np.float32], characters: list[int]) -> list[int]:
        """The best next character after each of `characters`, whatever it predicted before."""
        state, step = self._start(), self._step(self.remember(features))
        best = []
        for character in characters:
            logits, state = step(character, state)
            best.append(int(np.argmax(logits)))
        return best

    def _start(self) -> list[Array]:
        """The state before the first character: zeros."""
        return [
            np.full(tuple(int(n) for n in tensor.shape), tensor.zero_point, tensor.dtype)
            for tensor in self._states
        ]

    def remember(self, features: NDArray[np.float32]) -> Memory:
        """Runs the encoder; the rest of the decoder's fixed memory is filled with zero points."""
        outputs = self.encoder.run(self._features.quantize(features[None]))
        filled = []
        for place, rescale, output in zip((KEYS, VALUES), self._to_memory, outputs, strict=True):
            tensor = self.decoder.inputs[place]
            memory = np.full(tuple(int(n) for n in tensor.shape), tensor.zero_point, tensor.dtype)
            if output.shape[1] > memory.shape[1]:
                raise InputError(
                    f"the recording needs {output.shape[1]} steps of memory, the decoder was built for "
                    f"{memory.shape[1]}"
                )
            memory[:, : output.shape[1]] = rescale(output)
            filled.append(memory)
        lengths = np.array([outputs[0].shape[1]], self._lengths.dtype)
        scores = self.helper.run(self._to_helper(outputs[1]))
        assert not isinstance(scores, tuple)  # one output
        heard = log_softmax(self.helper.outputs[0].dequantize(scores)[0])
        return Memory(filled[0], filled[1], lengths, heard)

    def _step(self, memory: Memory) -> attention_decoding.Step:
        def step(token: int, state: list[Array]) -> tuple[NDArray[np.floating], list[Array]]:
            tokens = np.array([[token]], self._token.dtype)
            logits, *after = self.decoder.run(tokens, *state, memory.keys, memory.values, memory.lengths)
            following = [rescale(array) for rescale, array in zip(self._feedback, after, strict=True)]
            return self.decoder.outputs[0].dequantize(logits)[0], following

        return step


def recognize_all(recognizer: LibraryRecognizer, batches: list[Batch], width: int = 1) -> list[str]:
    """The texts of all recordings, in the batches' order."""
    return [recognizer(row, width) for batch in batches for row in batch.features.numpy()]


def predict_all(recognizer: LibraryRecognizer, batches: list[Batch]) -> float:
    """Share, in per cent, of next characters that are wrong when those before are right."""
    wrong = total = 0
    for batch in batches:
        for row, before, after in zip(batch.features.numpy(), *teacher(batch), strict=True):
            known = after != IGNORED
            best = torch.tensor(recognizer.predict(row, before[known].tolist()))
            wrong += int((best != after[known]).sum())
            total += int(known.sum())
    return 100.0 * wrong / total
