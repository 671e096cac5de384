"""From a decoder that gives the next character's scores to a text: the best character each time, or a beam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech.ctc_decoding import log_softmax
from irnn_tvm.examples.speech.text import BLANK

# (last character, state) -> (logits [classes], next state). BLANK is the start and the end.
Step = Callable[[int, Any], tuple[NDArray[np.floating], Any]]


def greedy(step: Step, state: Any, limit: int) -> list[int]:
    """Characters until the end is the best next one, at most `limit`."""
    characters: list[int] = []
    token = BLANK
    while len(characters) < limit:
        logits, state = step(token, state)
        token = int(np.argmax(logits))
        if token == BLANK:
            break
        characters.append(token)
    return characters


def beam_search(
    step: Step, state: Any, limit: int, width: int = 4, length_bonus: float = 0.3, normalize: bool = True
) -> list[int]:
    """The text of the largest log-probability plus length_bonus per character, `width` texts kept in every step.

    normalize=False: the step's scores are log-probabilities, or sums of them, already.

    InputError for a width below 1.
    """
    if width < 1:
        raise InputError(f"width={width} must be at least 1")
    open_texts: list[tuple[float, list[int], Any]] = [(0.0, [], state)]
    closed: list[tuple[float, list[int]]] = []
    for _ in range(limit):
        longer: list[tuple[float, list[int], int, Any]] = []
        for score, characters, before in open_texts:
            logits, after = step(characters[-1] if characters else BLANK, before)
            log_probabilities = log_softmax(logits) if normalize else logits
            for number in np.argsort(log_probabilities)[::-1][: width + 1]:
                gain = float(log_probabilities[number]) + (length_bonus if number != BLANK else 0.0)
                longer.append((score + gain, characters, int(number), after))
        longer.sort(key=lambda entry: -entry[0])
        open_texts = []
        for score, characters, number, after in longer[:width]:
            if number == BLANK:
                closed.append((score, characters))
            else:
                open_texts.append((score, [*characters, number], after))
        closed.sort(key=lambda entry: -entry[0])
        # Scores of open texts can grow by at most length_bonus per character that is left.
        if not open_texts or (len(closed) >= width and closed[width - 1][0] >= open_texts[0][0]):
            break
    candidates = closed or [(score, characters) for score, characters, _ in open_texts]
    return max(candidates, key=lambda entry: entry[0])[1]
