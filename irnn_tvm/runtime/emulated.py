"""Runs a library under QEMU or Bochs: one start of the emulator for any number of operations."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from irnn_tvm.errors import EmulatorError, LoadError, ToolNotFoundError
from irnn_tvm.runtime import bochs, protocol
from irnn_tvm.runtime.protocol import Operation
from irnn_tvm.runtime.streams import Memory, explained

_log = logging.getLogger("irnn_tvm.runtime")

_PACKAGES = {"qemu-aarch64": "qemu-user", "qemu-arm": "qemu-user", "qemu-system-arm": "qemu-system-arm"}
# Exit codes of compiler/firmware/runner_io.h.
_EXITS = {
    11: "it could not exchange its input or output file",
    12: "the buffers do not fit into the emulated memory",
    13: "the library wrote outside its memory",
    14: "the library's init function failed",
    15: "the processor took a fault",
}


def find_emulator(program: str, package: str | None = None, *, plugins: bool = False) -> str:
    """Path of an emulator's program; ToolNotFoundError names the Debian package.

    The static build of a user-mode emulator serves as well, except for plugins, which it cannot load.
    """
    found = shutil.which(program) or (None if plugins else shutil.which(f"{program}-static"))
    if found is None:
        package = package or _PACKAGES.get(program, program)
        raise ToolNotFoundError(f"The emulator {program} is not installed: apt-get install {package}")
    return found


class EmulatedEngine:
    """The runner of one library and the emulator that it needs."""

    emulated = True
    timeout_s: float = 600.0

    def __init__(self, directory: Path, report: Mapping[str, Any], reason: str = "") -> None:
        """reason: why the library does not run here without an emulator."""
        emulator = report["emulator"]
        runner = report["files"].get("runner")
        self._too_large: str | None = report.get("not_emulated_because")
        if self._too_large is None and (not runner or not (directory / runner).is_file()):
            raise LoadError(
                f"{report['name']}: the program that runs it under {emulator['qemu']} is missing."
            )
        self.runner = (directory / (runner or "")).resolve()
        self.kind = emulator["kind"]
        self.program = emulator["qemu"]
        self.arguments = list(emulator["args"])
        self.package = emulator.get("package")
        self.where = "emulated: " + " ".join([self.program, *self.arguments])
        if self._too_large is not None:
            self.where = f"not here: {self._too_large}"
        self.stack_bytes: int | None = None
        self.instructions: int | None = None
        self._name, self._reason = report["name"], reason
        self._state_bytes = int(report["state_bytes"])
        self._stack_bound: int | None = report.get("stack_bytes")
        self._announced = False

    def execute(self, memory: Memory, operations: Sequence[Operation], extra: Sequence[str] = ()) -> None:
        """Carries the operations out in one start of the emulator; `extra` are further options for QEMU.

        Afterwards `stack_bytes` holds the deepest use of the stack by one call, in bytes, and `instructions` what
        Bochs counted from its reset to the end, None under QEMU. EmulatorError where a call used more stack than the
        library's report says.
        """
        if not self._announced:
            _log.info("%s runs %s", self._name, self.where)
            self._announced = True
        state = memory.state.tobytes() if memory.initialized else None
        output = self._start(protocol.encode(operations, state), extra)
        new_state, stack = protocol.decode(output, operations, self._state_bytes)
        if stack >= 0:
            self.stack_bytes = max(stack, self.stack_bytes or 0)
            if self._stack_bound is not None and stack > self._stack_bound:
                raise EmulatorError(
                    f"{self._name} under {self.program}: a call used {stack:,} bytes of stack, and the bound in its "
                    f"report.json is {self._stack_bound:,}. Build it anew; if that does not help, please report it."
                )
        memory.state[...] = bytearray(new_state)
        memory.initialized = True

    def command(self, folder: Path, extra: Sequence[str] = ()) -> list[str]:
        """The command line; it is run in `folder`, which holds in.bin and receives out.bin.

        EmulatorError for a library that is larger than the emulated board's memory."""
        if self._too_large is not None:
            raise EmulatorError(
                f"{self._name} cannot run under {self.program}: {self._too_large}. The library is complete; build "
                "it for 'host' to run the same integers here."
            )
        try:
            program = find_emulator(self.program, self.package, plugins="-plugin" in extra)
        except ToolNotFoundError as error:
            if not self._reason:
                raise
            raise ToolNotFoundError(f"{self._name} needs an emulator: {self._reason}. {error}") from None
        if self.kind == "pc":
            return bochs.command(program, folder, self.runner, self.arguments)
        if self.kind == "user":
            return [program, *self.arguments, *extra, str(self.runner), "in.bin", "out.bin"]
        return board_command(program, self.arguments, self.runner, extra)

    def _start(self, data: bytes, extra: Sequence[str]) -> bytes:
        if not os.access(self.runner, os.R_OK):
            raise LoadError(
                f"{self.runner} cannot be read. A library that was built without out= lies in a temporary folder, "
                "which is removed with the Library that build returned."
            )
        with tempfile.TemporaryDirectory(prefix="irnn-run-") as folder:
            (Path(folder) / "in.bin").write_bytes(data)
            command = self.command(Path(folder), extra)
            try:
                if self.kind == "pc":
                    code, words, self.instructions = bochs.start(command, Path(folder), self.timeout_s)
                else:
                    code, words = _start_qemu(command, folder, self.timeout_s)
            except subprocess.TimeoutExpired as error:
                raise EmulatorError(
                    f"{self.program} was still running after {self.timeout_s:g} s."
                ) from error
            if code != 0:
                raise EmulatorError(self._explain(code, words))
            return (Path(folder) / "out.bin").read_bytes()

    def _explain(self, code: int, stderr: str) -> str:
        reason = _EXITS.get(code) or (
            f"it died of signal {-code}" if code < 0 else f"it ended with exit code {code}"
        )
        # The boards' network chips are left unplugged, which QEMU remarks upon.
        lines = [line for line in stderr.splitlines() if "warning: nic" not in line]
        words = " ".join(" ".join(lines).split()) or "no message"
        words = re.sub(r"(?<=init: )code (-\d)", lambda found: explained(int(found[1])), words)
        return f"{self._name} under {self.program}: {reason} ({words[:2000]})."


def board_command(
    program: str, arguments: Sequence[str], kernel: Path, extra: Sequence[str] = ()
) -> list[str]:
    """The command that starts a firmware on an emulated board. arguments: that select it."""
    quiet = ["-display", "none", "-monitor", "none", "-serial", "none", "-nic", "none"]
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    return [program, *arguments, *quiet, *semihosting, *extra, "-kernel", str(kernel.resolve())]


def _start_qemu(command: Sequence[str], folder: str, timeout_s: float) -> tuple[int, str]:
    """Exit code and messages."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    return done.returncode, done.stderr
