"""A character n-gram model of the training texts for the CTC beam search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from irnn_tvm.examples.language_model.kneser_ney import KneserNey
from irnn_tvm.examples.speech.ctc_decoding import Continuation
from irnn_tvm.examples.speech.text import BLANK, CLASSES, encode

ORDER = 5


def continuation(texts: Sequence[str], order: int = ORDER) -> Continuation:
    """log p(next | characters before) [classes] of an interpolated Kneser-Ney model; BLANK starts and ends a text."""
    model = KneserNey([[*encode(text), BLANK] for text in texts], CLASSES, BLANK, order)

    @lru_cache(maxsize=100_000)
    def scores(context: tuple[int, ...]) -> NDArray[np.float64]:
        return np.log([model.probability(context, number) for number in range(CLASSES)])

    return lambda prefix: scores(prefix[-(order - 1) :])
