"""Characters: what a transcript is turned into, and the numbers that the networks use for it."""

from __future__ import annotations

import re
import unicodedata

LANGUAGES = ("nl", "cs")
_LETTERS = {"nl": "abcdefghijklmnopqrstuvwxyzéëï", "cs": "abcdefghijklmnopqrstuvwxyzáčďéěíňóřšťúůýž"}
# Number 0 is no character: CTC's blank, and the attention decoder's start and end of a sentence.
BLANK = 0
ALPHABET = " '" + "".join(sorted(set("".join(_LETTERS.values()))))
CLASSES = 1 + len(ALPHABET)
_NUMBERS = {character: number for number, character in enumerate(ALPHABET, start=1)}
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'"})


def normalize(text: str) -> str:
    """Lower case, diacritics kept, single blanks; the only punctuation left are apostrophes as in zo'n and 't."""
    text = unicodedata.normalize("NFC", text).translate(_APOSTROPHES).lower()
    text = "".join(c if c == "'" or c.isalnum() or c in "%\\" else " " for c in text)
    text = re.sub(r"(?<!\w)'(?!\w\b)|'(?!\w)", " ", text)
    return " ".join(text.split())


def is_spelled_out(text: str, language: str) -> bool:
    """Whether a normalized text has letters of the language alone: no digits, placeholders or other alphabets."""
    return all(c in " '" or c in _LETTERS[language] for c in text)


def encode(text: str) -> list[int]:
    """Numbers of a normalized text, each in 1 .. CLASSES - 1. KeyError for a character outside of ALPHABET."""
    return [_NUMBERS[character] for character in text]


def decode(numbers: list[int]) -> str:
    """The text of some numbers; blanks (0) are left out."""
    return "".join(ALPHABET[number - 1] for number in numbers if number != BLANK)
