"""Decoding and error rates of the speech recipe, against enumeration and counts by hand."""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech import attention_decoding, ctc_decoding
from irnn_tvm.examples.speech.error_rate import character_error_rate, constant_answers, edit_distance
from irnn_tvm.examples.speech.joint_decoding import PrefixScorer, joint_search
from irnn_tvm.examples.speech.language_model import continuation
from irnn_tvm.examples.speech.text import BLANK, CLASSES, encode


@pytest.mark.parametrize(
    ("got", "expected", "edits"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("zitten", "kaarten", 4),
        ("abc", "abc", 0),
        ("ab", "ba", 2),
        ("een test", "eentest", 1),
    ],
)
def test_edit_distances(got: str, expected: str, edits: int) -> None:
    assert edit_distance(got, expected) == slow_distance(got, expected) == edits


def slow_distance(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(
        slow_distance(a[1:], b) + 1, slow_distance(a, b[1:]) + 1, slow_distance(a[1:], b[1:]) + (a[0] != b[0])
    )


def test_error_rate_counts_all_characters_together() -> None:
    # 1 of 4, 0 of 2, 3 of 3 characters.
    assert character_error_rate(["abcx", "ab", ""], ["abcd", "ab", "xyz"]) == pytest.approx(100 * 4 / 9)
    assert character_error_rate(["long answer"], ["a"]) > 100
    with pytest.raises(InputError, match="1 answers for 2 texts"):
        character_error_rate(["a"], ["a", "b"])
    with pytest.raises(InputError, match="at least one expected character"):
        character_error_rate([""], [""])


def test_constant_answers() -> None:
    rates = constant_answers(["b", "a", "a", "b", "c"], ["aa", "b"])
    assert rates["empty"] == 100.0
    assert rates["most frequent"] == pytest.approx(100 * 2 / 3)  # "a", the first of two most frequent ones


def test_paths_collapse_to_characters() -> None:
    assert ctc_decoding.collapse([0, 1, 1, 0, 1, 2, 2, 0, 0]) == [1, 1, 2]
    assert ctc_decoding.collapse([]) == ctc_decoding.collapse([0, 0]) == []
    scores = np.eye(3, dtype=np.int16)[[0, 1, 1, 0, 1, 2]]
    assert ctc_decoding.greedy(scores) == [1, 1, 2]


def enumerate_texts(log_probabilities: np.ndarray) -> dict[tuple[int, ...], float]:
    """Probability of every text: the sum over all paths that collapse to it."""
    totals: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(log_probabilities.shape[1]), repeat=len(log_probabilities)):
        p = math.exp(sum(step[number] for step, number in zip(log_probabilities, path, strict=True)))
        totals[tuple(ctc_decoding.collapse(path))] += p
    return totals


@pytest.mark.parametrize("seed", range(12))
def test_a_wide_beam_finds_the_most_probable_text(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 1.5, (6, 4))
    log_probabilities = ctc_decoding.log_softmax(logits)
    totals = enumerate_texts(log_probabilities)
    assert sum(totals.values()) == pytest.approx(1)
    got = ctc_decoding.beam_search(log_probabilities, width=10_000)
    assert tuple(got) == max(totals, key=totals.__getitem__)


@pytest.mark.parametrize("seed", range(4))
def test_prefixes_have_the_probability_of_their_texts(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 1.5, (6, 4))
    log_probabilities = ctc_decoding.log_softmax(logits)
    totals = enumerate_texts(log_probabilities)
    scorer = PrefixScorer(log_probabilities)
    for prefix in [(), (1,), (2, 2), (3, 1, 1), (1, 2, 3)]:
        state = scorer.start()
        for character in prefix:
            scores, longer = scorer.extend(state)
            state = character, longer[:, :, character], float(scores[character])
        scores, _ = scorer.extend(state)
        assert math.exp(scores[BLANK]) == pytest.approx(totals.get(prefix, 0.0), abs=1e-12)
        for character in range(1, 4):
            wanted = (*prefix, character)
            expected = sum(p for text, p in totals.items() if text[: len(wanted)] == wanted)
            assert math.exp(scores[character]) == pytest.approx(expected, abs=1e-12)


def test_ctc_alone_decides_with_the_whole_share() -> None:
    """And an attention decoder that repeats itself for ever comes to an end."""
    log_probabilities = ctc_decoding.log_softmax(np.random.default_rng(3).normal(0, 1.5, (6, 4)))
    totals = enumerate_texts(log_probabilities)

    def endless(token: int, state: int) -> tuple[np.ndarray, int]:
        return np.array([0.0, 9.0, 0.0, 0.0]), state + 1

    steps = (endless, 0, log_probabilities)
    best = joint_search(*steps, limit=6, width=200, share=1.0)
    bonus = {text: math.log(p) + 0.3 * len(text) for text, p in totals.items()}
    assert tuple(best) == max(bonus, key=bonus.__getitem__)
    assert attention_decoding.greedy(endless, 0, limit=6) == [1] * 6
    assert len(joint_search(*steps, limit=6, width=4, share=0.5)) < 6


def test_the_beam_can_be_better_than_the_best_path() -> None:
    # Best path: blank, blank with 0.36; but "1" has 0.24 + 0.24 + 0.16.
    log_probabilities = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert ctc_decoding.greedy(log_probabilities) == []
    assert ctc_decoding.beam_search(log_probabilities, width=2) == [1]


def test_a_language_model_decides_between_equal_sounds() -> None:
    log_probabilities = np.log(np.array([[0.1, 0.45, 0.45], [0.8, 0.1, 0.1]]))

    def prefer(number: int) -> ctc_decoding.Continuation:
        return lambda prefix: np.log(np.where(np.arange(3) == number, 0.9, 0.05))

    for number in (1, 2):
        got = ctc_decoding.beam_search(log_probabilities, 8, 12, prefer(number), weight=1.0, bonus=0.0)
        assert got == [number]


def test_beams_without_width_are_refused() -> None:
    with pytest.raises(InputError, match="width=0"):
        ctc_decoding.beam_search(np.zeros((1, 2)), width=0)
    with pytest.raises(InputError, match="width=0"):
        attention_decoding.beam_search(lambda token, state: (np.zeros(2), state), None, 3, width=0)


def test_character_model_is_a_distribution_and_knows_its_texts() -> None:
    scores = continuation(["de vis", "de boot", "de vis"])
    for prefix in ((), tuple(encode("de")), tuple(encode("zzzzzzzzz"))):
        assert np.exp(scores(prefix)).sum() == pytest.approx(1)
    assert scores(tuple(encode("de v"))).argmax() == encode("i")[0]
    assert scores(tuple(encode("de vis"))).argmax() == BLANK
    assert scores(()).shape == (CLASSES,)


def scripted(table: dict[tuple[int, ...], Sequence[float]]) -> attention_decoding.Step:
    """A decoder whose state is the text so far, with probabilities from a table."""

    def step(token: int, state: Any) -> tuple[np.ndarray, Any]:
        text = state if token == BLANK else (*state, token)
        return np.log(np.array(table[text])), text

    return step


def test_attention_beam_keeps_what_greedy_gives_up() -> None:
    sure, end = (0.01, 0.98, 0.01), (0.98, 0.01, 0.01)
    table = {(): (0.01, 0.55, 0.44), (1,): (0.34, 0.33, 0.33), (2,): sure, (2, 1): end}
    table |= {(1, 1): (0.34, 0.33, 0.33), (1, 2): (0.34, 0.33, 0.33), (2, 2): end}
    table |= dict.fromkeys(itertools.product((1, 2), repeat=3), end)
    step = scripted(table)
    assert attention_decoding.greedy(step, (), limit=3) == [1]
    assert attention_decoding.beam_search(step, (), limit=4, width=3, length_bonus=0.0) == [2, 1]


def test_attention_decoding_ends_at_the_limit() -> None:
    def endless(token: int, state: int) -> tuple[np.ndarray, int]:
        return np.array([-50.0, 1.0, 0.5]), state + 1

    assert attention_decoding.greedy(endless, 0, limit=5) == [1] * 5
    assert attention_decoding.beam_search(endless, 0, limit=5, width=2) == [1] * 5
