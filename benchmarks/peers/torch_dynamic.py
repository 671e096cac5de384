"""PyTorch's dynamic quantization: int8 weights, activations quantized in every call, gates in float."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from workloads import Workload

from peers import Inference, only_plain, torch_eager

NAME = "torch dynamic int8"


def prepare(workload: Workload, steps: int, batch: int) -> Inference:
    only_plain(workload)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.ao.quantization.quantize_dynamic(
            workload.network(), {nn.LSTM, nn.GRU}, dtype=torch.qint8
        )
    return torch_eager.inference(network.rnn, workload, steps, batch)
