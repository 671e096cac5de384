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
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from peers import FilePeer, Unsupported, example
from peers.emulated_peer import PEERS, WARM_UP
from workloads import CALLS, WORKLOADS, Workload

from irnn_tvm.errors import EmulatorError
from irnn_tvm.examples.training.results import commit
from irnn_tvm.tuning.instruction_count import count

HERE = Path(__file__).parent
RUNNER = HERE / "peers" / "emulated_peer.py"
MIRROR, RELEASE, PYTHON = "http://deb.debian.org/debian", "bookworm", "3.11"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SYSTEM = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6", "libgomp1")
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
PLATFORMS = (
    "manylinux_2_28_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux2014_aarch64",
)


class Core(NamedTuple):
    """name: QEMU's; part: ARM's number of it; more: what it has beyond the features of all."""

    name: str
    part: str
    more: str


# By the target that is for them.
CORES = {
    "arm": Core("cortex-a76", "0xd0b", " atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
    "arm-a53": Core("cortex-a53", "0xd03", ""),
}
KNOWN = WORKLOADS | CALLS
MOST_NOISE = 0.01  # energy
LENGTHS = {1: 20, 100: 2}  # inferences to count


def system_root() -> Path:
    """A folder with Python for AArch64 and the runtimes; made once."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "irnn_tvm"
    wanted = {name: version(name) for name in PACKAGES}
    root = folder / f"aarch64-{'-'.join(wanted.values())}"
    if root.is_dir():
        return root
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SystemExit(
                f"{tool} is not there: the packages of AArch64 come from Debian's archive by it."
            )
    if not KEYRING.is_file():
        raise SystemExit(f"{KEYRING} is not there; it comes with the package debian-archive-keyring.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".aarch64-", dir=folder) as work:
        made = Path(work) / "root"
        made.mkdir()
        for package in _debian_packages(Path(work)):
            subprocess.run(["dpkg-deb", "--extract", package, made], check=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--target", made / "site", "--python-version", PYTHON, "--implementation", "cp"]
        command += [f"--platform={platform}" for platform in PLATFORMS]
        subprocess.run([*command, *(f"{name}=={v}" for name, v in wanted.items()), *PLAIN], check=True)
        made.rename(root)
    return root


def _debian_packages(work: Path) -> list[Path]:
    """Downloads Python and what it needs, of AArch64, with lists and settings of their own; apt checks signatures."""
    state, cache, settings = work / "state", work / "cache", work / "etc"
    for part in (state / "lists" / "partial", cache / "archives" / "partial", settings):
        part.mkdir(parents=True)
    (state / "status").touch()
    (settings / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {RELEASE} main\n")
    options = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": cache,
        "Dir::Etc": settings,
        "Dir::Etc::sourcelist": settings / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run(
        [*apt, "install", "--download-only", "--yes", "--no-install-recommends", *SYSTEM], check=True
    )
    return sorted((cache / "archives").glob("*.deb"))


def emulated_system(root: Path, core: Core, folder: Path) -> Path:
    """`root` with what a kernel of such a core says in /proc and /sys, where the emulator would show this machine's, of
    another architecture: runtimes choose kernels by it, and some crash."""
    for part in root.iterdir():
        (folder / part.name).symlink_to(part)
    (folder / "proc").mkdir()
    (folder / "proc" / "cpuinfo").write_text(
        "processor\t: 0\nBogoMIPS\t: 100.00\n"
        f"Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid{core.more}\n"
        f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {core.part}\n"
        "CPU revision\t: 1\n\n"
    )
    cpu = folder / "sys" / "devices" / "system" / "cpu"
    cpu.mkdir(parents=True)
    for name in ("possible", "present", "online"):
        (cpu / name).write_text("0\n")
    return folder


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
    root = system_root()
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
