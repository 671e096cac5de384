"""Instructions of one inference of the runtimes that people use instead, on AArch64 under QEMU.

Python packages for AArch64 run in a Python for AArch64 from Debian's packages, both of which are fetched
into the user's cache without touching the system: needs apt-get, dpkg-deb, pip and qemu-user. Counts are differences
between 2n and n inferences in processes of their own, so that start-up cancels out. What a call takes, in Python and in
the runtime, is a part of them: the same layers of 4 units show how much. Outputs are compared with PyTorch's. Prints
one JSON object per line with --json, else a table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from aarch64_system import CORES, PYTHON, Core, emulated_system, system_root
from peers import FilePeer, Unsupported, example
from peers.emulated_peer import PEERS, WARM_UP
from workloads import CALLS, WORKLOADS, Workload

from irnn_tvm.errors import EmulatorError
from irnn_tvm.examples.training.results import commit
from irnn_tvm.tuning.instruction_count import count

HERE = Path(__file__).parent
RUNNER = HERE / "peers" / "emulated_peer.py"
PACKAGES = ("numpy", "onnxruntime", "ncnn", "ai-edge-litert")
PLAIN = (
    "flatbuffers",
    "protobuf",
    "packaging",
    "typing-extensions",
    "backports.strenum",
    "tqdm",
    "portalocker",
)
KNOWN = WORKLOADS | CALLS
MOST_NOISE = 0.01  # energy
LENGTHS = {1: 20, 100: 2}  # inferences to count


def instructions(peer: FilePeer, workload: Workload, steps: int, core: Core, root: Path, calls: int) -> float:
    """Of one inference. Unsupported: the runtime cannot run the workload."""
    with tempfile.TemporaryDirectory(prefix="irnn-bench-") as work:
        folder, system = Path(work) / "model", Path(work) / "system"
        folder.mkdir()
        system.mkdir()
        emulated_system(root, core, system)
        peer.write(workload, steps, 1, folder)

        def start(options: Sequence[str], number: int) -> None:
            environment = {
                "PYTHONPATH": str(root / "site"),
                "PYTHONHASHSEED": "0",
                "PYTHONDONTWRITEBYTECODE": "1",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            }
            python = root / "usr" / "bin" / f"python{PYTHON}"
            command = ["qemu-aarch64", "-cpu", core.name, "-L", system, *options, python, RUNNER]
            command += [peer.name, workload.name, str(steps), str(folder), str(number)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise EmulatorError(f"{peer.name} failed under QEMU: {done.stderr.strip()}")
            compare(peer.name, workload, steps, WARM_UP + number, np.load(folder / "output.npy"))

        once, twice = (count(lambda o, n=n: start(o, n)) for n in (calls, 2 * calls))
        return (twice - once) / calls


def compare(name: str, workload: Workload, steps: int, calls: int, output: np.ndarray) -> None:
    """Unsupported for outputs that are not those of the float layer, but for 8-bit weights and activations."""
    x = example(calls if workload.streams(steps) else steps, 1, workload.hidden)
    with torch.inference_mode():
        expected = workload.network()(torch.from_numpy(x)).numpy()[:, -steps:]
    noise = float(np.square(output - expected).sum() / np.square(expected).sum())
    if not noise < MOST_NOISE:
        raise Unsupported(f"{name} computes something else than PyTorch: {noise:.2g} of it is noise")


def rows(
    workloads: Sequence[Workload], targets: Sequence[str], lengths: Sequence[int], wanted: Sequence[str]
) -> Iterator[dict[str, Any]]:
    wanted_versions = {name: version(name) for name in PACKAGES}
    root = system_root(
        "-".join(wanted_versions.values()), [*(f"{name}=={v}" for name, v in wanted_versions.items()), *PLAIN]
    )
    for workload in workloads:
        name = workload.name
        for target in targets:
            for steps in [1] if workload.name in CALLS else lengths:
                for runtime in wanted:
                    try:
                        found = instructions(
                            PEERS[runtime], workload, steps, CORES[target], root, LENGTHS.get(steps, 2)
                        )
                    except Unsupported as reason:
                        print(f"{name}, T={steps}: no {runtime}: {reason}", file=sys.stderr)
                        continue
                    yield {
                        "workload": name,
                        "T": steps,
                        "batch": 1,
                        "target": target,
                        "runtime": runtime,
                        "instructions": round(found),
                        "per_mac": round(found / steps / workload.macs, 4),
                        "emulator": f"qemu-aarch64 -cpu {CORES[target].name}",
                        "versions": {package: version(package) for package in PACKAGES},
                        "commit": commit(),
                    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", action="append", choices=list(CORES), help="default: arm; repeatable")
    parser.add_argument("--workload", action="append", choices=list(KNOWN), help="default: all")
    parser.add_argument("--steps", action="append", type=int, help="sequence length; default: 1 and 100")
    parser.add_argument("--runtime", action="append", choices=list(PEERS), help="default: all")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    arguments = parser.parse_args()
    chosen = [KNOWN[name] for name in arguments.workload or WORKLOADS]
    workloads = list(dict.fromkeys([*(workload.call() for workload in chosen), *chosen]))
    lengths, targets = arguments.steps or list(LENGTHS), arguments.target or ["arm"]
    for row in rows(workloads, targets, lengths, arguments.runtime or list(PEERS)):
        if arguments.json:
            print(json.dumps(row), flush=True)
        else:
            print(
                f"{row['workload']:12} T={row['T']:<4} {row['target']:8} {row['runtime']:26} "
                f"{row['instructions']:>13,} instructions, {row['per_mac']:.3f} per MAC",
                flush=True,
            )


if __name__ == "__main__":
    main()
