"""weight_norm, spectral_norm, pruning, parametrize: the integers are those of the effective weights, and training
reaches the originals."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from effective_weights import KINDS, RECURRENT, front, own, recurrent
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from twins import loss_of

import irnn_tvm

CONFIG = irnn_tvm.QatConfig(irnn_tvm.QuantConfig(pwl_pieces=8), observe_steps=2)
FORMS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    f"{name}, {kind}": (lambda n=name, k=kind: recurrent(n, k), lambda: torch.randn(4, 9, 7))
    for name in RECURRENT
    for kind in KINDS
}
FORMS |= {f"front, {kind}": (lambda k=kind: front(k), lambda: torch.randint(0, 11, (4, 9))) for kind in KINDS}
FORMS |= {f"own, {kind}": (lambda k=kind: own(k), lambda: torch.randn(4, 9, 7)) for kind in KINDS}
SAMPLE = {
    f"{(*RECURRENT, 'front', 'own')[n % 9 if n >= len(KINDS) - 1 else 0]}, {[*KINDS][n % (len(KINDS) - 1)]}"
    for n in range(16)
}
EVERY = pytest.mark.parametrize(
    "form",
    [
        pytest.param(form, marks=[] if form in SAMPLE else [pytest.mark.exhaustive])
        for form in FORMS
        if not form.endswith("none")
    ],
)


def plain(form: str, model: nn.Module, x: Tensor) -> nn.Module:
    """The same network with its effective weights, after a call, as ordinary parameters."""
    ordinary = FORMS[form.split(", ", 1)[0] + ", none"][0]()
    training = model.training
    with torch.no_grad():
        model.eval()(x)
        for name, parameter in ordinary.named_parameters():
            path, _, attribute = name.rpartition(".")
            parameter.copy_(getattr(model.get_submodule(path), attribute))
        for name, buffer in ordinary.named_buffers():
            buffer.copy_(model.get_buffer(name))
    model.train(training)
    return ordinary.eval()


def integers(model: irnn_tvm.IntegerModel) -> list[Tensor]:
    return list(model.state_dict().values())


@EVERY
def test_the_integers_are_of_the_effective_weights(form: str) -> None:
    make, batch = FORMS[form]
    model, x = make().eval(), batch()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(("_g", "original0")):
                parameter.data.mul_(1.5)  # the attribute that an old hook set is now behind
    before = copy.deepcopy(model.state_dict())
    ours = irnn_tvm.quantize(model, [x])
    theirs = irnn_tvm.quantize(plain(form, model, x), [x])
    assert len(integers(ours)) == len(integers(theirs)) > 0
    for a, b in zip(integers(ours), integers(theirs), strict=True):
        if a.dtype == torch.int8:
            assert torch.equal(a, b)
        elif (
            a.dtype == torch.int32
        ):  # from ranges of float results, whose last bit depends on where weights lie
            assert torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1.0)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@EVERY
def test_training_reaches_the_originals(form: str) -> None:
    make, batch = FORMS[form]
    model = make()
    with torch.no_grad():
        for _ in range(10):
            model(batch())  # a new spectral_norm finds its vectors step by step
    before = copy.deepcopy(model.state_dict())
    twin = irnn_tvm.prepare_qat(model, CONFIG, batch())
    optimizer = torch.optim.Adam(twin.parameters(), 1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        loss = loss_of(twin(batch()))
        loss.backward()
        for name, parameter in twin.named_parameters():
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name
            assert bool((parameter.grad != 0).any()), name
        optimizer.step()
        twin.step(loss)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    twin.eval()
    x = batch()
    integer = irnn_tvm.convert(twin)
    assert torch.equal(twin(x), integer.float_forward(x))
    with torch.no_grad():
        training = twin.train()(x)
    assert float((training - twin.eval()(x)).norm() / training.norm()) < 0.05


def test_pruned_weights_stay_zero() -> None:
    twin = irnn_tvm.prepare_qat(recurrent("lstm", "pruning"), CONFIG, torch.randn(4, 9, 7))
    optimizer = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        loss_of(twin(torch.randn(4, 9, 7))).backward()
        optimizer.step()
        twin.step()
    mask = twin.model.rnn.weight_hh_l0_mask
    (weight,) = [v for n, v in irnn_tvm.convert(twin).state_dict().items() if n.endswith("w_hh")]
    assert bool((weight.reshape(mask.shape)[mask == 0] == 0).all())
    assert bool((weight != 0).any())
    prune.remove(twin.model.rnn, "weight_hh_l0")


def test_an_outer_cache_is_not_read() -> None:
    """torch's cached() around the call holds what was computed without gradients, or for other weights."""
    twin = irnn_tvm.prepare_qat(recurrent("gru", "user's"), CONFIG, torch.randn(4, 9, 7))
    with parametrize.cached():
        loss_of(twin(torch.randn(4, 9, 7))).backward()
    assert all(p.grad is not None for p in twin.parameters())
    twin.step()
    x = torch.randn(4, 9, 7)
    with parametrize.cached():
        old = twin.eval()(x)
        with torch.no_grad():
            twin.model.out.parametrizations.weight.original.mul_(1.2)
        assert not torch.equal(twin(x), old)


def test_a_model_that_cannot_be_copied_is_named() -> None:
    model = recurrent("gru", "pruning")
    model.rnn.log = open(__file__)  # noqa: SIM115
    with pytest.raises(irnn_tvm.UnsupportedModuleError, match=r"cannot be copied.*'rnn\.log'.*TextIOWrapper"):
        irnn_tvm.prepare_qat(model, CONFIG)
    model.rnn.log.close()
