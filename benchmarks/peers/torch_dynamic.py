"""PyTorch's dynamic quantization: int8 weights, activations quantized in every call, gates in float."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn
from workloads import Workload

from peers import only_plain

NAME = "torch dynamic int8"


def prepare(workload: Workload, steps: int) -> Callable[[], object]:
    only_plain(workload)
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.ao.quantization.quantize_dynamic(
            workload.network(), {nn.LSTM, nn.GRU}, dtype=torch.qint8
        )
    x = torch.randn(1, steps, workload.hidden)

    def run() -> object:
        with torch.inference_mode():
            return network(x)

    return run
