"""From the scores of a CTC network (Graves et al., 2006) to characters: best path, and prefix beam search."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech.text import BLANK

Scores = NDArray[np.generic]
# log p(next character | the characters before it), by number.
Continuation = Callable[[tuple[int, ...]], NDArray[np.float64]]


def collapse(path: Sequence[int]) -> list[int]:
    """Characters of a path: runs of a number become one, then blanks go."""
    return [n for i, n in enumerate(path) if n != BLANK and (i == 0 or n != path[i - 1])]


def greedy(scores: Scores) -> list[int]:
    """Characters of the best number of every step; scores [T, classes], floats or a library's integers."""
    return collapse([int(n) for n in np.asarray(scores).argmax(axis=-1)])


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logarithms of the probabilities over the last axis."""
    values = np.asarray(logits, np.float64)
    values = values - values.max(axis=-1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


def beam_search(
    log_probabilities: NDArray[np.float64],
    width: int = 8,
    candidates: int = 12,
    language_model: Continuation | None = None,
    weight: float = 0.3,
    bonus: float = 0.6,
) -> list[int]:
    """The most probable text, all its paths added up, among the `width` best prefixes of every step.

    log_probabilities [T, classes] natural logarithms; only the `candidates` best characters of a step extend a
    prefix. With a language model, a character adds weight * log p + bonus (Hannun et al., 2014). InputError for a
    width or number of candidates below 1.
    """
    if width < 1 or candidates < 1:
        raise InputError(f"width={width} and candidates={candidates} must be at least 1")
    # Prefix -> log-probability of its paths that end in a blank, and of those that end in its last character; `added`
    # is the language model's share, which depends on the prefix alone.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    added: dict[tuple[int, ...], float] = {(): 0.0}
    for step in log_probabilities:
        following: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        best = [int(n) for n in np.argsort(step)[::-1][: candidates + 1] if n != BLANK][:candidates]
        for prefix, (blank, character) in beams.items():
            total = float(np.logaddexp(blank, character))
            entry = following[prefix]
            entry[0] = float(np.logaddexp(entry[0], total + step[BLANK]))
            if prefix:
                entry[1] = float(np.logaddexp(entry[1], character + step[prefix[-1]]))
            continuation = None
            for number in best:
                longer = (*prefix, number)
                # A repeated character makes a new one only after a blank.
                before = blank if prefix and number == prefix[-1] else total
                if before == -math.inf:
                    continue
                if longer not in added:
                    gain = 0.0
                    if language_model is not None:
                        continuation = language_model(prefix) if continuation is None else continuation
                        gain = weight * float(continuation[number]) + bonus
                    added[longer] = added[prefix] + gain
                entry = following[longer]
                entry[1] = float(np.logaddexp(entry[1], before + step[number]))
        ranked = sorted(
            following,
            key=lambda prefix: (
                float(np.logaddexp(following[prefix][0], following[prefix][1])) + added[prefix]
            ),
            reverse=True,
        )
        beams = {prefix: (following[prefix][0], following[prefix][1]) for prefix in ranked[:width]}
    return list(next(iter(beams)))
