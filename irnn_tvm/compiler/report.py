"""Builds report.json: the interface, the memory map and what each kernel costs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from irnn_tvm.compiler.abi import Interface, Tensor
from irnn_tvm.compiler.kernels import Kernel
from irnn_tvm.compiler.plan import Plan
from irnn_tvm.targets import Target


def interface_report(
    io: Interface, target: Target, files: dict[str, Any], stream_reason: str
) -> dict[str, Any]:
    """The entries that irnn_tvm.runtime reads."""
    if io.fixed_steps is not None:
        time: dict[str, Any] = {"dynamic": False, "fixed": io.fixed_steps}
    else:
        time = {"dynamic": True, "min": io.min_steps, "max": io.max_steps or None}
    return {
        "abi_version": 1,
        "interface": f"{io.interface_hash:#x}",
        "name": io.name,
        **target.report_fields(),
        "files": files,
        "inputs": [_tensor(t) for t in io.inputs],
        "outputs": [_tensor(t) for t in io.outputs],
        "state_bytes": io.state_bytes,
        "snapshot_bytes": io.snapshot_bytes,
        "fetch_bytes": io.fetch_bytes,
        "arena_bytes": io.arena_bytes,
        "alignment": 16,
        "threads": io.threads,
        "streamable": io.streamable,
        "not_streamable_because": None if io.streamable else stream_reason,
        "time": time,
    }


def _tensor(t: Tensor) -> dict[str, Any]:
    shape = [d if isinstance(d, int) else d.replace("/", "//") for d in t.shape]
    return {
        "name": t.name,
        "dtype": t.dtype,
        "shape": shape,
        "scale": t.scale,
        "zero_point": t.zero_point,
        "limit": t.limit,
    }


def cost_report(
    plan: Plan,
    kernels: dict[str, Kernel],
    counts: dict[str, int],
    code_bytes: int | None,
    function_bytes: dict[str, int],
    stack: dict[str, int | None],
) -> dict[str, Any]:
    """flash (code, constants), arena, stack and MACs, in total and per kernel.

    code_bytes: everything in flash but the weights (None for C sources, which are not compiled yet); function_bytes and
    stack: size and frame of functions by symbol.
    """
    rows = []
    for kernel in kernels.values():
        rows.append(
            {
                "name": kernel.symbol,
                "op": kernel.name,
                "schedule": kernel.rule,
                "tuned": kernel.tuned or "default",
                "calls_per_step": counts.get(kernel.name, 0),
                "macs": kernel.macs,
                "flash_bytes": function_bytes.get(kernel.symbol),
                "stack_bytes": stack.get(kernel.symbol),
            }
        )
    weight_bytes = sum(w.nbytes for w in plan.weights)
    symbols = {k.symbol for k in kernels.values()}
    frames = [v for k, v in stack.items() if k in symbols and v is not None]
    callers = [v for k, v in stack.items() if k not in symbols and v is not None]
    return {
        "weight_bytes": weight_bytes,
        "code_bytes": code_bytes,
        "flash_bytes": None if code_bytes is None else weight_bytes + code_bytes,
        "stack_bytes": max(frames, default=0) + sum(callers) if stack else None,
        "macs_per_step": sum(k.macs * counts.get(k.name, 0) for k in kernels.values()),
        "arena": plan.storages,
        "arena_minimum_bytes": plan.arena_minimum,
        "weights": [{"dtype": str(w.dtype), "shape": list(w.shape), "bytes": w.nbytes} for w in plan.weights],
        "kernels": rows,
    }


def section_bytes(objects: list[Path]) -> int:
    """Bytes that ELF objects put into flash: their allocated sections with contents, unwind tables excepted."""
    from elftools.elf.constants import SH_FLAGS
    from elftools.elf.elffile import ELFFile

    total = 0
    for path in objects:
        with path.open("rb") as file:
            for section in ELFFile(file).iter_sections():
                stored = section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_type"] != "SHT_NOBITS"
                if stored and not section.name.startswith((".ARM.ex", ".eh_frame", ".rel", ".note")):
                    total += int(section["sh_size"])
    return total


def function_sizes(objects: list[Path]) -> dict[str, int]:
    """Bytes of every function in ELF objects, by symbol."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    sizes: dict[str, int] = {}
    for path in objects:
        with path.open("rb") as file:
            for section in ELFFile(file).iter_sections():
                if isinstance(section, SymbolTableSection):
                    for symbol in section.iter_symbols():
                        if symbol["st_info"]["type"] == "STT_FUNC":
                            sizes[symbol.name] = int(symbol["st_size"])
    return sizes


_ARM_LIST = re.compile(r"\{([^}]*)\}")


def frame_sizes(assembly: str) -> dict[str, int]:
    """Stack bytes that each function's prologue takes, read from LLVM's assembly text (ARM, AArch64, x86-64, RISC-V).

    An upper estimate: every push and every subtraction from the stack pointer in a function is added up, whichever
    branch it stands in; epilogues are not subtracted.
    """
    frames: dict[str, int] = {}
    current: str | None = None
    for line in assembly.splitlines():
        label = re.match(r"^([A-Za-z_]\w*):", line)
        if label and not label[1].startswith("L"):
            current = label[1]
            frames.setdefault(current, 0)
            continue
        if current is None:
            continue
        frames[current] += _frame_of(line.strip())
    return frames


def called_routines(assembly: str) -> dict[str, set[str]]:
    """For each function the routines of instruction sets (`InstructionSet.assembly`) that it calls."""
    found: dict[str, set[str]] = {}
    current = ""
    for line in assembly.splitlines():
        label = re.match(r"^([A-Za-z_]\w*):", line)
        if label:
            current = label[1]
        call = re.match(r"\s+blx?\s+(irnn_\w+)", line)
        if call:
            found.setdefault(current, set()).add(call[1])
    return found


def _frame_of(line: str) -> int:
    words = line.split(None, 1)
    if len(words) < 2 or words[0].startswith("."):
        return 0
    op, args = words
    aligned = re.match(r"\w+, #0, #(\d+)", args) if op == "bfc" else None
    if aligned is not None:  # of the stack pointer: what it is moved by at most
        return 1 << int(aligned[1])
    if op in ("push", "push.w", "vpush", "pushq"):
        registers = _ARM_LIST.search(args)
        if registers is None:
            return 8  # x86-64
        return sum(_register_bytes(part) for part in registers[1].split(","))
    match = re.match(r"sp, sp, -(\d+)", args) if op == "addi" else None  # RISC-V
    if match is not None:
        return int(match[1])
    match = re.match(r"sp, sp, #(0x[0-9a-f]+|\d+)", args) if op.startswith("sub") else None
    if match is None and op.startswith("sub"):
        match = re.match(r"sp, #(0x[0-9a-f]+|\d+)", args) or re.match(r"\$(\d+), %rsp", args)
    if match is None and op in ("stp", "str"):
        match = re.search(r"\[sp, #-(\d+)\]!", args)
    return int(match[1], 0) if match else 0


def _register_bytes(text: str) -> int:
    """`r4`, `d8`, `q4` or a range of them."""
    names = [t.strip() for t in text.split("-")]
    width = {"d": 8, "q": 16}.get(names[0][0], 4)
    if len(names) == 1:
        return width
    return width * (int(names[1][1:]) - int(names[0][1:]) + 1)
