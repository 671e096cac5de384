"""Libraries that choose their kernels at run time: one network for each of `Target.variants`, and a choice among them.

Every variant is compiled like a library of its own under a prefix (NAME_avx2_), which nothing outside sees. The
functions of the interface look which instructions the CPU and the operating system have when the first of them is
called, and pass calls on. States are the same for all variants. Constants that are the same are stored once; weights
are packed differently, and those of variants that do not run are never read, so that they take room in the file and
not in memory.
"""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.abi import Interface
from irnn_tvm.compiler.c_writer import CWriter
from irnn_tvm.compiler.cpuid import INSTRUCTIONS, LOOK, needs
from irnn_tvm.compiler.emit import (
    arguments,
    compile_network,
    exported,
    functions,
    interface_functions,
    library_stack,
)
from irnn_tvm.compiler.header import header, parameters
from irnn_tvm.compiler.kernels import Kernel, write_object
from irnn_tvm.compiler.plan import Plan
from irnn_tvm.compiler.report import cost_report, function_sizes, interface_report, section_bytes
from irnn_tvm.compiler.runner import build_runner
from irnn_tvm.compiler.stack import call_bytes, stack_bounds
from irnn_tvm.compiler.threads import pool_object
from irnn_tvm.compiler.tvm_entry import tvm_entry
from irnn_tvm.errors import BuildError
from irnn_tvm.targets import Target


@dataclass(frozen=True)
class Variant:
    """A network for one target; `io` has the prefix as its name."""

    target: Target
    io: Interface
    plan: Plan
    kernels: dict[str, Kernel]
    counts: dict[str, int]


def prefix(name: str, target: Target) -> str:
    """Of the symbols of a variant."""
    return f"{name}_{target.name.partition('-')[2].replace('-', '_')}"


def emit_variants(
    name: str, variants: Sequence[Variant], stream_reason: str, target: Target, folder: Path
) -> None:
    """Writes the library `name` into `folder` (which exists and is empty). variants: the best first."""
    first = variants[0].io
    check_same(target, [v.io for v in variants])
    io = replace(first, name=name, target=target.name, arena_bytes=max(v.io.arena_bytes for v in variants))
    (folder / f"{name}.h").write_text(header(io, choice=True), encoding="utf-8")
    source = folder / f"{name}.c"
    source.write_text(choice_source(io, variants), encoding="utf-8")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-I", str(folder)]
    with tempfile.TemporaryDirectory(prefix="irnn-objects-") as place:
        work = Path(place)
        choice, choice_text = compile_network(source, work, target, flags)
        objects = [choice]
        costs, sources = [], [source.name]
        for variant in variants:
            made, cost = _compile(variant, folder, work)
            objects += made
            costs.append(cost)
            sources.append(f"{variant.io.name}.c")
        blobs, aliases = _weights(name, variants)
        objects.append(
            toolchain.assemble_weights(blobs, work / f"{name}_weights.o", target, align=64, aliases=aliases)
        )
        entry = work / f"{name}_tvm.c"
        entry.write_text(tvm_entry(io), encoding="utf-8")
        shared = [*objects, toolchain.compile_object(entry, work / f"{name}_tvm.o", target, flags)]
        libraries = []
        if io.threads > 1:
            shared.append(pool_object(io.threads, target, work, serial=False))
            objects.append(pool_object(io.threads, target, work, serial=True))
            libraries = ["-lpthread", "-lc"]
        exports = [*exported(io), f"{name}_variant", f"{name}_choose"]
        library = toolchain.link_shared(shared, folder / f"lib{name}.so", target, exports, libraries)
        files: dict[str, Any] = {"library": library.name, "header": f"{name}.h", "sources": sources}
        files["runner"] = "emulator/runner"
        report = interface_report(io, target, files, stream_reason)
        report |= _costs(variants, costs, blobs, aliases, section_bytes(objects[:1]))
        report["stack_bytes"] = _stack(io, costs, choice_text, target)
        build_runner(report, objects, folder, folder / files["runner"], target)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def check_same(target: Target, interfaces: Sequence[Interface]) -> None:
    """BuildError unless callers and states cannot tell these variants of a target from each other."""
    seen = {
        (
            tuple(replace(tensor, stage=0) for tensor in (*io.inputs, *io.outputs)),
            tuple((s.offset, str(s.initial.dtype), s.initial.shape, s.initial.tobytes()) for s in io.states),
            (io.state_bytes, io.streamable, io.feedback, io.model_hash, io.threads),
            (io.fixed_steps, io.min_steps, io.max_steps, io.period, io.remainders),
        )
        for io in interfaces
    }
    if len(seen) != 1:
        raise BuildError(f"the variants of {target.name} differ in more than their kernels")


def _compile(variant: Variant, folder: Path, work: Path) -> tuple[list[Path], dict[str, Any]]:
    """Objects of the network and its kernels, and what they cost."""
    io, target, plan, kernels = variant.io, variant.target, variant.plan, variant.kernels
    (work / f"{io.name}.h").write_text(header(io), encoding="utf-8")
    source = folder / f"{io.name}.c"
    source.write_text(CWriter(io, plan, kernels).text(), encoding="utf-8")
    kernel_object = work / f"{io.name}_kernels.o"
    assembly = write_object(list(kernels.values()), target, kernel_object, f"{io.name}_fetch")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-I", str(work)]
    network, text = compile_network(source, work, target, flags)
    assembly += text
    made = [network, kernel_object]
    stack, most = library_stack(assembly, io, kernels, target, work)
    cost = cost_report(plan, kernels, variant.counts, section_bytes(made), function_sizes(made), stack, most)
    for row in cost["kernels"]:
        row["variant"] = target.name
    return made, cost


def _stack(io: Interface, costs: Sequence[dict[str, Any]], choice: str, target: Target) -> int | None:
    """Bytes of stack that a call takes at most: of the choice, and of whichever variant it calls."""
    if any(cost["stack_bytes"] is None for cost in costs):
        return None
    inner = "variant of the choice"
    below = {inner: max(cost["stack_bytes"] for cost in costs)}
    bounds = stack_bounds(choice, target.zig_target, [inner], below)
    return call_bytes(bounds, interface_functions(io), target.zig_target, arguments(io))


def _weights(name: str, variants: Sequence[Variant]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Distinct constants by symbol, and the symbols of variants that stand for them."""
    blobs: dict[str, bytes] = {}
    known: dict[bytes, str] = {}
    aliases = {}
    for variant in variants:
        for number, weight in enumerate(variant.plan.weights):
            data = weight.tobytes()
            if data not in known:
                known[data] = f"{name}_w{len(known)}"
                blobs[known[data]] = data
            aliases[f"{variant.io.name}_w{number}"] = known[data]
    return blobs, aliases


def _costs(
    variants: Sequence[Variant],
    costs: Sequence[dict[str, Any]],
    blobs: Mapping[str, bytes],
    aliases: Mapping[str, str],
    choice_bytes: int,
) -> dict[str, Any]:
    """What all variants cost together, and under `variants` each by itself.

    constants: what is stored, and for which variants; their `weights` say as which of these each is stored.
    """
    code = choice_bytes + sum(cost["code_bytes"] for cost in costs)
    users: dict[str, list[str]] = {symbol: [] for symbol in blobs}
    for variant, cost in zip(variants, costs, strict=True):
        for number, weight in enumerate(cost["weights"]):
            weight["stored_as"] = aliases[f"{variant.io.name}_w{number}"]
        for symbol in dict.fromkeys(weight["stored_as"] for weight in cost["weights"]):
            users[symbol].append(variant.target.name)
    weight_bytes = sum(len(blob) for blob in blobs.values())
    return {
        "weight_bytes": weight_bytes,
        "code_bytes": code,
        "flash_bytes": weight_bytes + code,
        "macs_per_step": costs[0]["macs_per_step"],
        "constants": [
            {"name": symbol, "bytes": len(blobs[symbol]), "variants": names}
            for symbol, names in users.items()
        ],
        "kernels": [kernel for cost in costs for kernel in cost["kernels"]],
        "variants": [
            {
                "target": v.target.name,
                "instruction_set": v.target.simd(),
                "cpu_flags": v.target.required_cpu_flags(),
                "prefix": v.io.name,
                **cost,
            }
            for v, cost in zip(variants, costs, strict=True)
        ],
    }


def choice_source(io: Interface, variants: Sequence[Variant]) -> str:
    """NAME.c: the interface, which passes calls on to a variant."""
    called = [*functions(io), "save", "restore"]
    types = {
        "init": "void *state",
        "save": "const void *state, void *snapshot",
        "restore": "void *state, const void *snapshot",
        "reset": "void *state",
        "step": f"void *state, void *arena, {parameters(io)}",
        "run": f"void *state, void *arena, int32_t T, {parameters(io)}",
    }
    names = ", ".join(t.name for t in (*io.inputs, *io.outputs))
    arguments = {
        "init": "state",
        "save": "state, snapshot",
        "restore": "state, snapshot",
        "reset": "state",
        "step": f"state, arena, {names}",
        "run": f"state, arena, T, {names}",
    }
    lines = [
        f"/* {io.name}: passes calls on to the kernels for this CPU, generated by irnn_tvm. {io.name}.h documents the",
        " * interface. */",
        f'#include "{io.name}.h"',
        "",
        "#include <stddef.h>",
        "",
        f"#undef {io.name}_init",
        INSTRUCTIONS,
        LOOK,
        "struct variant {",
        "  const char *name;",
        "  uint32_t needs[WORDS];",
        *(f"  int (*{function})({types[function]});" for function in called),
        "};",
        "",
        *(f"extern int {v.io.name}_{function}({types[function]});" for v in variants for function in called),
        "",
        "/* The best first. */",
        "static const struct variant variants[] = {",
    ]
    for v in variants:
        flags = v.target.required_cpu_flags()
        masks = ", ".join(f"{mask:#x}u" for mask in needs(flags))
        pointers = ", ".join(f"{v.io.name}_{function}" for function in called)
        lines += [f"    /* {line} */" for line in textwrap.wrap(" ".join(flags), 100)]
        lines.append(f'    {{"{v.target.name}", {{{masks}}}, {pointers}}},')
    lines += [
        "};",
        f"enum {{ VARIANTS = {len(variants)} }};",
        "",
        "static const struct variant *chosen;",
        "",
        "static int runs(const struct variant *one, const uint32_t found[WORDS]) {",
        "  for (int i = 0; i < WORDS; ++i) {",
        "    if ((found[i] & one->needs[i]) != one->needs[i]) {",
        "      return 0;",
        "    }",
        "  }",
        "  return 1;",
        "}",
        "",
        "/* Threads may come at the same time: all of them find the same. */",
        "__attribute__((noinline)) static const struct variant *best(void) {",
        "  uint32_t found[WORDS];",
        "  look(found);",
        "  for (int i = 0; i < VARIANTS; ++i) {",
        "    if (runs(&variants[i], found)) {",
        "      __atomic_store_n(&chosen, &variants[i], __ATOMIC_RELAXED);",
        "      return &variants[i];",
        "    }",
        "  }",
        "  return NULL;",
        "}",
        "",
        "static inline const struct variant *current(void) {",
        "  const struct variant *one = __atomic_load_n(&chosen, __ATOMIC_RELAXED);",
        "  return one != NULL ? one : best();",
        "}",
        "",
        f"const char *{io.name}_variant(void) {{",
        "  const struct variant *one = current();",
        '  return one == NULL ? "" : one->name;',
        "}",
        "",
        f"int {io.name}_choose(const char *name) {{",
        "  uint32_t found[WORDS];",
        "  if (name == NULL) {",
        "    return IRNN_E_NULL;",
        "  }",
        "  look(found);",
        "  for (int i = 0; i < VARIANTS; ++i) {",
        "    const char *a = name, *b = variants[i].name;",
        "    while (*a != 0 && *a == *b) {",
        "      ++a;",
        "      ++b;",
        "    }",
        "    if (*a == *b && runs(&variants[i], found)) {",
        "      __atomic_store_n(&chosen, &variants[i], __ATOMIC_RELAXED);",
        "      return IRNN_OK;",
        "    }",
        "  }",
        "  return IRNN_E_CPU;",
        "}",
    ]
    lines += [
        "",
        f"int {io.name}_init_for(void *state, uint32_t interface) {{",
        f"  return interface != {io.name.upper()}_INTERFACE ? IRNN_E_MODEL : {io.name}_init(state);",
        "}",
    ]
    for function in called:
        lines += [
            "",
            f"int {io.name}_{function}({types[function]}) {{",
            "  const struct variant *one = current();",
            f"  return one == NULL ? IRNN_E_CPU : one->{function}({arguments[function]});",
            "}",
        ]
    return "\n".join(lines) + "\n"
