"""The sanity reference: an n-gram model with interpolated modified Kneser-Ney smoothing (Chen and Goodman, 1999,
section 3).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

Discounts = tuple[float, float, float]


class KneserNey:
    """Order-n model over the ids 0..vocabulary-1.

    p_n(w | h) = (c(h w) - D(c(h w))) / c(h .) + gamma(h) p_{n-1}(w | h without its first word)

    c is the count for the highest order and the number of different words seen before the n-gram for lower ones; D
    has a value each for counts of 1, 2 and more; gamma(h) is the mass that the discounts leave; p_0 is uniform. A
    context that was never seen passes to the next shorter one. Documents are padded in front with order - 1 ids
    `start`.
    """

    def __init__(
        self,
        documents: Iterable[Sequence[int] | np.ndarray],
        vocabulary: int,
        start: int,
        order: int = 5,
        discounts: Sequence[Discounts] | None = None,
    ) -> None:
        """discounts: per order from 1 up; estimated from the counts of counts when not given."""
        self.vocabulary, self.start, self.order = vocabulary, start, order
        counts = _adjusted_counts(self._highest(documents), vocabulary, order)
        self.discounts = tuple(discounts or (estimate_discounts(c.values()) for c in counts))
        self._discounted: list[dict[int, float]] = []
        self._backoff: list[dict[int, tuple[float, float]]] = []
        for level, discount in zip(counts, self.discounts, strict=True):
            totals: dict[int, list[float]] = {}
            for key, count in level.items():
                entry = totals.setdefault(key // vocabulary, [0.0, 0.0])
                entry[0] += count
                entry[1] += discount[min(count, 3) - 1]
            self._discounted.append({k: n - discount[min(n, 3) - 1] for k, n in level.items()})
            self._backoff.append({context: (total, mass) for context, (total, mass) in totals.items()})

    def _highest(self, documents: Iterable[Sequence[int] | np.ndarray]) -> Counter[int]:
        """Counts of the n-grams of the highest order, each as one number with the vocabulary as its base."""
        counts: Counter[int] = Counter()
        modulus = self.vocabulary**self.order
        for document in documents:
            key = self._padding()
            keys = []
            for word in document:
                key = (key * self.vocabulary + int(word)) % modulus
                keys.append(key)
            counts.update(keys)
        return counts

    def _padding(self) -> int:
        key = 0
        for _ in range(self.order - 1):
            key = key * self.vocabulary + self.start
        return key

    def probability(self, context: Sequence[int], word: int) -> float:
        """p(word | the last order - 1 words of context, padded in front with `start`)."""
        key = self._padding()
        for past in context:
            key = key * self.vocabulary + int(past)
        return self._probability(key % self.vocabulary ** (self.order - 1), int(word))

    def _probability(self, context: int, word: int) -> float:
        p = 1.0 / self.vocabulary
        for n in range(self.order):
            suffix = context % self.vocabulary**n
            found = self._backoff[n].get(suffix)
            if found is None:
                break
            total, mass = found
            p = (self._discounted[n].get(suffix * self.vocabulary + word, 0.0) + mass * p) / total
        return p

    def perplexity(self, documents: Iterable[Sequence[int] | np.ndarray]) -> float:
        """exp of the mean negative log-probability of every word; each document starts from the padding."""
        modulus = self.vocabulary ** (self.order - 1)
        total, count = 0.0, 0
        for document in documents:
            context = self._padding()
            for word in document:
                total -= math.log(self._probability(context, int(word)))
                context = (context * self.vocabulary + int(word)) % modulus
                count += 1
        return math.exp(total / count)


def _adjusted_counts(highest: Counter[int], vocabulary: int, order: int) -> list[Counter[int]]:
    """Per order from 1 up: the counts that the model is made of (see the class)."""
    levels = [highest]
    for n in range(order - 1, 0, -1):
        modulus = vocabulary**n
        levels.insert(0, Counter(key % modulus for key in levels[0]))
    return levels


def estimate_discounts(counts: Iterable[int]) -> Discounts:
    """D1, D2, D3+ from the counts of counts n1..n4: Y = n1 / (n1 + 2 n2), Dk = k - (k + 1) Y n(k+1) / nk.

    Where a count of counts is 0, which needs very little text, Dk is k / 2.
    """
    of_counts = Counter(counts)
    n = [of_counts.get(k, 0) for k in range(6)]
    if not n[1] or not n[2]:
        return 0.5, 1.0, 1.5
    y = n[1] / (n[1] + 2 * n[2])
    values = [k - (k + 1) * y * n[k + 1] / n[k] if n[k] else k / 2 for k in (1, 2, 3)]
    first, second, third = (min(max(value, 0.0), float(k)) for k, value in enumerate(values, 1))
    return first, second, third
