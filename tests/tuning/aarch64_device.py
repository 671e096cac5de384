"""An AArch64 machine with our RPC server: Debian's Python and PyPI's packages for AArch64, under QEMU."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from aarch64_system import CORES, PYTHON, emulated_system, system_root  # noqa: E402
from serving import started  # noqa: E402

TOP_FOLDERS = ("relay_ops", "schedules", "targets", "tuning_logs", "examples")
PACKAGES = ("apache-tvm", "apache-tvm-ffi", "numpy", "typer", "rich", "psutil", "cloudpickle", "tornado")


class Device:
    """Its files, in a folder. What servers start is `python`, because no kernel here runs AArch64."""

    def __init__(self, folder: Path, target: str = "arm") -> None:
        wanted = [f"{name}=={version(name)}" for name in PACKAGES]
        root = system_root(f"server-{version('apache-tvm')}", [], wanted)
        system = folder / "system"
        system.mkdir(parents=True)
        core = CORES[target]
        emulated_system(root, core, system)
        own = folder / "site"
        (own / "irnn_tvm").mkdir(parents=True)
        # As the package installs: the folders at the top level are parts of it.
        for part in [*(ROOT / "irnn_tvm").iterdir(), *(ROOT / name for name in TOP_FOLDERS)]:
            (own / "irnn_tvm" / part.name).symlink_to(part)
        python = folder / "python"
        program = system / "usr" / "bin" / f"python{PYTHON}"
        python.write_text(f'#!/bin/sh\nexec qemu-aarch64 -cpu {core.name} -L {system} {program} "$@"\n')
        python.chmod(0o755)
        (own / "sitecustomize.py").write_text(f"import sys\nsys.executable = {str(python)!r}\n")
        self.python = python
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{own}:{root / 'site'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONSAFEPATH": "1",  # the folder of the tests is no package's
            "OMP_NUM_THREADS": "1",
        }

    def serving(self, port: int, *arguments: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """`irnn-tvm rpc-server` on it, once it answers."""
        command = ("rpc-server", "--port", str(port), *arguments)
        return started(
            *command, port=port, python=str(self.python), environment=self.environment, seconds=240
        )
