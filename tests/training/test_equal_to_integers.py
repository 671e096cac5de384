"""The promise of training: what the twin evaluates to is what the converted model, and the library, compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from trainable import TRAINABLES
from twins import BATCH, STEPS, leaves, shared_integers, shared_twin, training_without_dropout

import irnn_tvm

Trained = Callable[..., irnn_tvm.QatModel]
WIDTHS = {
    "wide": irnn_tvm.QuantConfig(pwl_pieces=8),
    "int8": irnn_tvm.QuantConfig.int8(pwl_pieces=8),
}
# Every network is trained for each of them; half of the networks are a sample.
EVERY_NETWORK_AND_WIDTH = pytest.mark.parametrize(
    ("name", "width"),
    [
        pytest.param(name, width, marks=[] if number % 4 == 2 * place else [pytest.mark.exhaustive])
        for number, name in enumerate(TRAINABLES)
        for place, width in enumerate(WIDTHS)
    ],
)


def _config(width: str, ranges: str = "observed") -> irnn_tvm.QatConfig:
    return irnn_tvm.QatConfig(WIDTHS[width], observe_steps=2, freeze_step=4, ranges=ranges)


@EVERY_NETWORK_AND_WIDTH
def test_evaluation_is_the_integer_model(name: str, width: str) -> None:
    """While ranges are observed and after they are frozen, == after scaling; widths differ in tables and rescaling, for
    which a phase is nothing new."""
    for steps in (1, 6) if width == "wide" else (6,):
        twin, integer = (make(name, _config(width), steps) for make in (shared_twin, shared_integers))
        twin.eval()
        for batch, length in ((BATCH, STEPS), (1, 5), (3, 17)):
            args = TRAINABLES[name].example(batch, length)
            ours, theirs = leaves(twin(*args)), leaves(integer.float_forward(*args))
            assert len(ours) == len(theirs) > 0
            for a, b in zip(ours, theirs, strict=True):
                assert torch.equal(a, b)


@EVERY_NETWORK_AND_WIDTH
def test_training_rounds_as_the_integers_do(name: str, width: str) -> None:
    """float32 cannot tell some ties apart, and a flipped hidden bit is carried on; apart from these they agree."""
    twin = shared_twin(name, _config(width), 6)
    specs = shared_integers(name, _config(width), 6).output_specs
    args = TRAINABLES[name].example(BATCH, STEPS)
    with training_without_dropout(twin):
        training = leaves(twin(*args))
    exact = leaves(twin(*args))
    for ours, theirs, spec in zip(training, exact, specs, strict=True):
        assert spec.scale is not None
        off = (ours.detach() - theirs).abs() / spec.scale
        noise = float((ours.detach() - theirs).norm() / theirs.norm())
        assert noise < 0.02, (noise, float(off.max()))
        if spec.bits == 8:
            assert float((off > 0.5).float().mean()) < 0.1
            assert float(off.max()) < 3.5


@pytest.mark.parametrize("name", ["lstm-stacked-bidirectional", "gru", "language-model"])
def test_learned_ranges_convert(name: str, trained: Trained) -> None:
    twin = trained(name, _config("int8", "learned"), 7).eval()
    assert twin.range_gains is not None
    assert bool((twin.range_gains != 0).any())
    args = TRAINABLES[name].example(2, 5)
    for a, b in zip(leaves(twin(*args)), leaves(irnn_tvm.convert(twin).float_forward(*args)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("target", ["host", "c"])
def test_the_library_computes_what_the_twin_evaluates(target: str, trained: Trained, tmp_path: Path) -> None:
    from irnn_tvm.compiler.compile_sources import compile_c_library

    twin = trained("lstm", _config("wide"), 6).eval()
    integer = irnn_tvm.convert(twin)
    library = irnn_tvm.build(integer, target=target, out=tmp_path / "out")
    if target == "c":
        library = compile_c_library(tmp_path / "out")
    x = torch.randn(1, 23, 7)
    (q,) = integer.quantize_inputs(x)
    assert np.array_equal(library.outputs[0].dequantize(library.run(q.numpy())), twin(x).numpy())


@pytest.mark.parametrize("name", TRAINABLES)
def test_every_weight_gets_a_gradient(name: str) -> None:
    twin = shared_twin(name, _config("wide"), 6).train()
    twin.zero_grad()
    sum((y**2).sum() for y in leaves(twin(*TRAINABLES[name].example(BATCH, STEPS)))).backward()
    for label, parameter in twin.named_parameters():
        assert parameter.grad is not None, label
        assert bool(torch.isfinite(parameter.grad).all()), label
        assert bool((parameter.grad != 0).any()), label
