"""Writes the files of a library: C sources, objects, archive or shared object, header, runner, report."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.abi import Interface
from irnn_tvm.compiler.c_writer import CWriter
from irnn_tvm.compiler.header import header
from irnn_tvm.compiler.kernels import Kernel, c_source, write_object
from irnn_tvm.compiler.plan import Plan
from irnn_tvm.compiler.report import cost_report, frame_sizes, function_sizes, interface_report, section_bytes
from irnn_tvm.compiler.runner import build_runner
from irnn_tvm.compiler.threads import pool_object
from irnn_tvm.compiler.traffic import traffic_report
from irnn_tvm.compiler.tvm_entry import tvm_entry
from irnn_tvm.targets import Target


def emit_library(
    io: Interface,
    plan: Plan,
    kernels: dict[str, Kernel],
    counts: dict[str, int],
    stream_reason: str,
    target: Target,
    folder: Path,
) -> None:
    """Writes everything into `folder` (which exists and is empty)."""
    (folder / f"{io.name}.h").write_text(header(io), encoding="utf-8")
    network = CWriter(io, plan, kernels).text()
    with tempfile.TemporaryDirectory(prefix="irnn-objects-") as work:
        objects: list[Path] = []
        if target.kind == "sources":
            files, costs = _emit_sources(io, plan, kernels, counts, network, folder)
        else:
            files, costs, objects = _emit_binary(
                io, plan, kernels, counts, network, target, folder, Path(work)
            )
        report = interface_report(io, target, files, stream_reason) | costs
        report["traffic"] = traffic_report(io, plan, kernels, target)
        if target.emulator is not None:
            files["runner"] = "emulator/runner"
            build_runner(report, objects, folder, folder / files["runner"], target)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _emit_binary(
    io: Interface,
    plan: Plan,
    kernels: dict[str, Kernel],
    counts: dict[str, int],
    network: str,
    target: Target,
    folder: Path,
    work: Path,
) -> tuple[dict[str, Any], dict[str, Any], list[Path]]:
    """Returns the files, the costs, and what a static program links: the archive, or the shared library's objects."""
    name = io.name
    source = folder / f"{name}.c"
    source.write_text(network, encoding="utf-8")
    kernel_object = work / f"{name}_kernels.o"
    assembly = write_object(list(kernels.values()), target, kernel_object)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-I", str(folder)]
    network_object, text = compile_network(source, work, target, flags)
    assembly += text
    blobs = {f"{name}_w{i}": w.tobytes() for i, w in enumerate(plan.weights)}
    weights_object = toolchain.assemble_weights(
        blobs, work / f"{name}_weights.o", target, align=16 if target.is_bare_metal else 64
    )
    objects = [network_object, kernel_object, weights_object]
    code = section_bytes([network_object, kernel_object])
    sizes = function_sizes([network_object, kernel_object])
    if target.kind == "archive":
        library = toolchain.archive(objects, folder / f"lib{name}.a")
        objects = [library]
    else:
        entry = work / f"{name}_tvm.c"
        entry.write_text(tvm_entry(io), encoding="utf-8")
        entry_object = toolchain.compile_object(entry, work / f"{name}_tvm.o", target, flags)
        shared = [*objects, entry_object]
        if io.threads > 1:
            shared.append(pool_object(io.threads, target, work, serial=False))
            objects.append(pool_object(io.threads, target, work, serial=True))
        exports = [prefix + f for f in functions(io) for prefix in (f"{name}_", "__tvm_ffi_")]
        library = toolchain.link_shared(
            shared, folder / f"lib{name}.so", target, exports, ["-lpthread", "-lc"] if io.threads > 1 else []
        )
    files = {"library": library.name, "header": f"{name}.h", "sources": [f"{name}.c"], "runner": None}
    return (
        files,
        cost_report(plan, kernels, counts, code, sizes, kernel_frames(assembly, io, kernels)),
        objects,
    )


def functions(io: Interface) -> list[str]:
    """Those of the C interface, without the prefix."""
    return ["init", "reset", "run", *(["step"] if io.streamable else [])]


def compile_network(source: Path, work: Path, target: Target, flags: list[str]) -> tuple[Path, str]:
    """The object of the generated C, and its assembly text, which it is made from: C is compiled once for both."""
    text = work / f"{source.stem}.s"
    toolchain.compile_object(source, text, target, [*flags, "-S"])
    compiled = toolchain.compile_object(text, text.with_suffix(".o"), target)
    return compiled, text.read_text(encoding="utf-8", errors="replace")


def kernel_frames(assembly: str, io: Interface, kernels: dict[str, Kernel]) -> dict[str, int | None]:
    """Frames of the kernels and of the chain of functions that calls them."""
    frames = frame_sizes(assembly)
    chain = {k.symbol for k in kernels.values()} | {"forward", f"{io.name}_run", "check", "check_state"}
    return {k: v for k, v in frames.items() if k in chain}


def _emit_sources(
    io: Interface,
    plan: Plan,
    kernels: dict[str, Kernel],
    counts: dict[str, int],
    network: str,
    folder: Path,
) -> tuple[dict[str, Any], dict[str, Any]]:
    name = io.name
    parts = {
        f"{name}.c": network,
        f"{name}_kernels.c": _kernel_text(io, kernels),
        f"{name}_weights.c": _weights_text(io, plan),
    }
    for file, text in parts.items():
        (folder / file).write_text(text, encoding="utf-8")
    files = {"library": None, "header": f"{name}.h", "sources": list(parts), "runner": None}
    return files, cost_report(plan, kernels, counts, None, {}, {})


def _kernel_text(io: Interface, kernels: dict[str, Kernel]) -> str:
    head = [f"/* {io.name}: kernels, generated by irnn_tvm with TVM. */", "#include <stdint.h>", ""]
    for kernel in kernels.values():
        head.append(f"{kernel.prototype()};")
    return "\n".join([*head, "", *(c_source(k) for k in kernels.values())])


def _weights_text(io: Interface, plan: Plan) -> str:
    lines = [f"/* {io.name}: weights and tables, read-only. */", "#include <stdint.h>", ""]
    for i, w in enumerate(plan.weights):
        lines.append(f"extern const {w.dtype}_t {io.name}_w{i}[{w.size}];")
        lines.append(f"const {w.dtype}_t {io.name}_w{i}[{w.size}] = {{")
        flat = w.ravel()
        for start in range(0, flat.size, 24):
            lines.append(", ".join(_literal(v) for v in flat[start : start + 24]) + ",")
        lines.append("};")
        lines.append("")
    return "\n".join(lines)


def _literal(value: np.integer[Any]) -> str:
    # -2147483648 is an expression of a wider type in C.
    return "(-2147483647 - 1)" if int(value) == -(2**31) else str(int(value))
