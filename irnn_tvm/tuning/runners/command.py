"""A board of the user's, by a command of theirs that builds, flashes and reads: cycles per call."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from irnn_tvm.compiler.c_array import array_lines
from irnn_tvm.errors import TuningError
from irnn_tvm.targets import Target
from irnn_tvm.tuning.outcome import Failure, Outcome
from irnn_tvm.tuning.runners.base import CYCLES, Runner, Work
from irnn_tvm.tuning.runners.local import load_data

CALLS = 5
ANSWER = re.compile(r"^irnn (-?\d+) (\d+)\s*$", re.M)


class CommandRunner(Runner):
    """The command gets a folder with the candidate's archive, its header and `irnn_measure.c`; what the board says has
    to be in its output."""

    metric = CYCLES

    def __init__(self, target: Target, command: str, device: str = "board", timeout: float = 120.0) -> None:
        """command: words with {folder} among them; device: the board's name, for the records. Raises TuningError for a
        target that is no microcontroller, or a command without a folder."""
        if not target.is_bare_metal:
            raise TuningError(f"{target.name} has an operating system: measure there by rpc=")
        if "{folder}" not in command:
            raise TuningError(
                "the command has to name {folder}, where a candidate lies, as in './flash.sh {folder}'"
            )
        self.command, self.device, self.cpu, self.timeout = command, device, target.name, timeout
        self._one = ThreadPoolExecutor(1)

    def submit(self, work: Work) -> Future[Outcome]:
        return self._one.submit(self._measure, work)

    def _measure(self, work: Work) -> Outcome:
        folder = work.folder
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        inputs, expected = load_data(str(work.data))
        (folder / "irnn_measure.c").write_text(measure_source(report, inputs, expected, work.steps), "utf-8")
        words = [word.replace("{folder}", str(folder)) for word in shlex.split(self.command)]
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=self.timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return Outcome(failure=Failure.run_timed_out, message=f"no answer in {self.timeout:g} s")
        except OSError as error:
            return Outcome(failure=Failure.no_device, message=f"the command cannot be run: {error}")
        said = ANSWER.findall(done.stdout)
        if not said:
            last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            return Outcome(failure=Failure.run_failed, message=f"exit code {done.returncode}: {last[:300]}")
        if any(int(code) for code, _ in said):
            code = next(int(code) for code, _ in said if int(code))
            kind = Failure.wrong_result if code == 1 else Failure.run_failed
            return Outcome(failure=kind, message=f"irnn_measure returned {code}")
        if any(int(cycles) == 0 for _, cycles in said):
            return Outcome(
                failure=Failure.run_failed,
                message="0 cycles: the counter that irnn_cycles reads does not run",
            )
        return Outcome(tuple(float(cycles) for _, cycles in said))

    def close(self) -> None:
        self._one.shutdown(wait=False, cancel_futures=True)


def measure_source(
    report: Mapping[str, Any], inputs: Sequence[np.ndarray], expected: Sequence[np.ndarray], steps: int
) -> str:
    """C text of `irnn_measure`, which calls the library, compares, and reports the cycles of each call."""
    name, upper = report["name"], report["name"].upper()
    lines = [
        "/* int irnn_measure(void): to be called by a firmware once its clock runs. The firmware has to define",
        "     uint32_t irnn_cycles(void);                    a counter of processor cycles that wraps around",
        "     void irnn_report(int32_t code, uint32_t cycles);",
        '   of which the second prints "irnn CODE CYCLES" on a line where the command finds it. Codes: 0; 1: integers',
        "   are not the reference's; 2: the library returned an error. */",
        "#include <stdint.h>",
        "",
        f'#include "{name}.h"',
        "",
        "uint32_t irnn_cycles(void);",
        "void irnn_report(int32_t code, uint32_t cycles);",
        "int irnn_measure(void);",
        "",
        f"__attribute__((aligned(16))) static uint8_t state[{upper}_STATE_BYTES];",
        f"__attribute__((aligned(16))) static uint8_t arena[{upper}_ARENA_BYTES];",
    ]
    for kind, arrays in (("in", inputs), ("expected", expected)):
        for number, array in enumerate(arrays):
            size = max(array.size, 1)
            lines.append(
                f"__attribute__((aligned(16))) static const {array.dtype}_t {kind}{number}[{size}] = {{"
            )
            lines += [*array_lines(array), "};"]
    for number, array in enumerate(expected):
        lines.append(
            f"__attribute__((aligned(16))) static {array.dtype}_t out{number}[{max(array.size, 1)}];"
        )
    single = report["streamable"] and steps == 1
    pointers = [f"in{n}" for n in range(len(inputs))] + [f"out{n}" for n in range(len(expected))]
    arguments = ", ".join(["state", "arena", *([] if single else [str(steps)]), *pointers])
    function = f"{name}_{'step' if single else 'run'}"
    compare = [
        f"    for (int i = 0; i < {array.size}; ++i) wrong |= out{n}[i] != expected{n}[i];"
        for n, array in enumerate(expected)
    ]
    lines += [
        "",
        "int irnn_measure(void) {",
        f"  for (int call = 0; call < {CALLS}; ++call) {{",
        "    int wrong = 0;",
        f"    int code = {name}_init(state);",
        "    const uint32_t start = irnn_cycles();",
        f"    code |= {function}({arguments});",
        "    const uint32_t cycles = irnn_cycles() - start;",
        *compare,
        "    irnn_report(code ? 2 : wrong, cycles);",
        "    if (code || wrong) return 1;",
        "  }",
        "  return 0;",
        "}",
        "",
    ]
    return "\n".join(lines)
