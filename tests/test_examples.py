"""The pretrained float models are the published ones, and their words and sentences are fixed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from irnn_tvm.errors import BuildError
from irnn_tvm.examples import EXAMPLES, download
from irnn_tvm.examples.g2p import model as g2p
from irnn_tvm.examples.g2p import words
from irnn_tvm.examples.textgenrnn import model as textgenrnn
from irnn_tvm.examples.textgenrnn import text

pytestmark = pytest.mark.network

WORDS_SHA256 = "4e92ccf81bc0a71f5f13cf5ef6c33e301fe92e40aa9417306f63aba44d167619"


@pytest.fixture(autouse=True, scope="module")
def _downloads() -> None:
    """Skips this file where there is no package index: the archives are pinned, nothing else can stand in."""
    for package in (g2p.PACKAGE, words.PACKAGE, textgenrnn.PACKAGE):
        try:
            download.fetch(package)
        except BuildError as error:
            pytest.skip(str(error))


def test_modules_pronounce_as_the_package_does() -> None:
    encoder, decoder = g2p.load()
    weights = g2p.checkpoint()
    _, evaluation = words.split(200)
    for word in evaluation:
        assert g2p.predict(encoder, decoder, word) == g2p.predict_numpy(weights, word), word


def test_trajectory_ends_where_predict_ends() -> None:
    encoder, decoder = g2p.load()
    for word in ("cat", "antidisestablishmentarianism"):
        tokens = [int(token) for token, _ in g2p.trajectory(encoder, decoder, word)]
        assert tokens[0] == g2p.START
        assert tokens[1:] == g2p.predict(encoder, decoder, word)[: len(tokens) - 1]
        assert len(tokens) <= g2p.MAX_PHONEMES


def test_tables_have_the_checkpoint_s_sizes() -> None:
    weights = g2p.checkpoint()
    assert weights["enc_emb"].shape == (len(g2p.GRAPHEMES), g2p.HIDDEN)
    assert weights["dec_emb"].shape == (len(g2p.PHONEMES), g2p.HIDDEN)


def test_word_lists_are_disjoint_and_fixed() -> None:
    calibration, evaluation = words.split()
    assert (len(calibration), len(evaluation)) == (words.CALIBRATION_WORDS, words.EVALUATION_WORDS)
    assert len(set(calibration) | set(evaluation)) == len(calibration) + len(evaluation)
    assert all(word.isascii() and word.isalpha() and word.islower() for word in calibration + evaluation)
    digest = hashlib.sha256(" ".join(calibration + evaluation).encode()).hexdigest()
    assert digest == WORDS_SHA256


def test_textgenrnn_is_keras_lstm() -> None:
    model, weights = textgenrnn.load(), textgenrnn.weights()
    ids = textgenrnn.encode("What is the best way to learn a new language?")
    with torch.inference_mode():
        features = torch.cat(model(torch.from_numpy(ids)[None]), dim=-1)[0].numpy()
    # Two float implementations that add in different orders: a bound, where integers are compared with ==.
    assert np.abs(features - textgenrnn.features_numpy(weights, ids)).max() < 1e-4


def test_textgenrnn_predicts_english() -> None:
    """Wrong gate orders or transposes leave it above 6 nats per character; as published it is below 1."""
    weights = textgenrnn.weights()
    ids = textgenrnn.encode("What is the best way to learn a new language?")
    losses = []
    for end in range(textgenrnn.CONTEXT + 5, len(ids)):
        context = ids[end - textgenrnn.CONTEXT : end]
        logits = textgenrnn.next_character(weights, textgenrnn.features_numpy(weights, context))
        losses.append(np.logaddexp.reduce(logits) - logits[ids[end]])
    assert np.mean(losses) < 1.0


def test_sentences_are_english_and_disjoint() -> None:
    calibration, evaluation = text.split()
    assert min(len(calibration), len(evaluation)) >= 30
    assert not set(calibration) & set(evaluation)


def test_an_archive_that_is_not_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRNN_TVM_CACHE", str(tmp_path))
    wrong = download.Package(words.PACKAGE.requirement, words.PACKAGE.filename, "0" * 64, "MIT")
    with pytest.raises(BuildError, match=r"cannot download symspellpy==6\.10\.1"):
        download.fetch(wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_download_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRNN_TVM_CACHE", str(tmp_path))
    (tmp_path / words.PACKAGE.filename).write_bytes(b"half a file")
    path = download.fetch(words.PACKAGE)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == words.PACKAGE.sha256


def test_example_names_are_those_of_the_shell() -> None:
    from irnn_tvm.cli import Example

    assert {example.value for example in Example} == set(EXAMPLES)
