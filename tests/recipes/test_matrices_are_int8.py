"""Weights are four times smaller: every matrix of the recipes' networks becomes int8, a byte for each weight."""

from collections.abc import Callable

import pytest
import torch
from sequence_samples import job
from torch import nn

import irnn_tvm
from irnn_tvm.examples.language_model.model import VARIANTS, LanguageModel
from irnn_tvm.examples.speech.model import AttentionEncoder, CtcModel, DecoderStep
from irnn_tvm.examples.training.classification import VARIANTS as CLASSIFIERS
from irnn_tvm.examples.training.classification import SequenceClassifier

STEPS, BATCH = 5, 2


def language_model(variant: str) -> tuple[nn.Module, list[object]]:
    model = LanguageModel(20, 12, variant=variant).eval()
    return model, [(torch.randint(0, 20, (BATCH, STEPS)), model.zero_state(BATCH)) for _ in range(2)]


def classifier(variant: str) -> tuple[nn.Module, list[object]]:
    model = SequenceClassifier(variant, 4, 8, 3).eval()
    return model, job(variant).calibration(model)


def speech(part: str) -> tuple[nn.Module, list[object]]:
    if part == "ctc":
        return CtcModel(6, 5, 8, 2, 0.0).eval(), [torch.randn(BATCH, STEPS, 6) for _ in range(2)]
    if part == "encoder":
        return AttentionEncoder(6, 8, 2, 0.0, 0, 4).eval(), [torch.randn(BATCH, STEPS, 6) for _ in range(2)]
    sizes = ((BATCH, 7), (BATCH, 7), (BATCH, 16), (BATCH, STEPS, 4), (BATCH, STEPS, 16))
    lengths = torch.full((BATCH,), STEPS, dtype=torch.int32)
    call = (torch.ones(BATCH, 1, dtype=torch.int64), *(torch.randn(size) for size in sizes), lengths)
    return DecoderStep(5, 3, 7, 16, 4, 0.0).eval(), [call, call]


@pytest.mark.parametrize(
    ("make", "variant"),
    [
        *((language_model, v) for v in VARIANTS),
        *((classifier, v) for v in CLASSIFIERS),
        *((speech, part) for part in ("ctc", "encoder", "decoder")),
    ],
)
def test_matrices(make: Callable[[str], tuple[nn.Module, list[object]]], variant: str) -> None:
    torch.manual_seed(0)
    model, batches = make(variant)
    integer = irnn_tvm.quantize(model, batches)
    matrices = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    # A table that two layers share is one constant of the library: equal tensors count once.
    found = {
        t.numpy().tobytes(): t.nbytes
        for t in integer.state_dict().values()
        if t.dtype == torch.int8 and t.dim() > 1
    }
    assert sum(found.values()) == matrices
