"""Single operators without a recurrence: microseconds on this machine beside PyTorch, or emulated instructions.

Each is a layer of its own, quantized and built, on a sequence of 100 steps of 256 features (the convolution: 40 to 64
features, three taps). PyTorch computes it eagerly in float32 on one thread, in turns with ours. Prints one JSON object
per line, which `performance.py --add` takes.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peers import ours
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.examples.training.results import commit
from irnn_tvm.targets import TARGETS
from irnn_tvm.tuning import measure
from irnn_tvm.tuning.device.cpu_name import device_name
from irnn_tvm.tuning.instruction_count import count_instructions

STEPS, WIDTH, FEATURES = 100, 256, 40
TARGETS_HERE = (
    "host",
    *(name for name, target in TARGETS.items() if target.emulator is not None and name != "host"),
)
ROUNDS, SLICE = 15, 0.02  # of the wall clock, and seconds of each runtime in a round


class Softmax(nn.Module):
    """Over the features."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, -1)


class Attention(nn.Module):
    """Four heads, every step to all others."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return output


class Convolution(nn.Module):
    """Over time: [B, T, 40] -> [B, T, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(FEATURES, 64, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.convolution(x.transpose(1, 2)).transpose(1, 2)
        return output


class Sum(nn.Module):
    """Of two activations of the same input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) + torch.sigmoid(x)


OPERATORS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "tanh": (nn.Tanh, WIDTH),
    "tanh + sigmoid": (Sum, WIDTH),
    "layer norm": (lambda: nn.LayerNorm(WIDTH), WIDTH),
    "softmax": (Softmax, WIDTH),
    "attention": (Attention, WIDTH),
    "convolution": (Convolution, FEATURES),
}


def rows(names: list[str], targets: list[str], logs: Path | bool | None) -> Iterator[dict[str, Any]]:
    """Quantizes every operator once, builds it for every target, and measures."""
    for name in names:
        torch.manual_seed(0)
        make, width = OPERATORS[name]
        module = make().eval()
        config = irnn_tvm.QuantConfig(weight_rounding="nearest")
        model = irnn_tvm.quantize(module, [torch.randn(4, 16, width) for _ in range(2)], config)
        for target in targets:
            with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
                built = irnn_tvm.build(
                    model,
                    target=target,
                    out=Path(folder) / "op",
                    name="op",
                    max_seq_len=STEPS,
                    tuning_logs=logs,
                )
                row = {"bench": "operator", "workload": name, "T": STEPS, "commit": commit()}
                if target == "host":
                    yield row | _times(built, module, width)
                    continue
                library = irnn_tvm.load(built.directory, emulate=True)
                count = count_instructions(library, "run", measure.example_inputs(library, STEPS), 3)
                emulator = library.where.removeprefix("emulated: ")
                yield row | {"target": target, "instructions": round(count), "emulator": emulator}


def _times(built: irnn_tvm.Library, module: nn.Module, width: int) -> dict[str, Any]:
    """Medians over rounds in which both take turns."""
    x = torch.randn(1, STEPS, width)

    def eager(calls: int) -> float:
        with torch.inference_mode():
            started = time.perf_counter()
            for _ in range(calls):
                module(x)
            return (time.perf_counter() - started) / calls

    timers = (ours.time_c(built, STEPS), eager)
    calls = [max(1, round(SLICE / timer(5))) for timer in timers]
    values = [[timer(n) * 1e6 for timer, n in zip(timers, calls, strict=True)] for _ in range(ROUNDS)]
    mine, theirs = (median(column) for column in zip(*values, strict=True))
    return {
        "us_median": round(mine, 2),
        "float_us_median": round(theirs, 2),
        "cpu": device_name(),
        "instruction_set": TARGETS["host"].simd(),
        "versions": {"torch": torch.__version__},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--target", action="append", choices=TARGETS_HERE, help="default: this machine; repeatable"
    )
    parser.add_argument("--operator", action="append", choices=[*OPERATORS], help="default: all")
    parser.add_argument("--default", action="store_true", help="without tuning logs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    logs = False if arguments.default else None
    for row in rows(arguments.operator or [*OPERATORS], arguments.target or ["host"], logs):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
