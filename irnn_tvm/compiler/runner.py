"""Writes and links the runner: the program that calls a library under an emulator and checks its writes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from irnn_tvm.compiler import toolchain
from irnn_tvm.errors import BuildError
from irnn_tvm.runtime import shapes
from irnn_tvm.targets import Target

_C_TYPE = {"int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t", "uint8": "uint8_t"}
# What runner_io.h declares, by the kind of emulator.
SYSTEM_SOURCES = {
    "user": ("io_linux.c",),
    "system": ("io_semihosting.c", "stack_bare.c"),
    "pc": ("io_pc.c", "stack_bare.c", "startup_x86.S"),
}
# The startup code of a board; others than these have a Cortex-M.
STARTUP = {"riscv_virt": "startup_riscv.c"}
_ITEM_BYTES = {"int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1}


def runner_config(report: Mapping[str, Any]) -> str:
    """The header that ties the generic runner to one library, from the entries of report.json.

    Used entries: name, inputs, outputs (dtype and shape), state_bytes, arena_bytes, streamable, files.header.
    """
    name = report["name"]
    tensors = [*report["inputs"], *report["outputs"]]
    inputs = len(report["inputs"])
    for tensor in tensors:
        if tensor["dtype"] not in _C_TYPE:
            raise BuildError(
                f"{tensor['name']!r} has dtype {tensor['dtype']}, the C interface has {list(_C_TYPE)}."
            )
    arguments = "".join(
        f", ({'const ' if index < inputs else ''}{_C_TYPE[tensor['dtype']]} *)io[{index}]"
        for index, tensor in enumerate(tensors)
    )
    sizes = "\n".join(
        f"        case {index}: return {' * '.join(_factors(tensor))};"
        for index, tensor in enumerate(tensors)
    )
    labels = ", ".join(
        f'"{"input" if index < inputs else "output"} {_c_text(tensor["name"])}"'
        for index, tensor in enumerate(tensors)
    )
    upper = name.upper()
    step = f"{name}_step(state, arena{arguments})" if report["streamable"] else "-2"
    snapshot = report.get("snapshot_bytes")
    save, restore = (
        (f"{name}_save(state, snapshot)", f"{name}_restore(state, snapshot)") if snapshot else ("-7", "-7")
    )
    return f"""/* Generated for the library {name}. */
#include "{report["files"]["header"]}"
#include <stddef.h>
#include <stdint.h>

#define LIBRARY_STATE_BYTES {report["state_bytes"]}u
#define LIBRARY_ARENA_BYTES {report["arena_bytes"]}u
#define LIBRARY_SNAPSHOT_BYTES {snapshot or 0}u
#define INPUT_COUNT {inputs}
#define TENSOR_COUNT {len(tensors)}

_Static_assert({upper}_STATE_BYTES == LIBRARY_STATE_BYTES, "header and report disagree on the state");
_Static_assert({upper}_ARENA_BYTES == LIBRARY_ARENA_BYTES, "header and report disagree on the arena");

static inline int64_t floor_div(int64_t a, int64_t b) {{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}}

static inline int64_t tensor_bytes(int index, int64_t T) {{
    (void)T;
    switch (index) {{
{sizes}
        default: return 0;
    }}
}}

static inline const char *tensor_name(int index) {{
    static const char *const names[] = {{{labels}}};
    return names[index];
}}

static inline __attribute__((always_inline)) int32_t library_init(void *state) {{ return {name}_init(state); }}

static inline __attribute__((always_inline)) int32_t library_reset(void *state) {{ return {name}_reset(state); }}

static inline __attribute__((always_inline)) int32_t library_save(const void *state, void *snapshot) {{
    (void)state, (void)snapshot;
    return {save};
}}

static inline __attribute__((always_inline)) int32_t library_restore(void *state, const void *snapshot) {{
    (void)state, (void)snapshot;
    return {restore};
}}

static inline __attribute__((always_inline)) int32_t library_step(void *state, void *arena, void *const *io) {{
    (void)state, (void)arena, (void)io;
    return {step};
}}

static inline __attribute__((always_inline)) int32_t
library_run(void *state, void *arena, int32_t length, void *const *io) {{
    return {name}_run(state, arena, length{arguments});
}}
"""


def board_sources(target: Target) -> list[Path]:
    """What a firmware for the target's board consists of, besides its main function (runner_io.h)."""
    assert target.emulator is not None
    startup = STARTUP.get(str(target.emulator.board), "startup_cortex_m.c")
    return [toolchain.FIRMWARE / name for name in (*SYSTEM_SOURCES["system"], startup)]


def board_script(target: Target, sections: Iterable[str], folder: Path) -> Path:
    """The linker script of the target's board; where constants lie in sections of their own, a copy in `folder` that
    puts these with the other read-only data."""
    assert target.emulator is not None
    script = toolchain.FIRMWARE / f"{target.emulator.board}.ld"
    named = list(sections)
    if not named:
        return script
    usual = "    *(.rodata .rodata.*)\n"
    more = "".join(f"    *({section} {section}.*)\n" for section in named)
    copy = folder / script.name
    copy.write_text(script.read_text(encoding="utf-8").replace(usual, usual + more), encoding="utf-8")
    return copy


def build_runner(
    report: Mapping[str, Any], objects: Iterable[Path], header_dir: Path, out_elf: Path, target: Target
) -> Path:
    """Links the runner of a library for an emulated target.

    objects: the library's objects or its archive; header_dir: folder of its header. Writes `out_elf`; on an emulated PC
    that is a flat image, and its ROM lies beside it as `rom`.
    """
    out_elf.parent.mkdir(parents=True, exist_ok=True)
    firmware = toolchain.FIRMWARE
    if target.emulator is None:
        raise BuildError(f"The target {target.name} has no emulator to run a program under.")
    kind = target.emulator.kind
    sources = [firmware / name for name in ("runner.c", *SYSTEM_SOURCES[kind])]
    if kind == "system":
        sources = [firmware / "runner.c", *board_sources(target)]
    script = {"user": None, "system": firmware / f"{target.emulator.board}.ld", "pc": firmware / "pc_x86.ld"}[
        kind
    ]
    with tempfile.TemporaryDirectory(prefix="irnn-runner-") as folder:
        if kind == "system":
            script = board_script(target, report.get("sections", ()), Path(folder))
        (Path(folder) / "runner_config.h").write_text(runner_config(report), encoding="utf-8")
        flags = [
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-I",
            folder,
            "-I",
            str(header_dir),
            "-I",
            str(firmware),
        ]
        if kind != "pc":
            return toolchain.link_executable([*sources, *objects], out_elf, target, flags, script)
        program, rom = Path(folder) / "program", Path(folder) / "rom"
        toolchain.link_executable([*sources, *objects], program, target, flags, script)
        toolchain.flat_image(program, out_elf)
        reset, rom_script = [firmware / "reset_x86.S"], firmware / "pc_rom.ld"
        toolchain.link_executable(
            reset,
            rom,
            replace(target, zig_target="x86-linux-gnu", zig_flags=()),
            (),
            rom_script,
            support=False,
        )
        toolchain.flat_image(rom, out_elf.with_name("rom"))
        return out_elf


def _factors(tensor: Mapping[str, Any]) -> list[str]:
    """The size of a tensor in bytes as C factors, in int64_t."""
    return [f"INT64_C({_ITEM_BYTES[tensor['dtype']]})", *map(shapes.c_expression, tensor["shape"])]


def _c_text(text: str) -> str:
    return "".join(char if char.isalnum() or char in "_.-[] " else "_" for char in text if char.isascii())
