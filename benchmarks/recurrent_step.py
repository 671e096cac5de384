"""One recurrent layer per row: time of a step where it runs on this machine, instructions under QEMU.

Prints one JSON object per line; README.md in this folder explains the keys.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from layers import CELLS
from torch import nn
from workloads import Workload

import irnn_tvm
from irnn_tvm.examples.training.results import commit
from irnn_tvm.targets import TARGETS
from irnn_tvm.tuning import measure
from irnn_tvm.tuning.device.cpu_name import device_name


def row(cell: str, hidden: int, target: str, steps: int) -> dict[str, Any]:
    """Builds and measures one layer whose input is as wide as its state."""
    layer = Workload(cell, hidden).network()
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
    return {
        "device": device_name(),
        "commit": commit(),
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
