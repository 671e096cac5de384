"""The n-gram reference against values worked out by hand."""

import math

import pytest

from irnn_tvm.examples.language_model.kneser_ney import KneserNey, estimate_discounts

HALF = (0.5, 0.5, 0.5)
START = 2


def bigrams() -> KneserNey:
    """Of the text 0 1 0 over three words: bigrams (2 0), (0 1), (1 0), each once."""
    return KneserNey([[0, 1, 0]], vocabulary=3, start=START, order=2, discounts=(HALF, HALF))


def test_unigrams_count_the_words_before() -> None:
    """0 follows two different words, 1 follows one: (2 - 1/2)/3 + 1/9, (1 - 1/2)/3 + 1/9; the unseen one has 1/9."""
    model = KneserNey([[0, 1, 0]], vocabulary=3, start=START, order=2, discounts=(HALF, (1.0, 1.0, 1.0)))
    # With a discount of 1 the bigrams vanish and the unigrams are left.
    assert [model.probability([0], word) for word in range(3)] == pytest.approx([11 / 18, 5 / 18, 1 / 9])


def test_bigrams_interpolate() -> None:
    model = bigrams()
    assert model.probability([0], 1) == pytest.approx(0.5 + 0.5 * 5 / 18)
    assert model.probability([0], 0) == pytest.approx(0.5 * 11 / 18)
    assert model.probability([1], 0) == pytest.approx(0.5 + 0.5 * 11 / 18)
    assert model.probability([], 0) == pytest.approx(0.5 + 0.5 * 11 / 18)  # the document's first word


def test_perplexity() -> None:
    first, second = 0.5 + 0.5 * 11 / 18, 0.5 + 0.5 * 5 / 18
    assert bigrams().perplexity([[0, 1], [0]]) == pytest.approx(
        math.exp(-math.log(first * second * first) / 3)
    )


def test_discounts() -> None:
    """n1..n4 = 3, 2, 1, 1: Y = 3/7."""
    assert estimate_discounts([1, 1, 1, 2, 2, 3, 4]) == pytest.approx((3 / 7, 19 / 14, 9 / 7))
    assert estimate_discounts([1, 1]) == (0.5, 1.0, 1.5)  # too little text for an estimate


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one(order: int) -> None:
    documents = [[0, 1, 2, 1, 0, 3, 3, 1], [2, 2, 1, 0], [5, 4, 3, 2, 1, 0]]
    model = KneserNey(documents, vocabulary=7, start=6, order=order)
    for context in ([], [0], [1, 2], [3, 3, 1, 0], [6, 6, 6, 5], [4, 0, 4, 0]):
        total = sum(model.probability(context, word) for word in range(7))
        assert total == pytest.approx(1.0)
        assert all(model.probability(context, word) > 0 for word in range(7))


def test_a_longer_context_than_the_order_is_cut() -> None:
    model = bigrams()
    assert model.probability([1, 1, 1, 0], 1) == model.probability([0], 1)
