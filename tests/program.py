"""A shared library of this machine's in a program of its own: the one that calls libraries under emulators, whose stack
is painted and whose buffers lie between red zones."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.compiler.runner import runner_config
from irnn_tvm.compiler.toolchain import FIRMWARE


def in_a_program(library: Library, folder: Path) -> Library:
    """The library as if `env` were its emulator. Compiled with gcc."""
    shutil.copytree(library.directory, folder)
    (folder / "runner_config.h").write_text(runner_config(library.report))
    # All functions are bound before the first call, which would else run the dynamic linker on the stack.
    flags = ["-std=gnu11", "-O2", "-ffreestanding", "-fno-stack-protector", "-nostartfiles"]
    flags += ["-Wl,-z,now", "-I", str(folder), "-I", str(FIRMWARE), "-L", str(folder), f"-Wl,-rpath,{folder}"]
    sources = [str(FIRMWARE / name) for name in ("runner.c", "io_linux.c")]
    program = folder / "program"
    subprocess.run(["gcc", *flags, *sources, f"-l{library.name}", "-o", str(program)], check=True)
    report = dict(library.report)
    report["emulator"] = {"kind": "user", "qemu": "env", "args": [], "package": "coreutils"}
    report["files"] = {**report["files"], "runner": "program"}
    (folder / "report.json").write_text(json.dumps(report))
    return irnn_tvm.load(folder, emulate=True)
