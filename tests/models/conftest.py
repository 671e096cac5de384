"""Quantized networks, made once per worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.export
from float_networks import NETWORKS

import irnn_tvm
from irnn_tvm import IntegerModel


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
