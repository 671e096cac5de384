"""Builds report.json: the interface, the memory map and what each kernel costs."""

from __future__ import annotations

from collections.abc import Mapping
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
        if io.period > 1:
            time |= {"period": io.period, "remainders": list(io.remainders)}
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
        "notes": list(io.notes),
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
    stack: Mapping[str, int | None],
    stack_bytes: int | None = None,
) -> dict[str, Any]:
    """flash (code, constants), arena, stack and MACs, in total and per kernel.

    code_bytes: everything in flash but the weights (None for C sources, which are not compiled yet); function_bytes and
    stack: size of functions by symbol, and the stack that they take with all that they call; stack_bytes: that of a
    call of the library, None where it is not known (stack.py).
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
    return {
        "weight_bytes": weight_bytes,
        "code_bytes": code_bytes,
        "flash_bytes": None if code_bytes is None else weight_bytes + code_bytes,
        "stack_bytes": stack_bytes,
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
