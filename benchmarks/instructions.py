"""Instructions of one inference under QEMU (ARM) or Bochs (x86), per workload, sequence length and target.

An instruction count is not a time: it is exact and the same on every machine, and says nothing of caches and of what
runs side by side. Prints one JSON object per line with --json, else a table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from layers import build, integer_model
from workloads import WORKLOADS

import irnn_tvm
from irnn_tvm.examples.training.results import commit
from irnn_tvm.targets import TARGETS
from irnn_tvm.tuning import measure
from irnn_tvm.tuning.instruction_count import count_instructions

EMULATED = tuple(name for name, target in TARGETS.items() if target.emulator is not None)
LENGTHS = (1, 100)


def rows(names: list[str], targets: list[str], lengths: list[int], batch: int) -> Iterator[dict[str, Any]]:
    """Builds every workload for every target, and counts."""
    for name in names:
        workload = WORKLOADS[name]
        model = integer_model(workload)
        for target in targets:
            with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
                built = build(model, workload, target, Path(folder), max(lengths), batch)
                library = irnn_tvm.load(built.directory, emulate=True)
                for steps in lengths:
                    inputs = measure.example_inputs(library, steps)
                    single = steps == 1 and library.streamable
                    # Start-up does not count; single steps need more calls until the caller's loop does not show.
                    count = count_instructions(
                        library, "step" if single else "run", inputs, 100 if steps == 1 else 3
                    )
                    yield {
                        "workload": name,
                        "T": steps,
                        "batch": batch,
                        "target": target,
                        "runtime": "irnn_tvm",
                        "instructions": round(count),
                        "per_mac": round(count / steps / batch / workload.macs, 4),
                        "emulator": library.where.removeprefix("emulated: "),
                        "commit": commit(),
                    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", action="append", choices=EMULATED, help="default: arm; repeatable")
    parser.add_argument("--workload", action="append", help="default: all")
    parser.add_argument("--steps", action="append", type=int, help="sequence length; default: 1 and 100")
    parser.add_argument("--batch", type=int, default=1, help="sequences that share a call")
    parser.add_argument(
        "--mcu",
        action="store_true",
        help="layers on microcontrollers, with flash, RAM and functions (--target: some)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    arguments = parser.parse_args()
    names, targets = arguments.workload or list(WORKLOADS), arguments.target or ["arm"]
    if arguments.mcu:
        import microcontrollers

        for row in microcontrollers.rows(
            arguments.target or list(microcontrollers.TARGETS), arguments.workload
        ):
            print(
                json.dumps(row)
                if arguments.json
                else f"{row['workload']:14} {row['target']:14} {row['instructions']:>12,} instructions per step, "
                f"{row['per_mac']:.3f} per MAC, {row['code_bytes']:,} bytes of code",
                flush=True,
            )
        return
    for row in rows(names, targets, arguments.steps or list(LENGTHS), arguments.batch):
        if arguments.json:
            print(json.dumps(row), flush=True)
        else:
            print(
                f"{row['workload']:12} T={row['T']:<4} batch={row['batch']} {row['target']:15} "
                f"{row['instructions']:>12,} instructions, {row['per_mac']:.3f} per MAC",
                flush=True,
            )


if __name__ == "__main__":
    main()
