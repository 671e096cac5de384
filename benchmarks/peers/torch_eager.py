"""PyTorch in float32, eager, with oneDNN and without it: the faster one of the two depends on the sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from workloads import Workload

NAME = "torch f32"


def prepare(workload: Workload, steps: int) -> Callable[[], object]:
    torch.set_num_threads(1)
    network, x = workload.network(), torch.randn(1, steps, workload.hidden)

    def run() -> object:
        with torch.inference_mode():
            return network(x)

    return run


def prepare_without_onednn(workload: Workload, steps: int) -> Callable[[], object]:
    run = prepare(workload, steps)

    def plain() -> object:
        with torch.backends.mkldnn.flags(enabled=False):
            return run()

    return plain
