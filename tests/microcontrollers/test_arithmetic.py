"""What ARMv6-M has no instructions for: the functions of the library against those of a compiler's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.missing_arithmetic import complete
from irnn_tvm.compiler.runner import board_sources
from irnn_tvm.runtime.emulated import board_command
from irnn_tvm.schedules import armv6m_arithmetic
from irnn_tvm.targets import get

MAIN = """
#include <stdint.h>

extern int64_t irnn_mul64(int64_t, int64_t), irnn_shl64(int64_t, int32_t), irnn_ashr64(int64_t, int32_t);
extern uint64_t irnn_lshr64(uint64_t, int32_t);
extern uint32_t irnn_udiv32(uint32_t, uint32_t);
extern int32_t irnn_sdiv32(int32_t, int32_t);

static uint64_t seed = 88172645463325252u;
static uint64_t any(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  /* Few bits, many bits, and runs of ones. */
  return seed % 4 == 0 ? seed >> (seed >> 58) : seed % 4 == 1 ? ~(seed >> (seed >> 58)) : seed;
}

int main(void) {
  for (int i = 0; i < 3000; ++i) {
    const uint64_t a = any(), b = any();
    const int32_t n = i % 64;
    const uint32_t divisor = (uint32_t)b & 0x7FFFFFFFu;
    if ((uint64_t)irnn_mul64((int64_t)a, (int64_t)b) != a * b) return 1;
    if ((uint64_t)irnn_shl64((int64_t)a, n) != a << n) return 2;
    if (irnn_lshr64(a, n) != a >> n) return 3;
    if (irnn_ashr64((int64_t)a, n) != (int64_t)a >> n) return 4;
    if (divisor != 0 && irnn_udiv32((uint32_t)a, divisor) != (uint32_t)a / divisor) return 5;
    if (divisor != 0 && irnn_sdiv32((int32_t)a / 2, -(int32_t)divisor) != (int32_t)a / 2 / -(int32_t)divisor) return 6;
  }
  return 0;
}
"""


@pytest.mark.emulator
def test_functions(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    qemu, target = require_tool("qemu-system-arm"), get("cortex-m0plus")
    text = "".join(
        f"\t.globl {name}\n{armv6m_arithmetic.assembly(name)}" for name in armv6m_arithmetic.symbols()
    )
    (tmp_path / "functions.s").write_text(text)
    (tmp_path / "main.c").write_text(MAIN)
    elf = tmp_path / "test.elf"
    sources = [tmp_path / "main.c", tmp_path / "functions.s", *board_sources(target)]
    flags = ["-I", str(toolchain.FIRMWARE)]
    toolchain.link_executable(sources, elf, target, flags, toolchain.FIRMWARE / "mps2_an386.ld")
    command = board_command(qemu, ("-M", "mps2-an385"), elf)
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


def test_only_what_is_called_is_added() -> None:
    text = complete("\tbl\t__muldi3\n\tbl\t__aeabi_idiv\n\tbl\tmemcpy\n", get("cortex-m0plus"))
    assert "__muldi3" not in text
    assert text.count("irnn_mul64:") == text.count("irnn_sdiv32:") == text.count("irnn_udiv32:") == 1
    assert "irnn_shl64" not in text
    assert "memcpy" in text
    assert complete("\tbl\t__muldi3\n", get("cortex-m4")) == "\tbl\t__muldi3\n"
