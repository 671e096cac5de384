"""The recordings of a recipe: which languages, which parts, what the rows say about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech import corpus
from irnn_tvm.examples.speech.corpus import Recording
from irnn_tvm.examples.speech.settings import Settings
from irnn_tvm.examples.speech.text import LANGUAGES

CHOICES = {"both": LANGUAGES, "nl": ("nl",), "cs": ("cs",)}


@dataclass(frozen=True)
class Data:
    """train, valid, test: recordings of disjoint levels. counts: of the corpus, by reason. description: for rows."""

    languages: tuple[str, ...]
    train: list[Recording]
    valid: list[Recording]
    test: list[Recording]
    counts: dict[str, int] = field(default_factory=dict)
    description: str = ""

    @property
    def training_texts(self) -> list[str]:
        return [recording.clip.text for recording in self.train]


def load(language: str, settings: Settings, advance: Callable[[float], None] = lambda share: None) -> Data:
    """The recordings of one of CHOICES. Sizes that use a part of them take evenly spaced ones.

    InputError for another language.
    """
    if language not in CHOICES:
        raise InputError(f"there is no language {language!r}; there are {', '.join(CHOICES)}")
    languages = CHOICES[language]
    split, counts = corpus.load(languages, corpus.SPEEDS[: settings.speeds], advance=advance)
    parts = {name: _spread(split[name], settings.tested) for name in ("valid", "test")}
    sums = " ".join(f"{name}:{corpus.PACKAGES[name].sha256[:12]}" for name in ("scripts", *languages))
    return Data(
        languages,
        _spread(split["train"], settings.clips),
        parts["valid"],
        parts["test"],
        counts,
        f"fillets-ng-data {corpus.VERSION} sha256 {sums}",
    )


def _spread(recordings: list[Recording], count: int | None) -> list[Recording]:
    if count is None or count >= len(recordings):
        return recordings
    return [recordings[int(place)] for place in np.linspace(0, len(recordings) - 1, count)]
