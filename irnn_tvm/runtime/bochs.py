"""Starts the runner of an x86 library on the PC that Bochs emulates, whose processors know AVX-512.

There is no BIOS and no operating system: a ROM of the project jumps to the runner at 1 MiB. in.bin lies behind it; what
the program prints to its two parallel ports are out.bin and its messages.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from irnn_tvm.errors import EmulatorError

_MEMORY_MIB = 512
_ROOM = 255 << 20  # of the runner and in.bin (compiler/firmware/pc_x86.ld)
_INPUT_ALIGN = 64
_CONFIGURATION = """\
megs: {memory}
cpu: model={model}, ips=100000000, reset_on_triple_fault=0
romimage: file="{rom}", address=0xffff0000
optramimage1: file="image", address=0x100000
parport1: enabled=1, file="out.bin"
parport2: enabled=1, file="messages.txt"
com1: enabled=0
plugin_ctrl: unmapped=1, biosdev=0, speaker=0, extfpuirq=0, gameport=0, iodebug=0, e1000=0
display_library: term
log: bochs.log
panic: action=fatal
error: action=report
info: action=report
"""


def command(program: str, folder: Path, runner: Path, arguments: Sequence[str]) -> list[str]:
    """Writes Bochs' files to `folder`, where it is to run and in.bin lies; returns its command line.

    runner: flat image of the program, beside its ROM. arguments: the model of the processor. EmulatorError when the
    program and its input do not fit the emulated memory.
    """
    image = runner.read_bytes()
    image += bytes(-len(image) % _INPUT_ALIGN) + (folder / "in.bin").read_bytes()
    if len(image) > _ROOM:
        raise EmulatorError(
            f"The program and its input take {len(image)} bytes, the emulated PC has room for {_ROOM}."
        )
    (folder / "image").write_bytes(image)
    (model,) = arguments
    rom = runner.with_name("rom")
    text = _CONFIGURATION.format(memory=_MEMORY_MIB, model=model, rom=rom)
    (folder / "bochsrc").write_text(text, encoding="utf-8")
    # Debian's Bochs has a debugger, which waits for a command before the first instruction.
    (folder / "commands").write_text("c\nq\n", encoding="utf-8")
    return [program, "-q", "-f", "bochsrc", "-rc", "commands"]


def start(arguments: Sequence[str], folder: Path, timeout_s: float) -> tuple[int, str, int]:
    """Runs Bochs in `folder`. Returns the program's exit code, its messages, and how many instructions it executed.

    subprocess.TimeoutExpired when it is still running after timeout_s seconds.
    """
    # Bochs draws the screen of its PC in a terminal, without which it does not start.
    terminal, inner = pty.openpty()
    try:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=os.environ | {"TERM": "linux", "LINES": "25", "COLUMNS": "80"},
            start_new_session=True,
        )
        os.close(inner)
        screen = _drain(terminal, process, time.monotonic() + timeout_s)
        if screen is None:
            raise subprocess.TimeoutExpired(arguments, timeout_s)
    finally:
        os.close(terminal)
    return _outcome(folder, screen)


def _drain(terminal: int, process: subprocess.Popen[bytes], deadline: float) -> str | None:
    """What a process writes to its terminal until it ends; None when it has to be ended."""
    screen = b""
    while True:
        readable, _, _ = select.select([terminal], [], [], 0.05)
        if readable:
            try:
                data = os.read(terminal, 1 << 16)
            except OSError:  # Linux says so when the other end is closed
                data = b""
            screen = (screen + data)[-4096:]
            if not data:
                process.wait()
        if process.poll() is not None:
            return screen.decode(errors="replace")
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None


def _outcome(folder: Path, screen: str) -> tuple[int, str, int]:
    messages, log = (
        path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for path in (folder / "messages.txt", folder / "bochs.log")
    )
    executed = re.search(r"^(\d+)p\[UNMAP", log, re.MULTILINE)
    text, separator, code = messages.rpartition("\nexit ")
    if separator and executed:
        return int(code), text.strip(), int(executed[1])
    panics = re.findall(r">>PANIC<< (.*)", log)
    if any("exception" in panic for panic in panics):
        return 15, f"{messages.strip()} {panics[0]}".strip(), 0
    return 1, (panics[0] if panics else " ".join(screen.split())[-500:]), 0
