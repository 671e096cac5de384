"""What is special about models with attention: explicit states, lengths, rows without a key, memory, accuracy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from attention_networks import ATTENTION
from float_networks import NETWORKS, flat
from torch import Tensor, nn

import irnn_tvm
import irnn_tvm.nn
from irnn_tvm import IntegerModel, Library
from irnn_tvm.errors import InputError

Quantized = Callable[[str], IntegerModel]
Libraries = Callable[[str, str], Library]
TARGETS = ["host", "c", "cortex-m4"]
# Least signal to noise ratio of every float output, in dB, on data that calibration did not see.
SQNR = {
    "attention-pooling": 38.0,
    "transformer-block": 33.0,
    "causal-attention": 29.0,
    "attention-by-hand": 32.0,
    "attention-decoder": 33.0,
    "location-attention": 33.0,
    "cross-attention": 37.0,
    "own-past": 34.0,
}


def _arrays(tensors: tuple[Tensor, ...]) -> list[np.ndarray]:
    return [t.to(torch.int32).numpy() if t.dtype == torch.int64 else t.numpy() for t in tensors]


@pytest.mark.parametrize("name", ATTENTION)
def test_close_to_the_float_model(name: str) -> None:
    torch.manual_seed(5)
    network = NETWORKS[name]
    model = network.make().eval()
    integer = irnn_tvm.quantize(model, [network.example(256, 12) for _ in range(4)])
    inputs = network.example(16, 12)
    with torch.no_grad():
        exact, ours = flat(model(*inputs)), flat(integer.float_forward(*inputs))
    for a, b in zip(exact, ours, strict=True):
        if a.is_floating_point():
            sqnr = 10 * torch.log10((a**2).sum() / ((a - b) ** 2).sum())
            assert sqnr > SQNR[name], float(sqnr)
        else:
            assert torch.equal(a, b.to(a.dtype))


@pytest.mark.parametrize("target", TARGETS)
def test_a_decoder_attends_step_by_step(target: str, quantized: Quantized, library: Libraries) -> None:
    """Token, hidden state and context go round; the encoder's memory and its lengths stay."""
    model = quantized("attention-decoder")
    memory, lengths = torch.randn(2, 13, 9), torch.tensor([13, 4])
    start = torch.tensor([1, 2]), torch.zeros(2, 11), torch.zeros(2, 9), memory, lengths
    token, h, context, memory, lengths = model.quantize_inputs(*start)
    ours = _arrays((h, context))
    stream = library("attention-decoder", target).stream()
    for _ in range(7):
        logits, h, context, weights = model(token, h, context, memory, lengths)
        got = stream.step(*_arrays((token,)), *ours, *_arrays((memory, lengths)))
        for a, b in zip(got, (logits, h, context, weights), strict=True):
            assert np.array_equal(a, b.numpy())
        ours = [got[1], _as_input(model, got[2])]
        h, context = torch.from_numpy(ours[0]), torch.from_numpy(ours[1])
        token = logits.argmax(-1)


def _as_input(model: IntegerModel, context: np.ndarray) -> np.ndarray:
    """The context that came out, with the parameters of the context that goes in."""
    spec, source = model.input_specs[2], model.output_specs[2]
    assert spec.scale is not None
    assert source.scale is not None
    real = source.scale * (context.astype(np.float64) - (source.zero_point or 0))
    q = np.clip(np.floor(real / spec.scale + 0.5) + (spec.zero_point or 0), -128, 127)
    return q.astype(np.int8)


@pytest.mark.parametrize("target", TARGETS)
def test_a_memory_grows_beyond_its_capacity(target: str, quantized: Quantized, library: Libraries) -> None:
    """Memory and length that come out go in again, through several rounds of forgetting; 7 rows are kept."""
    model = quantized("own-past")
    x, memory, length = model.quantize_inputs(torch.zeros(2, 6), torch.zeros(2, 7, 8), torch.zeros(2).long())
    ours = _arrays((memory, length))
    stream = library("own-past", target).stream()
    for t in range(17):
        (x, *_) = model.quantize_inputs(torch.randn(2, 6), torch.zeros(2, 7, 8), torch.zeros(2).long())
        y, memory, length = model(x, memory, length)
        got = stream.step(x.numpy(), *ours)
        for a, b in zip(got, _arrays((y, memory, length)), strict=True):
            assert np.array_equal(a, b)
        ours = list(got[1:])
        assert length.tolist() == [t + 1 if t < 13 else 7 + (t - 13) % 7] * 2


def test_steps_over_a_memory_equal_a_run(quantized: Quantized, library: Libraries) -> None:
    """Cross attention to a memory without time streams."""
    model, built = quantized("cross-attention"), library("cross-attention", "host")
    x, memory = _arrays(model.quantize_inputs(*NETWORKS["cross-attention"].example(1, 12)))
    whole = built.run(x, memory)
    stream = built.stream()
    steps = [stream.step(np.ascontiguousarray(x[:, t : t + 1]), memory) for t in range(12)]
    assert np.array_equal(np.concatenate(steps, axis=1), whole)


@pytest.mark.parametrize("target", TARGETS)
def test_a_sequence_without_keys_attends_to_nothing(
    target: str, quantized: Quantized, library: Libraries
) -> None:
    """Length 0: weights and context are the real value 0, whatever the memory holds."""
    model = quantized("attention-decoder")
    inputs = (torch.tensor([3, 1]), torch.zeros(2, 11), torch.randn(2, 9), torch.randn(2, 13, 9))
    integers = model.quantize_inputs(*inputs, torch.zeros(2).long())
    got = library("attention-decoder", target).run(*_arrays(integers))
    for a, b in zip(got, model(*integers), strict=True):
        assert np.array_equal(a, b.numpy())
    specs = model.output_specs[2:]
    for array, spec in zip(got[2:], specs, strict=True):
        assert set(array.ravel().tolist()) == {spec.zero_point}


@pytest.mark.parametrize(
    ("name", "length"),
    [("attention-decoder", 14), ("attention-decoder", -1), ("own-past", 14), ("transformer-block", 6)],
)
def test_lengths_beyond_the_memory_are_refused(
    name: str, length: int, quantized: Quantized, library: Libraries, batch_of: Callable[[str], int]
) -> None:
    """An error code of the library, for fixed and for run-time numbers of keys; the largest length is accepted."""
    model, built = quantized(name), library(name, "host")
    inputs = _arrays(model.quantize_inputs(*NETWORKS[name].example(batch_of(name), 5)))
    inputs[-1][:] = max(0, length - 1)
    built.run(*inputs)
    inputs[-1][-1] = length
    with pytest.raises(InputError, match="an index input is out of range"):
        built.run(*inputs)


@pytest.mark.emulator
def test_lengths_are_checked_in_firmware(quantized: Quantized, library: Libraries) -> None:
    model, built = quantized("own-past"), library("own-past", "cortex-m4")
    inputs = _arrays(model.quantize_inputs(*NETWORKS["own-past"].example(2, 1)))
    inputs[-1][:] = 14
    with pytest.raises(InputError, match="an index input is out of range"):
        built.run(*inputs)


def test_attention_needs_no_scores_in_memory(quantized: Quantized, tmp_path: Path) -> None:
    """The arena of a Transformer block grows with T, not with its square."""
    sizes = [
        irnn_tvm.build(quantized("transformer-block"), out=tmp_path / str(t), max_seq_len=t).report[
            "arena_bytes"
        ]
        for t in (128, 256, 512)
    ]
    assert sizes[2] - sizes[1] < 2.01 * (sizes[1] - sizes[0])


class _Weights(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores, 1)


@pytest.mark.parametrize("bits", [8, 16])
def test_weights_are_an_output_like_any_other(bits: int) -> None:
    config = irnn_tvm.QuantConfig(gate_bits=bits)
    integer = irnn_tvm.quantize(_Weights(), [torch.randn(3, 5, 4) for _ in range(3)], config)
    (x,) = integer.quantize_inputs(torch.randn(3, 5, 4))
    spec, weights = integer.input_specs[0], integer.dequantize_outputs(integer(x))
    exact = torch.softmax(torch.ops.irnn.dequantize(x, spec.scale, spec.zero_point), 1)
    assert (weights - exact).abs().max() < (0.003 if bits == 8 else 0.001)
    assert integer.output_specs[0].scale == (2.0**-8 if bits == 8 else 2.0**-15)
