"""Character error rate, and what answers that ignore the recording reach: the reference for sanity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from irnn_tvm.errors import InputError


def edit_distance(got: str, expected: str) -> int:
    """Fewest insertions, deletions and substitutions of characters (Levenshtein) that turn one into the other."""
    row = np.arange(len(expected) + 1)
    letters = np.array(list(expected))
    positions = np.arange(len(expected) + 1)
    for number, letter in enumerate(got, start=1):
        replaced = row[:-1] + (letters != letter)
        best = np.concatenate([[number], np.minimum(replaced, row[1:] + 1)])
        # Insertions chain within the row: best[j] = min over i <= j of best[i] + (j - i).
        row = np.minimum.accumulate(best - positions) + positions
    return int(row[-1])


def character_error_rate(got: Sequence[str], expected: Sequence[str]) -> float:
    """Edits of all texts in per cent of the expected texts' characters, blanks between words included.

    InputError for lists of different lengths or without any expected character.
    """
    if len(got) != len(expected):
        raise InputError(f"{len(got)} answers for {len(expected)} texts")
    characters = sum(len(text) for text in expected)
    if not characters:
        raise InputError("a character error rate needs at least one expected character")
    edits = sum(edit_distance(ours, theirs) for ours, theirs in zip(got, expected, strict=True))
    return 100 * edits / characters


def constant_answers(train: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    """Error rates of always answering "" (100 by definition) and the most frequent training text."""
    frequent = min(Counter(train).items(), key=lambda item: (-item[1], item[0]))[0]
    return {
        "empty": character_error_rate([""] * len(expected), expected),
        "most frequent": character_error_rate([frequent] * len(expected), expected),
    }
