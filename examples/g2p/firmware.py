"""The whole job as one Cortex-M firmware: both libraries and firmware_main.c, run in QEMU."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile

from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.runner import board_sources
from irnn_tvm.errors import BuildError, EmulatorError
from irnn_tvm.examples.g2p import model as g2p
from irnn_tvm.examples.g2p.integer import Trace
from irnn_tvm.runtime import Library
from irnn_tvm.runtime.emulated import board_command, find_emulator
from irnn_tvm.targets import get
from irnn_tvm.tuning.instruction_count import count

_C_TYPES = {name: f"{name}_t" for name in ("int8", "int16", "int32", "int64")}
# The linker script's names. Its .stack section is an allowance: what is used of it is measured instead.
_VARIABLES = (".data", ".bss")


@dataclass(frozen=True)
class Firmware:
    """One linked image. flash_bytes: code, constants, initial values; static_bytes: variables, no stack."""

    elf: Path
    target: str
    logit_dtype: np.dtype[np.signedinteger]
    flash_bytes: int
    static_bytes: int


@dataclass(frozen=True)
class Run:
    """What one start of the emulator gave: a trace per word, the deepest stack in bytes, instructions."""

    traces: list[Trace]
    stack_bytes: int
    instructions: int | None


def link(encoder: Library, decoder: Library, elf: Path) -> Firmware:
    """Links the image for the target of both libraries. BuildError when they do not fit together."""
    target = get(encoder.target)
    if decoder.target != encoder.target or not target.is_bare_metal or target.emulator is None:
        raise BuildError(
            f"firmware needs two libraries of one Cortex-M target, not {encoder.target}, {decoder.target}"
        )
    states = (encoder.outputs[0], decoder.inputs[1], decoder.outputs[1])
    if len({(str(state.dtype), state.scale, state.zero_point) for state in states}) != 1:
        raise BuildError(f"encoder and decoder disagree on the integers of the hidden state: {states}")
    ids, logits = encoder.inputs[0].dtype, decoder.outputs[0].dtype
    if decoder.inputs[0].dtype != ids:
        raise BuildError(f"encoder and decoder disagree on the ids: {ids}, {decoder.inputs[0].dtype}")
    firmware = toolchain.FIRMWARE
    sources = [Path(__file__).parent / "firmware_main.c", *board_sources(target)]
    archives = [library.directory / library.report["files"]["library"] for library in (encoder, decoder)]
    flags = [
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-DLOGIT_T={_C_TYPES[str(logits)]}",
        f"-DID_T={_C_TYPES[str(ids)]}",
        "-I",
        str(firmware),
    ]
    for library in (encoder, decoder):
        flags += ["-I", str(library.directory)]
    script = firmware / f"{target.emulator.board}.ld"
    toolchain.link_executable([*sources, *archives], elf, target, flags, script)
    return Firmware(elf, target.name, logits, *_sizes(elf))


def run(firmware: Firmware, words: list[str], count_instructions: bool = False) -> Run:
    """Pronounces the words in one start of QEMU. EmulatorError when the firmware reports a fault."""
    emulator = get(firmware.target).emulator
    assert emulator is not None
    program = find_emulator(emulator.qemu, emulator.package, plugins=count_instructions)
    command = board_command(program, emulator.args, firmware.elf)
    with tempfile.TemporaryDirectory(prefix="irnn-g2p-") as name:
        folder = Path(name)
        spelled = [g2p.encode_word(word) for word in words]
        content = struct.pack("<i", len(words)) + b"".join(bytes([len(ids), *ids]) for ids in spelled)
        (folder / "in.bin").write_bytes(content)
        instructions = None
        if count_instructions:
            instructions = count(lambda options: _start([*command, *options], folder))
        else:
            _start(command, folder)
        traces, stack = _decode((folder / "out.bin").read_bytes(), len(words), firmware.logit_dtype)
        return Run(traces, stack, instructions)


def _start(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise EmulatorError(
            f"the firmware ended with {done.returncode}: {' '.join(done.stderr.split())[:500]}"
        )


def _decode(data: bytes, words: int, logit_dtype: np.dtype[np.signedinteger]) -> tuple[list[Trace], int]:
    """Reads out.bin as firmware_main.c documents it."""
    logit_bytes, state_bytes = len(g2p.PHONEMES) * logit_dtype.itemsize, g2p.HIDDEN * 2
    position, traces = 0, []
    for _ in range(words):
        trace = Trace()
        while len(trace.phonemes) < g2p.MAX_PHONEMES and g2p.END not in trace.phonemes[-1:]:
            if position + 1 + logit_bytes + state_bytes + 4 > len(data):
                raise EmulatorError("the firmware's output is truncated")
            trace.phonemes.append(data[position])
            trace.logits.append(np.frombuffer(data, logit_dtype, len(g2p.PHONEMES), position + 1))
            trace.states.append(np.frombuffer(data, np.int16, g2p.HIDDEN, position + 1 + logit_bytes))
            position += 1 + logit_bytes + state_bytes
        traces.append(trace)
    return traces, struct.unpack_from("<i", data, position)[0]


def _sizes(elf: Path) -> tuple[int, int]:
    """(flash, RAM without the stack) of the linked image in bytes. Initial values count in both."""
    flash = ram = 0
    with elf.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if section["sh_flags"] & 0x2 and section["sh_type"] != "SHT_NOBITS":  # SHF_ALLOC
                flash += section["sh_size"]
            if section.name in _VARIABLES:
                ram += section["sh_size"]
    return flash, ram
