"""The examples' networks as ONNX graphs compute what PyTorch does; random weights, so that nothing is downloaded."""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch

from irnn_tvm.examples.g2p import model as g2p
from irnn_tvm.examples.textgenrnn import model as textgenrnn

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.mark.parametrize("streaming", [False, True])
def test_text(streaming: bool) -> None:
    torch.manual_seed(0)
    network = textgenrnn.Features(50).eval()
    session = models.session_features(network, quantized=False, streaming=streaming)
    for length in (1, 7, 30):
        ids = np.random.default_rng(length).integers(0, 50, length)
        with torch.inference_mode():
            expected = [y[0].numpy() for y in network(torch.from_numpy(ids)[None])]
        for found in (session(ids), models.torch_features(network, streaming)(ids)):
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_phonemes() -> None:
    torch.manual_seed(0)
    encoder, decoder = g2p.Encoder().eval(), g2p.Decoder().eval()
    with torch.no_grad():
        for parameter in (*encoder.parameters(), *decoder.parameters()):
            parameter *= 4  # outputs that differ from word to word
    pronounce = models.g2p_session(encoder, decoder, quantized=False)
    words = ["a", "word", "another", "recurrence"]
    expected = [g2p.predict(encoder, decoder, word) for word in words]
    assert [pronounce(word) for word in words] == expected
    assert len({tuple(phonemes) for phonemes in expected}) == len(words)
