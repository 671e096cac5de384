"""Recordings without sound files: every character is a pattern of its own, so that tiny networks learn to spell."""

import numpy as np

from irnn_tvm.examples.speech.corpus import Recording
from irnn_tvm.examples.speech.data import Data
from irnn_tvm.examples.speech.dialogs import Clip
from irnn_tvm.examples.speech.text import encode

BANDS = 40
WORDS = ("een", "vis", "zo", "daar", "nu net", "boot")


def recording(text: str, seed: int, speeds: int = 1) -> Recording:
    """A recording of a text: 12 frames per character with a band that depends on it, over noise."""
    rng = np.random.default_rng(seed)
    features = []
    for speed in range(speeds):
        length = 12 + 2 * speed
        array = rng.normal(0, 0.3, (length * len(text) + 6, BANDS))
        for place, number in enumerate(encode(text)):
            array[3 + place * length : 3 + (place + 1) * length - 4, (7 * number) % BANDS] += 3
        features.append(array.astype(np.float32))
    return Recording(Clip("nl", "level", "", f"{text}{seed}", text, ""), tuple(features))


def data(train: int = 24, others: int = 6) -> Data:
    """Words in all parts, other noise in each."""
    parts = [
        [recording(WORDS[i % len(WORDS)], 1000 * part + i) for i in range(count)]
        for part, count in enumerate((train, others, others))
    ]
    return Data(("nl",), *parts, {}, "synthetic")
