"""Quantized networks, made once per worker, and their libraries, built once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.export
from float_networks import NETWORKS

import irnn_tvm
from irnn_tvm import IntegerModel, Library

BATCHES = {
    **{
        "layer-norm-lstm": 2,
        "mad-norm-gru": 3,
        "pooled-classifier": 3,
        "pooled-windows": 2,
        "normed-stream": 2,
    },
    **{"residual": 3, "bigru": 2, "gru-reset-before": 2, "attention-pooling": 2, "transformer-block": 3},
    **{"variants-bidirectional": 2, "highway": 2, "lstm-projected-states": 3, "rnn-cell": 2},
    **{"causal-attention": 2, "attention-by-hand": 2, "attention-decoder": 2, "own-past": 2},
}


@pytest.fixture(scope="session")
def quantized() -> Callable[[str], IntegerModel]:
    """quantized("stacked-lstm"): the integer model of a row of NETWORKS."""

    @cache
    def get(name: str) -> IntegerModel:
        torch.manual_seed(len(name))
        network = NETWORKS[name]
        batches = [network.example(4, network.calibration_steps) for _ in range(3)]
        return irnn_tvm.quantize(network.make().eval(), batches, irnn_tvm.QuantConfig(pwl_pieces=16))

    return get


@pytest.fixture(scope="session")
def exported(quantized: Callable[[str], IntegerModel]) -> Callable[[str, int], torch.export.ExportedProgram]:
    """exported("bigru", 2): its exported program for a batch of 2."""
    return cache(lambda name, batch: irnn_tvm.export_program(quantized(name), batch=batch))


@pytest.fixture(scope="session")
def batch_of() -> Callable[[str], int]:
    """batch_of("bigru"): the batch that its library is built for."""
    return lambda name: BATCHES.get(name, 1)


@pytest.fixture(scope="session")
def library(
    built: Callable[..., Library],
    exported: Callable[[str, int], torch.export.ExportedProgram],
    batch_of: Callable[[str], int],
) -> Callable[[str, str], Library]:
    """library("bigru", "arm")"""

    def get(name: str, target: str) -> Library:
        batch = batch_of(name)
        return built(f"model-{name}", target, lambda: exported(name, batch), batch=batch)

    return get
