"""Real English words: the most frequent ones of a published list, split once and for all.

The list is the frequency dictionary of symspellpy (MIT): words of SCOWL's English dictionaries with their
counts in the Google Books n-grams.
"""

from __future__ import annotations

import hashlib

from irnn_tvm.examples.download import Package, read_member

PACKAGE = Package(
    requirement="symspellpy==6.10.1",
    filename="symspellpy-6.10.1-py3-none-any.whl",
    sha256="a653a6c125839a21ada87c3e044d690fc3b39872efbd7b7270db3de9471315e1",
    licence="MIT",
)
# Further down the list follow more and more names and forms that the model itself is unsure about.
MOST_FREQUENT = 20_000
CALIBRATION_WORDS = 1000
EVALUATION_WORDS = 3_000


def word_list(most_frequent: int = MOST_FREQUENT) -> list[str]:
    """The most frequent words of 3 to 18 letters a-z, in an order that depends on the words alone."""
    lines = read_member(PACKAGE, "frequency_dictionary_en_82_765.txt").decode("utf-8-sig").splitlines()
    words = [line.split()[0] for line in lines[:most_frequent]]
    plain = {
        word
        for word in words
        if 3 <= len(word) <= 18 and word.isascii() and word.isalpha() and word.islower()
    }
    return sorted(plain, key=lambda word: hashlib.sha256(word.encode()).digest())


def split(
    evaluation: int = EVALUATION_WORDS, most_frequent: int = MOST_FREQUENT
) -> tuple[list[str], list[str]]:
    """(calibration words, evaluation words): disjoint, both scattered over the whole list."""
    words = word_list(most_frequent)
    calibration = words[:CALIBRATION_WORDS]
    return calibration, words[CALIBRATION_WORDS : CALIBRATION_WORDS + evaluation]
