"""Time of one training step: the quantization-aware twin beside the float model, in turns, on one thread.

    python benchmarks/qat_step.py [--json] [--rounds 9]

A step is forward, backward and Adam (and the twin's own `step`). A row: the model's sizes, milliseconds of both
(medians) and their ratio, for the phase "frozen", where training spends its time, and for some models the others.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

import irnn_tvm
import irnn_tvm.nn

# (cell, options, hidden, layers, steps, batch)
WORKLOADS: tuple[tuple[str, dict[str, Any], int, int, int, int], ...] = (
    ("lstm", {}, 64, 1, 50, 16),
    ("lstm", {}, 128, 1, 50, 32),
    ("lstm", {}, 256, 2, 35, 32),
    ("lstm", {"bidirectional": True}, 256, 2, 35, 16),
    ("gru", {}, 64, 1, 50, 16),
    ("gru", {}, 256, 2, 35, 32),
    ("lstm", {"proj_size": 64}, 128, 1, 50, 32),
    ("lstm", {"norm": "layer"}, 256, 2, 35, 32),
    ("lstm", {"norm": "mad"}, 256, 2, 35, 32),
    ("lstm", {"mogrify": 2}, 256, 2, 35, 32),
)
CLASSES = 50


class Tagger(nn.Module):
    """A recurrent layer and a linear one on every step."""

    def __init__(self, cell: str, hidden: int, layers: int, options: dict[str, Any]) -> None:
        super().__init__()
        own = set(options) - {"bidirectional", "proj_size"}
        kinds = {"lstm": irnn_tvm.nn.LSTM if own else nn.LSTM, "gru": irnn_tvm.nn.GRU if own else nn.GRU}
        self.rnn = kinds[cell](hidden, hidden, num_layers=layers, **options)
        width = options.get("proj_size", hidden)
        self.out = nn.Linear(width * (2 if options.get("bidirectional") else 1), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """Seconds of one training step."""
    start = time.perf_counter()
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
    loss.backward()
    optimizer.step()
    if isinstance(model, irnn_tvm.QatModel):
        model.step(loss)
    return time.perf_counter() - start


def measure(
    cell: str,
    options: dict[str, Any],
    hidden: int,
    layers: int,
    steps: int,
    batch: int,
    phase: str,
    rounds: int,
) -> dict[str, Any]:
    """One row."""
    torch.manual_seed(0)
    model = Tagger(cell, hidden, layers, options)
    x, y = torch.randn(steps, batch, hidden), torch.randint(0, CLASSES, (steps, batch))
    warm = 2
    config = irnn_tvm.QatConfig(
        irnn_tvm.QuantConfig(pwl_pieces=16),
        observe_steps=10**6 if phase == "observe" else 1,
        freeze_step=10**6,
        ranges="learned" if phase == "learn" else "observed",
    )
    twin = irnn_tvm.prepare_qat(model, config, x)
    pair = [(m, torch.optim.Adam(m.parameters(), 1e-4)) for m in (model, twin)]
    times: list[list[float]] = [[], []]
    for i in range(warm + rounds):
        for own, (m, optimizer) in zip(times, pair, strict=True):
            seconds = step(m, optimizer, x, y)
            if i >= warm:
                own.append(seconds)
    assert twin.phase == phase
    ms = [1e3 * statistics.median(own) for own in times]
    name = f"{cell} {' '.join(f'{k}={v}' for k, v in options.items())}".strip()
    return {
        "cell": name, "hidden": hidden, "layers": layers, "T": steps, "batch": batch, "phase": phase,
        "float_ms": round(ms[0], 2), "qat_ms": round(ms[1], 2), "ratio": round(ms[1] / ms[0], 2),
        "device": platform.processor() or platform.machine(), "torch": torch.__version__,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for workload in WORKLOADS:
        whole = "proj_size" in workload[1] or (workload[2:4] == (256, 2) and not workload[1])
        phases = ("observe", "learn", "frozen") if whole else ("frozen",)
        for phase in phases:
            row = measure(*workload, phase, arguments.rounds)
            if arguments.json:
                print(json.dumps(row), flush=True)
            else:
                sizes = f"hidden {row['hidden']:4} x {row['layers']}  T {row['T']:3}  batch {row['batch']:3}"
                both = f"float {row['float_ms']:8.1f} ms  twin {row['qat_ms']:8.1f} ms  {row['ratio']:.2f}x"
                print(f"{row['cell']:24} {sizes}  {row['phase']:8} {both}", flush=True)


if __name__ == "__main__":
    main()
