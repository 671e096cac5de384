"""Writes the files of a library: C sources, objects, archive or shared object, header, runner, report."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from irnn_tvm.compiler import selftest, toolchain
from irnn_tvm.compiler.abi import Interface
from irnn_tvm.compiler.c_array import array_lines
from irnn_tvm.compiler.c_writer import CWriter
from irnn_tvm.compiler.header import FETCH_TYPE, header
from irnn_tvm.compiler.kernels import Kernel, c_routines, c_source, write_object
from irnn_tvm.compiler.missing_arithmetic import complete
from irnn_tvm.compiler.object_cache import ObjectCache
from irnn_tvm.compiler.plan import Plan
from irnn_tvm.compiler.report import (
    cost_report,
    function_sizes,
    interface_report,
    section_bytes,
)
from irnn_tvm.compiler.runner import build_runner
from irnn_tvm.compiler.selftest import Vectors
from irnn_tvm.compiler.stack import call_bytes, stack_bounds
from irnn_tvm.compiler.threads import EXTERNAL_STACK, pool_assembly, pool_object
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
    vectors: Vectors | None = None,
    sections: Mapping[int, str] | None = None,
    brief: bool = False,
    cache: ObjectCache | None = None,
) -> None:
    """Writes everything into `folder` (which exists and is empty). vectors: for a self-test on the device; sections: of
    constants by number (placement.py); brief: the report says nothing of stack and sizes, whose reading takes
    time; cache: of objects, for what is built again and again."""
    sections = sections or {}
    (folder / f"{io.name}.h").write_text(header(io), encoding="utf-8")
    network = CWriter(io, plan, kernels).text()
    with tempfile.TemporaryDirectory(prefix="irnn-objects-") as work:
        objects: list[Path] = []
        if target.kind == "sources":
            files, costs = _emit_sources(io, plan, kernels, counts, network, target, folder, sections)
            if target.emulator is not None:  # the runner has the sources compiled as firmware would
                flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-I", str(folder)]
                paths = [folder / file for file in files["sources"]]
                objects = toolchain.compile_c(paths, Path(work), target, flags)
                costs |= {"code_bytes": section_bytes(objects) - costs["weight_bytes"]}
        else:
            files, costs, objects = _emit_binary(
                io, plan, kernels, counts, network, target, folder, Path(work), sections, brief, cache
            )
        if vectors is not None:
            files["selftest"] = selftest.write(io, vectors, folder)
        report = interface_report(io, target, files, stream_reason) | costs
        report["sections"] = sorted(set(sections.values()))
        report["traffic"] = traffic_report(io, plan, kernels, target)
        if target.emulator is not None:
            runner = folder / "emulator" / "runner"
            try:
                build_runner(report, objects, folder, runner, target)
                files["runner"] = "emulator/runner"
            except toolchain.DoesNotFitError as error:  # the library is for larger boards than emulators have
                report["not_emulated_because"] = str(error)
                shutil.rmtree(runner.parent, ignore_errors=True)
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
    sections: Mapping[int, str],
    brief: bool,
    cache: ObjectCache | None,
) -> tuple[dict[str, Any], dict[str, Any], list[Path]]:
    """Returns the files, the costs, and what a static program links: the archive, or the shared library's objects."""
    name = io.name
    source = folder / f"{name}.c"
    source.write_text(network, encoding="utf-8")
    kernel_object = work / f"{name}_kernels.o"
    assembly = write_object(list(kernels.values()), target, kernel_object, f"{name}_fetch")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-I", str(folder)]
    interface = (folder / f"{name}.h").read_text(encoding="utf-8")

    def cached(parts: Iterable[str | bytes], out: Path, make: Callable[[], object]) -> Path:
        if cache is not None:
            return cache.get([target.name, out.name, *parts], out, make)
        make()
        return out

    def compile_c() -> None:
        nonlocal assembly
        assembly += compile_network(source, work, target, flags)[1]

    network_object = cached([network, interface], work / f"{name}.o", compile_c)
    blobs = {f"{name}_w{i}": w.tobytes() for i, w in enumerate(plan.weights)}
    weights_object = cached(
        [*blobs, *blobs.values(), repr(sections)],
        work / f"{name}_weights.o",
        lambda: toolchain.assemble_weights(
            blobs,
            work / f"{name}_weights.o",
            target,
            align=16 if target.is_bare_metal else 64,
            sections={f"{name}_w{number}": section for number, section in sections.items()},
        ),
    )
    objects = [network_object, kernel_object, weights_object]
    code = None if brief else section_bytes([network_object, kernel_object])
    sizes = {} if brief else function_sizes([network_object, kernel_object])
    if target.kind == "archive":
        library = toolchain.archive(objects, folder / f"lib{name}.a")
        objects = [library]
    else:
        entry = work / f"{name}_tvm.c"
        text = tvm_entry(io)
        entry.write_text(text, encoding="utf-8")
        made = work / f"{name}_tvm.o"
        entry_object = cached(
            [text, interface], made, lambda: toolchain.compile_object(entry, made, target, flags)
        )
        shared = [*objects, entry_object]
        if io.threads > 1:
            shared.append(pool_object(io.threads, target, work, serial=False))
            objects.append(pool_object(io.threads, target, work, serial=True))
        library = toolchain.link_shared(
            shared,
            folder / f"lib{name}.so",
            target,
            exported(io),
            ["-lpthread", "-lc"] if io.threads > 1 else [],
        )
    files = {"library": library.name, "header": f"{name}.h", "sources": [f"{name}.c"], "runner": None}
    stack, most = ({}, None) if brief else library_stack(assembly, io, kernels, target, work)
    return files, cost_report(plan, kernels, counts, code, sizes, stack, most), objects


def functions(io: Interface) -> list[str]:
    """Those of the C interface, without the prefix."""
    return ["init", "reset", "run", *(["step"] if io.streamable else [])]


def exported(io: Interface) -> list[str]:
    """Symbols of a shared library: the C interface, and what TVM calls."""
    return [*interface_functions(io), *(f"__tvm_ffi_{function}" for function in functions(io))]


def compile_network(source: Path, work: Path, target: Target, flags: list[str]) -> tuple[Path, str]:
    """The object of the generated C, and its assembly text, which it is made from: C is compiled once for both."""
    text = work / f"{source.stem}.s"
    toolchain.compile_object(source, text, target, [*flags, "-S"])
    assembly = complete(text.read_text(encoding="utf-8", errors="replace"), target)
    text.write_text(assembly, encoding="utf-8")
    return toolchain.compile_object(text, text.with_suffix(".o"), target), assembly


def library_stack(
    assembly: str, io: Interface, kernels: dict[str, Kernel], target: Target, work: Path
) -> tuple[dict[str, int | None], int | None]:
    """Bytes of stack that every function takes at most, and that a call of the library takes. assembly: of all its
    kernels and of its C."""
    if io.threads > 1:
        assembly += pool_assembly(io.threads, target, work)
    parts = [f"{kernel.symbol}_part" for kernel in kernels.values() if kernel.split]
    bounds = stack_bounds(assembly, target.zig_target, parts, EXTERNAL_STACK)
    called = [name for name in interface_functions(io) if name in bounds]
    return bounds, call_bytes(bounds, called, target.zig_target, arguments(io))


def interface_functions(io: Interface) -> list[str]:
    """Symbols of the C interface."""
    return [f"{io.name}_{function}" for function in (*functions(io), "init_for", "save", "restore")]


def arguments(io: Interface) -> int:
    """Of the function that has most: state, arena and length, inputs and outputs."""
    return 3 + len(io.inputs) + len(io.outputs)


def _emit_sources(
    io: Interface,
    plan: Plan,
    kernels: dict[str, Kernel],
    counts: dict[str, int],
    network: str,
    target: Target,
    folder: Path,
    sections: Mapping[int, str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    name = io.name
    parts = {
        f"{name}.c": network,
        f"{name}_kernels.c": _kernel_text(io, kernels, target),
        f"{name}_weights.c": _weights_text(io, plan, sections),
    }
    for file, text in parts.items():
        (folder / file).write_text(text, encoding="utf-8")
    files = {"library": None, "header": f"{name}.h", "sources": list(parts), "runner": None}
    return files, cost_report(plan, kernels, counts, None, {}, {})


def _kernel_text(io: Interface, kernels: dict[str, Kernel], target: Target) -> str:
    texts = [c_source(kernel, f"{io.name}_fetch") for kernel in kernels.values()]
    head = [
        f"/* {io.name}: kernels, generated by irnn_tvm with TVM. */",
        "#include <stdint.h>",
        "#include <string.h>",
        "",
    ]
    head += c_routines(texts, target)
    head += [f"{FETCH_TYPE.format(name=io.name)};"] if io.fetch_bytes else []
    head += [f"{kernel.prototype()};" for kernel in kernels.values()]
    return "\n".join([*head, "", *texts])


def _weights_text(io: Interface, plan: Plan, sections: Mapping[int, str]) -> str:
    lines = [f"/* {io.name}: weights and tables, read-only. */", "#include <stdint.h>", ""]
    if sections:
        lines += [
            "#if defined(__GNUC__)",
            "#define PLACE(section_name) __attribute__((section(section_name)))",
            "#else",
            "#define PLACE(section_name) /* by the compiler's own words, or the linker script */",
            "#endif",
            "",
        ]
    for i, w in enumerate(plan.weights):
        where = f' PLACE("{sections[i]}.{io.name}_w{i}")' if i in sections else ""
        lines.append(f"extern const {w.dtype}_t {io.name}_w{i}[{w.size}]{where};")
        lines.append(f"const {w.dtype}_t {io.name}_w{i}[{w.size}] = {{")
        lines += array_lines(w)
        lines.append("};")
        lines.append("")
    return "\n".join(lines)
