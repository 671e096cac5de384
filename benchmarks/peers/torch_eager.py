"""PyTorch in float32, eager, with oneDNN and without it: the faster one of the two depends on the sequence."""

from __future__ import annotations

import torch
from torch import nn
from workloads import Workload

from peers import Inference, example

NAME, NAME_PLAIN = "torch f32", "torch f32, no oneDNN"


def prepare(workload: Workload, steps: int, batch: int) -> Inference:
    return inference(workload.network().rnn, workload, steps, batch)


def inference(layer: nn.Module, workload: Workload, steps: int, batch: int) -> Inference:
    """A call of a layer that takes and gives a state, as nn.LSTM does."""
    torch.set_num_threads(1)
    x = example(steps, batch, workload.hidden)
    shared = torch.from_numpy(x)
    if not workload.streams(steps):

        def run() -> torch.Tensor:
            with torch.inference_mode():
                output: torch.Tensor = layer(shared)[0]
                return output

    else:
        state = None

        def run() -> torch.Tensor:
            nonlocal state
            with torch.inference_mode():
                output: torch.Tensor
                output, state = layer(shared, state)
                return output

    return Inference(x, run, lambda output: output.numpy())


def prepare_without_onednn(workload: Workload, steps: int, batch: int) -> Inference:
    inner = prepare(workload, steps, batch)

    def run() -> torch.Tensor:
        with torch.backends.mkldnn.flags(enabled=False):
            output: torch.Tensor = inner.run()
            return output

    return Inference(inner.x, run, inner.output)
