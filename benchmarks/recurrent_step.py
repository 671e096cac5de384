"""One recurrent layer per row: time of a step where it runs on this machine, instructions under QEMU.

Prints one JSON object per line; README.md in this folder explains the keys.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.targets import TARGETS
from irnn_tvm.tuning import measure

CELLS: dict[str, type[nn.Module]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Layer(nn.Module):
    """float32 [B, T, X] -> [B, T, H]."""

    def __init__(self, cell: str, features: int, hidden: int) -> None:
        super().__init__()
        self.rnn = CELLS[cell](features, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


def row(cell: str, hidden: int, target: str, steps: int) -> dict[str, Any]:
    """Builds and measures one layer whose input is as wide as its state."""
    torch.manual_seed(0)
    layer = Layer(cell, hidden, hidden).eval()
    model = irnn_tvm.quantize(layer, [torch.randn(4, 16, hidden) for _ in range(2)])
    with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
        library = irnn_tvm.build(model, target=target, out=Path(folder) / "library", name=f"{cell}_{hidden}")
        result: dict[str, Any] = {"bench": "recurrent_step", "cell": cell, "input": hidden, "hidden": hidden}
        result |= measure.library(measure.runnable(library.directory), steps=steps)
        if "us_per_step" in result:
            result["float_us_per_step"] = _float_us_per_step(layer, hidden, steps)
        keys = ("macs_per_step", "flash_bytes", "state_bytes", "arena_bytes")
        return result | {key: library.report.get(key) for key in keys} | _environment()


def _float_us_per_step(layer: nn.Module, features: int, steps: int, seconds: float = 0.5) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        x, times = torch.randn(1, steps, features), []
        deadline = time.perf_counter() + seconds
        with torch.inference_mode():
            while time.perf_counter() < deadline or len(times) < 5:
                start = time.perf_counter()
                layer(x)
                times.append(time.perf_counter() - start)
        return round(median(times) * 1e6 / steps, 3)
    finally:
        torch.set_num_threads(threads)


def _environment() -> dict[str, Any]:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return {
        "device": measure.device_name(),
        "commit": done.stdout.strip() or None,
        "versions": {name: version(name) for name in ("apache-tvm", "torch")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: host; repeatable")
    parser.add_argument("--cell", action="append", choices=list(CELLS), help="default: both; repeatable")
    parser.add_argument("--hidden", action="append", type=int, help="default: 128 and 256; repeatable")
    parser.add_argument("--steps", type=int, default=32, help="sequence length of one call")
    arguments = parser.parse_args()
    for target in arguments.target or ["host"]:
        for cell in arguments.cell or list(CELLS):
            for hidden in arguments.hidden or [128, 256]:
                print(json.dumps(row(cell, hidden, target, arguments.steps)), flush=True)


if __name__ == "__main__":
    main()
