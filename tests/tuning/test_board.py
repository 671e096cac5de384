"""A command in the place of a board: GCC's firmware under QEMU, whose timer counts."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import irnn_tvm
from irnn_tvm import IntegerModel
from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.build_library import resolve_program
from irnn_tvm.compiler.runner import board_sources
from irnn_tvm.errors import ToolNotFoundError, TuningError
from irnn_tvm.schedules.choice import Choice
from irnn_tvm.targets import get
from irnn_tvm.tuning.candidates import write
from irnn_tvm.tuning.outcome import Failure
from irnn_tvm.tuning.runners.base import Work
from irnn_tvm.tuning.runners.command import CommandRunner
from irnn_tvm.tuning.runners.local import save_data
from irnn_tvm.tuning.tasks import extract

pytestmark = pytest.mark.emulator
COPY = Path(__file__).parents[1] / "microcontrollers" / "boards" / "copy.c"
MAIN = r"""
#include <stdint.h>
#include "runner_io.h"
int irnn_measure(void);
uint32_t irnn_cycles(void);
void irnn_report(int32_t code, uint32_t cycles);
static uint32_t now;
/* QEMU has no counter of cycles in this board: every question takes 1000. */
uint32_t irnn_cycles(void) { return now += 1000; }
static void number(uint32_t value) {
  char text[11], *digit = text + 10;
  *digit = 0;
  do *--digit = (char)('0' + value % 10); while (value /= 10);
  io_print(digit);
}
void irnn_report(int32_t code, uint32_t cycles) {
  io_print("irnn "); number((uint32_t)code); io_print(" "); number(cycles); io_print("\n");
}
int main(int argc, char **argv) { (void)argc; (void)argv; return irnn_measure(); }
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> str:
    """./measure.sh {folder}"""
    gcc, qemu = require_tool("arm-none-eabi-gcc"), require_tool("qemu-system-arm")
    work = tmp_path_factory.mktemp("board")
    (work / "main.c").write_text(MAIN)
    firmware = toolchain.FIRMWARE
    sources = " ".join(str(path) for path in (*board_sources(get("cortex-m4")), COPY, work / "main.c"))
    flags = "-mcpu=cortex-m4 -mthumb -O2 -ffreestanding -fno-tree-loop-distribute-patterns -nostdlib"
    script = work / "measure.sh"
    script.write_text(
        f'#!/bin/sh\nset -e\n{gcc} {flags} -I "$1" -I {firmware} -isystem {firmware / "include"} {sources}'
        f' "$1/irnn_measure.c" "$1/libcandidate.a" -T {firmware / "mps2_an386.ld"} -lgcc -Wl,--gc-sections'
        f' -o "$1/f.elf" 2>/dev/null\n{qemu} -M mps2-an386 -nographic -semihosting -kernel "$1/f.elf" 2>&1\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return f"{script} {{folder}}"


def test_cycles_and_integers(command: str, model: IntegerModel, tmp_path: Path) -> None:
    target = get("cortex-m4")
    task = next(t for t in extract(resolve_program(model)[0], target) if t.family == "step")
    folder = tmp_path / "candidate"
    folder.mkdir()
    write(task, target, Choice("arm-dsp", {"row_unroll": 4}), folder)
    inputs = task.inputs()
    expected = task.expected(inputs)
    save_data(tmp_path / "right.npz", inputs, expected)
    save_data(tmp_path / "wrong.npz", inputs, [expected[0] ^ 1, *expected[1:]])
    runner = CommandRunner(target, command, "emulated")
    right, wrong = runner.run([Work(folder, tmp_path / f"{name}.npz", 1) for name in ("right", "wrong")])
    assert right.values == (1000.0,) * 5, right
    assert wrong.failure is Failure.wrong_result
    silent, missing = (CommandRunner(target, text) for text in ("true {folder}", "/no/such/command {folder}"))
    assert silent.run([Work(folder, tmp_path / "right.npz", 1)])[0].failure is Failure.run_failed
    assert missing.run([Work(folder, tmp_path / "right.npz", 1)])[0].failure is Failure.no_device
    # 0 cycles are no time: a candidate that seems to take none would win.
    stopped = CommandRunner(target, "sh -c 'echo irnn 0 0; echo irnn 0 0' {folder}")
    outcome = stopped.run([Work(folder, tmp_path / "right.npz", 1)])[0]
    assert outcome.failure is Failure.run_failed
    assert "0 cycles" in outcome.message
    slow = CommandRunner(target, "sh -c 'sleep 9' {folder}", timeout=0.3)
    assert slow.run([Work(folder, tmp_path / "right.npz", 1)])[0].failure is Failure.run_timed_out


def test_tuning_without_the_emulator_is_refused(
    model: IntegerModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for target in ("arm", "cortex-m4"):
        with pytest.raises(ToolNotFoundError, match="qemu"):
            irnn_tvm.tune(model, target, trials=1, runner="emulator", logs=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_bad_commands() -> None:
    with pytest.raises(TuningError, match=r"has to name \{folder\}"):
        CommandRunner(get("cortex-m4"), "./flash.sh")
    with pytest.raises(TuningError, match="arm has an operating system"):
        CommandRunner(get("arm"), "./flash.sh {folder}")
