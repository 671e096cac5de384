"""Attention in the quantizer: the ways of writing it, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comparing import sqnr, tensors
from torch import Tensor, nn
from torch.nn import functional as F

from irnn_tvm.errors import InputError, UnsupportedModuleError
from irnn_tvm.nn import AdditiveAttention, GrowingMemory, causal_mask, lengths_to_mask, masked_softmax
from irnn_tvm.quantization import QuantConfig, quantize

FAST = QuantConfig(pwl_pieces=32)


class Call(nn.Module):
    """A function of tensors and layers as a model."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def x(*shape: int) -> Tensor:
    return torch.randn(*shape)


def one_sided(attention: AdditiveAttention) -> AdditiveAttention:
    """Sharp scores that are hardly ever negative, as those of a network that points at one place after the other."""
    with torch.no_grad():
        attention.score.copy_(3.0 * attention.score.abs() + 1.0)
        attention.query_projection.bias.add_(1.0)
    return attention


def lengths(b: int, most: int) -> Tensor:
    return torch.randint(1, most + 1, (b,))


def padded(n: int, t: int) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (x(n, t, 8), lengths(n, t))


def _mha(**options: Any) -> Callable[..., Call]:
    return lambda function: Call(function, mha=nn.MultiheadAttention(8, 2, **options))


def _own_softmax(m: Any, a: Tensor, n: Tensor) -> Tensor:
    return masked_softmax(a @ a.mT / 3, lengths_to_mask(n, a.size(1)).unsqueeze(1)) @ a


def _filled(m: Any, a: Tensor, n: Tensor) -> Tensor:
    """Weights over time, the middle axis, as in attention pooling; fill values that only count as minus infinity."""
    mask = torch.logical_not(lengths_to_mask(n, a.size(1))).unsqueeze(-1)
    return (F.softmax(m.score(a).masked_fill(mask, -1e9), dim=1).transpose(1, 2) @ a).squeeze(1)


def _both_masks(m: Any, a: Tensor, n: Tensor) -> Tensor:
    valid = lengths_to_mask(n, a.size(1))[:, None] & causal_mask(a.size(1))
    return F.scaled_dot_product_attention(a, a, a, attn_mask=valid, scale=0.3)


def _both_invalid(m: Any, a: Tensor, n: Tensor) -> Tensor:
    out = ~lengths_to_mask(n, a.size(1)).unsqueeze(1) | ~causal_mask(a.size(1))
    return torch.softmax((a @ a.transpose(-1, -2)).masked_fill(out, float("-inf")), -1) @ a


def _heads(m: Any, a: Tensor) -> Tensor:
    q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (a, 2 * a, a))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


MODELS: dict[str, tuple[Callable[[], Call], Callable[[], tuple[Tensor, ...]]]] = {
    "softmax-module": (lambda: Call(lambda m, a: m.s(a), s=nn.Softmax(1)), lambda: (x(16, 5, 8),)),
    "softmax-method": (lambda: Call(lambda m, a: a.softmax(-1)), lambda: (x(16, 8),)),
    "softmax-then-linear": (
        lambda: Call(lambda m, a: m.out(torch.softmax(a, -1)), out=nn.Linear(8, 3)),
        lambda: (x(64, 8),),
    ),
    "product": (lambda: Call(lambda m, a, b: a @ b), lambda: (x(4, 5, 6), x(4, 6, 7))),
    "product-bmm": (lambda: Call(lambda m, a, b: torch.bmm(a, b.mT)), lambda: (x(4, 5, 6), x(4, 7, 6))),
    "product-rank2": (lambda: Call(lambda m, a, b: a.matmul(b.transpose(0, 1))), lambda: (x(9, 6), x(7, 6))),
    "product-rank4": (
        lambda: Call(lambda m, a, b: torch.matmul(a, b)),
        lambda: (x(2, 3, 4, 5), x(2, 3, 5, 6)),
    ),
    "own-softmax": (lambda: Call(_own_softmax), padded(16, 7)),
    "filled": (lambda: Call(_filled, score=nn.Linear(8, 1)), padded(16, 7)),
    "both-masks": (lambda: Call(_both_masks), padded(16, 7)),
    "both-invalid": (lambda: Call(_both_invalid), padded(16, 7)),
    "heads": (lambda: Call(_heads), lambda: (x(8, 7, 8),)),
    "mha": (lambda: _mha()(lambda m, a: m.mha(a, a, a)[0]), lambda: (x(7, 16, 8),)),
    "mha-unbatched": (lambda: _mha(batch_first=True)(lambda m, a: m.mha(a, a, a)[0]), lambda: (x(90, 8),)),
    "mha-unbatched-weights": (lambda: _mha()(lambda m, a: m.mha(a, a, a)), lambda: (x(90, 8),)),
    "mha-weights": (
        lambda: _mha(batch_first=True)(lambda m, a, b: m.mha(a, b, b)),
        lambda: (x(16, 5, 8), x(16, 9, 8)),
    ),
    "mha-weights-of-heads": (
        lambda: _mha()(lambda m, a: m.mha(a, a, a, average_attn_weights=False)),
        lambda: (x(7, 16, 8),),
    ),
    "mha-weights-masked": (
        lambda: _mha(batch_first=True)(
            lambda m, a, n: m.mha(
                a, a, a, key_padding_mask=~lengths_to_mask(n, a.size(1)), attn_mask=~causal_mask(a.size(1))
            )
        ),
        padded(16, 7),
    ),
    "mha-constant-causal-mask": (
        lambda: _mha(batch_first=True, bias=False)(
            lambda m, a: m.mha(a, a, a, attn_mask=~causal_mask(7), need_weights=False, is_causal=True)[0]
        ),
        lambda: (x(16, 7, 8),),
    ),
    "additive-without-lengths": (
        lambda: Call(lambda m, q, k, v: m.a(q, k, v), a=AdditiveAttention(5, 6, 4)),
        lambda: (x(16, 3, 5), x(16, 9, 6), x(16, 9, 7)),
    ),
    "additive-one-sided-scores": (
        lambda: Call(lambda m, q, k: m.a(q, k), a=one_sided(AdditiveAttention(5, 6, 8))),
        lambda: (x(16, 3, 5), x(16, 40, 6)),
    ),
    "additive-one-feature": (
        lambda: Call(lambda m, q, k: m.a(q, k)[0], a=AdditiveAttention(1, 1, 1)),
        lambda: (x(64, 1), x(64, 4, 1)),
    ),
}
# Weights that a few steps of the scores decide on; means of 90 vectors, small beside what they are the means of.
LOW = {"softmax-then-linear": 22.0, "additive-one-feature": 22.0, "mha-unbatched-weights": 17.0}


@pytest.mark.parametrize("config", [FAST, QuantConfig.int8()], ids=["wide", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_ways_of_writing_it(name: str, config: QuantConfig) -> None:
    torch.manual_seed(11)
    make, example = MODELS[name]
    model = make().eval()
    batches = [example() for _ in range(12)]
    integer = quantize(model, batches, config)
    for batch in batches[:3]:
        exact, ours = tensors(model(*batch)), tensors(integer.float_forward(*batch))
        assert len(exact) == len(ours)
        for a, b in zip(exact, ours, strict=True):
            least = LOW.get(name, 27.0 if config is FAST else 20.0)
            assert sqnr(a, b) > least, sqnr(a, b)


def test_the_report_has_a_row_per_attention() -> None:
    make, example = MODELS["additive-without-lengths"]
    rows = quantize(make().eval(), [example() for _ in range(3)], FAST).report
    assert [(r.layer, r.tensor) for r in rows if r.op == "attention"] == [("a", "output"), ("a", "weights")]


@pytest.mark.parametrize(
    ("function", "inputs", "text"),
    [
        (lambda m, a: torch.softmax(a.masked_fill(a > 0, -1e9), -1), (x(3, 8),), "gt has no integer version"),
        (
            lambda m, a, n: a.masked_fill(~lengths_to_mask(n, 8), float("-inf")) * 2.0,
            (x(3, 8), lengths(3, 8)),
            "its result is read by mul; supported: softmax",
        ),
        (
            lambda m, a, n: F.log_softmax(a.masked_fill(~lengths_to_mask(n, 8), -1e9), -1).argmax(-1),
            (x(3, 8), lengths(3, 8)),
            "its result is read by log_softmax; supported: softmax",
        ),
        (
            lambda m, a, n: torch.softmax(a.masked_fill(~lengths_to_mask(n, 8), 0.0), -1),
            (x(3, 8), lengths(3, 8)),
            "supported with -inf",
        ),
        (
            lambda m, a, n: torch.softmax(a.masked_fill(lengths_to_mask(n, 8), -1e9), -1),
            (x(3, 8), lengths(3, 8)),
            "True in its mask means positions that are left out; this mask marks the others: use ~mask",
        ),
        (
            lambda m, a, n: masked_softmax(a, lengths_to_mask(n, 8).unsqueeze(1)),
            (x(3, 3, 8), lengths(3, 8)),
            None,
        ),
        (
            lambda m, a, n: masked_softmax(a, lengths_to_mask(n, 8)),
            (x(3, 3, 8), lengths(3, 8)),
            r"mask has shape \(3, 8\), which does not lie over scores \(3, 3, 8\); supported: \(3, 1, 8\)",
        ),
        (
            lambda m, a, n: torch.softmax(a.masked_fill(~lengths_to_mask(n, 3).T, -1e9), 0),
            (x(3, 8), lengths(8, 3)),
            "lengths belong to sequences, the first axis",
        ),
        (
            lambda m, a, n: (a.softmax(-1), lengths_to_mask(n, 8)),
            (x(3, 8), lengths(3, 8)),
            "returns something that is not a tensor",
        ),
        (
            lambda m, a: F.scaled_dot_product_attention(a, a, a, attn_mask=torch.zeros(5, 5)),
            (x(3, 5, 8),),
            "its mask is .*supported: irnn_tvm.nn.lengths_to_mask",
        ),
        (
            lambda m, a: F.scaled_dot_product_attention(a, a, a, attn_mask=torch.eye(5).bool()),
            (x(3, 5, 8),),
            "a constant mask has an integer version when it is causal",
        ),
        (
            lambda m, a: F.scaled_dot_product_attention(a, a, a, dropout_p=0.1),
            (x(3, 5, 8),),
            "is random",
        ),
        (
            lambda m, a: F.scaled_dot_product_attention(a, a[:1], a[:1]),
            (x(3, 5, 8),),
            "equal leading sizes",
        ),
        (
            lambda m, a: F.scaled_dot_product_attention(a, a, a, scale=-1.0),
            (x(3, 5, 8),),
            "scale=-1.0 is not supported",
        ),
        (lambda m, a: a @ a[0].transpose(0, 1), (x(3, 5, 8),), "expand the smaller one"),
        (lambda m, a: lengths_to_mask(a, 8), (x(3),), "expected int32 or int64"),
        (
            lambda m, a, n, k: (
                (a @ a.mT)
                .masked_fill(~lengths_to_mask(n, 5)[:, None] | ~lengths_to_mask(k, 5)[:, None], -1e9)
                .softmax(-1)
            ),
            (x(3, 5, 8), lengths(3, 5), lengths(3, 5)),
            "masks of two different lengths",
        ),
        (
            lambda m, a, n: (
                (a @ a.mT).masked_fill(~lengths_to_mask(n, 5)[:, None] & ~causal_mask(5), -1e9).softmax(-1)
            ),
            (x(3, 5, 8), lengths(3, 5)),
            r"combined with &, their opposites with \|",
        ),
    ],
)
def test_refused_code(function: Callable[..., Any], inputs: tuple[Tensor, ...], text: str | None) -> None:
    model = Call(function)
    if text is None:
        quantize(model, [inputs], FAST)
        return
    with pytest.raises((UnsupportedModuleError, InputError), match=text):
        quantize(model, [inputs], FAST)


@pytest.mark.parametrize(
    ("layer", "function", "text"),
    [
        (nn.MultiheadAttention(8, 2, add_bias_kv=True), lambda m, a: m.mha(a, a, a)[0], "add_bias_kv"),
        (nn.MultiheadAttention(8, 2, add_zero_attn=True), lambda m, a: m.mha(a, a, a)[0], "add_zero_attn"),
        (
            nn.MultiheadAttention(8, 2),
            lambda m, a: m.mha(a, a, a, attn_mask=torch.zeros(5, 5))[0],
            "its mask is .*supported",
        ),
        (
            nn.MultiheadAttention(8, 2),
            lambda m, a: m.mha(a, a, a, attn_mask=causal_mask(5).flip(0))[0],
            "a constant mask has an integer version when it is causal",
        ),
    ],
)
def test_refused_layers(layer: nn.Module, function: Callable[..., Any], text: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=text):
        quantize(Call(function, mha=layer), [x(5, 3, 8)], FAST)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: AdditiveAttention(0, 4, 4), "every size must be at least 1"),
        (lambda: AdditiveAttention(4, 4, 5, project_keys=False), "projected keys have 5 features"),
        (lambda: AdditiveAttention(4, 5, 6)(x(2, 4), x(3, 7, 5)), "batch sizes"),
        (lambda: AdditiveAttention(4, 5, 6)(x(2, 5), x(2, 7, 5)), "expected 4 and 5 features"),
        (lambda: AdditiveAttention(4, 5, 6)(x(4), x(2, 7, 5)), "expected query"),
        (lambda: AdditiveAttention(4, 5, 6)(x(2, 4), x(2, 7, 5), None, lengths(3, 7)), "lengths have shape"),
        (lambda: GrowingMemory()(x(2, 7, 5), lengths(2, 7), x(2, 4)), "do not fit"),
        (lambda: GrowingMemory()(x(2, 7, 5), lengths(3, 7), x(2, 5)), "length has shape"),
    ],
)
def test_refused_by_the_float_layers(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()


def test_a_head_size_that_does_not_divide() -> None:
    """torch's layer refuses it; a hand-made program is refused when it is built (tests/bitexact/test_contract.py)."""
    with pytest.raises(AssertionError, match="divisible"):
        nn.MultiheadAttention(8, 3)


def test_a_length_beyond_a_memory_is_refused() -> None:
    model = Call(lambda m, a, n, b: m.a(a, n, b), a=GrowingMemory())
    memory, new = x(3, 4, 8), x(3, 8)
    integer = quantize(model, [(memory, torch.tensor([0, 5, 7]), new)], FAST)
    with pytest.raises(InputError, match=r"holds index 8, outside 0\.\.7"):
        integer.float_forward(memory, torch.tensor([0, 5, 8]), new)


def test_no_key_is_valid() -> None:
    """The float layers and their integers agree: weights 0, context 0, finite gradients."""
    torch.manual_seed(0)
    layer = AdditiveAttention(4, 5, 6)
    query, keys = x(3, 4), x(3, 7, 5)
    with torch.enable_grad():
        context, weights = layer(query, keys, lengths=torch.tensor([0, 7, 2]))
        (context.sum() + weights.square().sum()).backward()
    assert not context[0].any()
    assert not weights[0].any()
    assert not weights[2, 2:].any()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in layer.parameters())
    model = Call(lambda m, q, k, n: m.a(q, k, lengths=n), a=layer)
    integer = quantize(model, [(query, keys, torch.tensor([0, 7, 2]))], FAST)
    ours = integer.float_forward(query, keys, torch.tensor([7, 0, 2]))
    assert not ours[0][1].any()
    assert not ours[1][1].any()
