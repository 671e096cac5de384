"""A device without Python: our server in C++ and Debian's C library, under QEMU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from aarch64_system import c_library  # noqa: E402
from serving import answering  # noqa: E402


class Machine(NamedTuple):
    """architecture: Debian's name; qemu: program and CPU; part: ARM's number of the core; name: of the core; features:
    a line of /proc/cpuinfo."""

    architecture: str
    qemu: tuple[str, ...]
    part: str
    name: str
    features: str


MACHINES = {
    "armv7": Machine("armhf", ("qemu-arm", "-cpu", "cortex-a7"), "0xc07", "Cortex-A7", "half thumb"),
    "arm": Machine("arm64", ("qemu-aarch64", "-cpu", "cortex-a76"), "0xd0b", "Cortex-A76", "fp asimd"),
}


class NativeDevice:
    """Its files, in a folder, and the server, which is a program for `target`."""

    def __init__(self, folder: Path, server: Path, target: str) -> None:
        machine = MACHINES[target]
        system = folder / "system"
        system.mkdir(parents=True)
        for part in c_library(machine.architecture).iterdir():
            (system / part.name).symlink_to(part)
        (system / "proc").mkdir()
        # As old kernels of boards write it: the chip's name says nothing of the cores.
        (system / "proc" / "cpuinfo").write_text(
            "processor\t: 0\nmodel name\t: ARM Processor rev 5\n"
            f"Features\t: {machine.features}\nCPU implementer\t: 0x41\nCPU architecture: 7\nCPU variant\t: 0x0\n"
            f"CPU part\t: {machine.part}\nCPU revision\t: 5\n\nHardware\t: BCM2835\nRevision\t: a01041\n"
        )
        self.cpu = machine.name
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._qemu, self._rest = machine.qemu, ("-L", str(system), str(server))
        self._environment = {**os.environ, "TMPDIR": str(self.temporary)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The server, to its end."""
        command = [*self._qemu, *self._rest, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    @contextmanager
    def serving(self, port: int, *arguments: str, cpu: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """The server, once it answers. cpu: another one of QEMU's."""
        qemu = (*self._qemu[:2], cpu) if cpu else self._qemu
        process = subprocess.Popen(
            [*qemu, *self._rest, "--port", str(port), *arguments],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with answering(process, port, 30):
            yield process

    def sessions(self) -> list[Path]:
        """Folders of sessions that are there."""
        return list(self.temporary.iterdir())
