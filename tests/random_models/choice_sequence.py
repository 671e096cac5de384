"""Where a generator's choices come from: a seed, a recorded sequence, or hypothesis. Choice 0 is the simplest."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """A source of small integers that remembers what it gave: the sequence makes the same program again."""

    def __init__(self, below: Callable[[int], int]) -> None:
        """below(n): an integer in 0..n-1."""
        self._below = below
        self.taken: list[int] = []
        self.marks: list[int] = []

    def number(self, low: int, high: int) -> int:
        """An integer in low..high."""
        value = self._below(high - low + 1) if high > low else 0
        self.taken.append(value)
        return low + value

    def mark(self) -> None:
        """Says that a part of the program begins with the last choice: `shrink` tries to leave out whole parts."""
        self.marks.append(len(self.taken) - 1)

    def of(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.number(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        """True with this probability; False is the simpler choice."""
        return self.number(0, 99) >= 100 - percent

    def weighted(self, weights: Sequence[int]) -> int:
        """An index, with probabilities in proportion to the weights."""
        value = self.number(0, sum(weights) - 1)
        for index, weight in enumerate(weights):
            value -= weight
            if value < 0:
                return index
        raise AssertionError("unreachable")


def from_seed(seed: int) -> Choices:
    return Choices(random.Random(seed).randrange)


def from_sequence(sequence: Sequence[int]) -> Choices:
    """Repeats a recorded sequence; where it has ended, or a number is too large, the simplest choice."""
    rest = iter(sequence)

    def below(n: int) -> int:
        value = next(rest, 0)
        return value if value < n else 0

    return Choices(below)
