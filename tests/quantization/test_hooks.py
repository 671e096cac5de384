"""Hooks, and forwards that are replaced or overridden, are part of what a model computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comparing import sqnr
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.quantization import QuantConfig, quantize

FAST = QuantConfig(gate_bits=8, cell_bits=8)


class Doubling(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


class Named(nn.Linear):
    """A subclass that changes nothing that forward runs."""

    def extra_repr(self) -> str:
        return "named"

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight)
        nn.init.zeros_(self.bias)


class OtherConvolution(nn.Conv1d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight * 0.5, bias)


def two() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))


def forward_hook(m: nn.Sequential) -> None:
    m[0].register_forward_hook(lambda layer, args, out: out.relu())


def forward_hook_in_place(m: nn.Sequential) -> None:
    def hook(layer: nn.Module, args: Any, out: Tensor) -> None:
        F.relu(out, inplace=True)

    m[0].register_forward_hook(hook)


def pre_hook(m: nn.Sequential) -> None:
    m[1].register_forward_pre_hook(lambda layer, args: (args[0] * 2,))


def pre_hook_with_keywords(m: nn.Sequential) -> None:
    m[1].register_forward_pre_hook(lambda layer, args, kwargs: ((args[0] * 0.5,), kwargs), with_kwargs=True)


def hook_of_the_model(m: nn.Sequential) -> None:
    m.register_forward_hook(lambda layer, args, out: out + args[0])


def replaced_forward(m: nn.Sequential) -> None:
    own = m[0].forward
    m[0].forward = lambda x: own(x).tanh()


def replaced_forward_of_the_model(m: nn.Sequential) -> None:
    m.forward = lambda x: m[1](m[0](x).sigmoid())


def overridden_forward(m: nn.Sequential) -> None:
    m[0] = Doubling(8, 8)


def subclass_without_changes(m: nn.Sequential) -> None:
    m[0] = Named(8, 8)


def hook_that_measures(m: nn.Sequential) -> None:
    def hook(layer: nn.Module, args: Any, out: Tensor) -> None:
        assert float(out.detach().abs().max()) >= 0.0

    m[0].register_forward_hook(hook)


def pruned(m: nn.Sequential) -> None:
    prune.random_unstructured(m[0], "weight", 0.5)


def normalised(m: nn.Sequential) -> None:
    m[0] = parametrizations.weight_norm(nn.Linear(8, 8))
    m[1] = parametrizations.spectral_norm(nn.Linear(8, 8))
    parametrizations.spectral_norm(m[1]) if False else None


def hook_beside_pruning(m: nn.Sequential) -> None:
    prune.l1_unstructured(m[0], "weight", 0.5)
    m[0].register_forward_hook(lambda layer, args, out: out * 2)


HONOURED = (
    forward_hook, forward_hook_in_place, pre_hook, pre_hook_with_keywords, hook_of_the_model, replaced_forward,
    replaced_forward_of_the_model, overridden_forward, subclass_without_changes, hook_that_measures, pruned, normalised,
    hook_beside_pruning,
)  # fmt: skip


@pytest.mark.parametrize("change", HONOURED)
def test_it_takes_part(change: Callable[[nn.Sequential], None]) -> None:
    model = two().eval()
    plain = model(torch.ones(1, 8))
    change(model)
    batches = [torch.randn(30, 8) for _ in range(2)]
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks), dict(vars(m))) for m in model.modules()]
    integer = quantize(model, batches, FAST)
    assert sqnr(model(batches[0]), integer.float_forward(batches[0])) > 30
    after = [(dict(m._forward_hooks), dict(m._forward_pre_hooks), dict(vars(m))) for m in model.modules()]
    assert [[list(part) for part in parts] for parts in after] == [
        [list(p) for p in parts] for parts in hooks
    ]
    assert plain.shape == (1, 8)


def test_what_a_hook_collects_stays_the_users() -> None:
    model = two().eval()
    outputs: list[Tensor] = []
    by_name: dict[str, Tensor] = {}

    class Recorder:
        def __init__(self) -> None:
            self.last: Tensor | None = None

        def hook(self, layer: nn.Module, args: Any, out: Tensor) -> None:
            self.last = out

    recorder = Recorder()
    model[0].register_forward_hook(lambda layer, args, out: outputs.append(out))
    model[1].register_forward_hook(lambda layer, args, out: by_name.update(head=out))
    model[1].register_forward_hook(recorder.hook)
    x = torch.randn(30, 8)
    quantize(model, [x], FAST)
    assert (outputs, by_name, recorder.last) == ([], {}, None)
    model(x)
    assert len(outputs) == len(by_name) == 1
    assert isinstance(recorder.last, Tensor)


def test_hooks_of_recurrent_layers() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x)[0]

    model = Model().eval()
    model.gru.register_forward_hook(lambda layer, args, out: (out[0] * 2, out[1]))
    model.gru.register_forward_pre_hook(lambda layer, args: (args[0].tanh(), *args[1:]))
    x = torch.randn(6, 3, 8)
    integer = quantize(model, [x], FAST)
    assert sqnr(model(x), integer.float_forward(x)) > 20


def test_global_hooks() -> None:
    model = two().eval()
    handle = nn.modules.module.register_module_forward_hook(
        lambda layer, args, out: out * 2 if isinstance(layer, nn.Linear) else None
    )
    try:
        x = torch.randn(30, 8)
        integer = quantize(model, [x], FAST)
        assert sqnr(model(x), integer.float_forward(x)) > 30
    finally:
        handle.remove()


def test_a_hook_that_cannot_be_captured_is_refused() -> None:
    model = two().eval()
    model[0].register_forward_hook(lambda layer, args, out: torch.from_numpy(out.detach().numpy() * 2))
    with pytest.raises(UnsupportedModuleError, match=r"[Hh]ook of layer '0'|compute what the model does"):
        quantize(model, [torch.randn(30, 8)], FAST)


def test_a_method_that_forward_calls_is_not_ignored() -> None:
    model = nn.Sequential(OtherConvolution(8, 8, 3)).eval()
    x = torch.randn(2, 8, 9)
    try:
        integer = quantize(model, [x], FAST)
    except UnsupportedModuleError:
        return
    assert sqnr(model(x), integer.float_forward(x)) > 30
