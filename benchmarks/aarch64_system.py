"""A Python for AArch64 with packages for it, run by QEMU: from Debian's and PyPI's packages, which are fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MIRROR, RELEASE, PYTHON = "http://deb.debian.org/debian", "bookworm", "3.11"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SYSTEM = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6", "libgomp1")
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


def system_root(name: str, packages: Sequence[str], more: Sequence[str] = ()) -> Path:
    """A folder with Python for AArch64 and packages; made once. name: of the folder, another one for other versions;
    packages: requirements, without what these need; more: requirements with that. Raises SystemExit without apt."""
    folder = _cache()
    root = folder / f"aarch64-{name}"
    if root.is_dir():
        return root
    _require_apt()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".aarch64-", dir=folder) as work:
        made = Path(work) / "root"
        made.mkdir()
        for package in _debian_packages(Path(work), SYSTEM, "arm64"):
            subprocess.run(["dpkg-deb", "--extract", package, made], check=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
        command += ["--target", made / "site", "--python-version", PYTHON, "--implementation", "cp"]
        command += [f"--platform={platform}" for platform in PLATFORMS]
        if packages:
            subprocess.run([*command, "--no-deps", *packages], check=True)
        if more:
            subprocess.run([*command, *more], check=True)
        made.rename(root)
    return root


def c_library(architecture: str) -> Path:
    """A folder with the C library alone, of Debian's "armhf" or "arm64"; made once. Raises SystemExit without apt."""
    root = _cache() / f"libc-{architecture}"
    if root.is_dir():
        return root
    _require_apt()
    _cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".libc-", dir=_cache()) as work:
        made = Path(work) / "root"
        made.mkdir()
        for package in _debian_packages(Path(work), ("libc6",), architecture):
            subprocess.run(["dpkg-deb", "--extract", package, made], check=True)
        made.rename(root)
    return root


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "irnn_tvm"


def _require_apt() -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not there: the packages come from Debian's archive by it.")
    if not KEYRING.is_file():
        raise SystemExit(f"{KEYRING} is not there; it comes with the package debian-archive-keyring.")


def _debian_packages(work: Path, packages: Sequence[str], architecture: str) -> list[Path]:
    """Downloads packages and what they need, with lists and settings of their own; apt checks signatures."""
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
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run(
        [*apt, "install", "--download-only", "--yes", "--no-install-recommends", *packages], check=True
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
