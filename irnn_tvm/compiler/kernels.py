"""Kernels of a model: schedule, lower, and generate an object (LLVM) or C source per distinct PrimFunc."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.lower_kernel import (
    lower_kernel,
    output_count,
    scalar_parameters,
    symbolic_sizes,
    tensor_parameters,
)
from irnn_tvm.compiler.missing_arithmetic import complete
from irnn_tvm.compiler.short_products import shortened
from irnn_tvm.compiler.split_tiles import split_tiles
from irnn_tvm.compiler.statements import nodes
from irnn_tvm.targets import Target

# TVM prints its own headers first; nothing of them is needed.
_PROLOGUE = re.compile(r"\A.*?(?=#ifdef __cplusplus\nextern \"C\"\n#endif\nTVM_DLL)", re.S)
# Conversions of half floats, weak symbols that TVM's code generator adds to every module and nothing here calls.
_HALF_FLOATS = re.compile(r"^\t\.section\t\.text\.tvm\.fp16\.conv.*?(?=^\t\.section\t)", re.S | re.M)
# Single elements in memory and a register that only AVX-512 has: Bochs 2.7 misreads their displacement of one byte,
# which counts elements, and not one of four bytes.
_ELEMENTS = re.compile(
    r"^(\s+)(?=.*%[xyz]mm(?:1[6-9]|2\d|3[01])\b)(vp(?:extr|insr)[bwdq]\s.*\()", re.MULTILINE
)
# What tells an exception how to pass through a function: nothing throws here, and functions that call others would
# need a symbol of a C++ library.
_UNWINDING = re.compile(r"^\s+\.(?:fnstart|fnend|cantunwind|save|vsave|setfp|pad)\b.*\n", re.MULTILINE)
# Instruction sets may have routines (`InstructionSet.assembly`).
_CALLED = re.compile(r"\b(irnn_\w+)")
_FETCH = re.compile(r"\birnn_fetch\b")
_NULL = "((void*)(uint64_t)0ULL)"  # an integer of another size than a pointer's
_EXTERN = re.compile(r"#ifdef __cplusplus\nextern \"C\"\n#endif\n")
_PARAMETER = re.compile(r"(int(?:8|16|32|64)_t\*?) (\w+)")


@dataclass(frozen=True)
class Kernel:
    """One compiled function. symbol: C name; writes: for each pointer parameter, is it an output; dtypes of pointers;
    scalars: number of sizes it takes explicitly; sizes: (tensor, axis) that define the ones after them. family: kind
    of kernel (relay_ops/kernel.py). split: its last two scalars are which part of the work it is to do, and of how
    many; prepares: something must be done before all parts (split_tiles.py). fetches: parameters that it
    fetches, and bytes at a time (placement.py). tuned: where its settings come from; empty: they are the default."""

    name: str
    symbol: str
    rule: str
    dtypes: tuple[str, ...]
    writes: tuple[bool, ...]
    scalars: int
    sizes: tuple[tuple[int, int], ...]
    macs: int
    lowered: Any
    family: str = ""
    split: bool = False
    prepares: bool = False
    fetches: dict[int, int] = field(default_factory=dict)
    tuned: str = ""

    @property
    def callee(self) -> str:
        """The C function that does the whole work."""
        return f"{self.symbol}_parallel" if self.split else self.symbol

    def parameters(self) -> list[tuple[str, str]]:
        """C types and names of the parameters."""
        pointers = [
            (f"{'' if out else 'const '}{dtype}_t *", f"p{i}")
            for i, (dtype, out) in enumerate(zip(self.dtypes, self.writes, strict=True))
        ]
        return pointers + [("int64_t ", f"n{i}") for i in range(self.scalars + len(self.sizes))]

    def prototype(self, storage: str = "") -> str:
        """C declaration."""
        return f"{storage}void {self.symbol}({', '.join(kind + name for kind, name in self.parameters())})"


def make_kernel(name: str, symbol: str, func: Any, target: Target, threads: int = 1) -> Kernel:
    """Schedules and lowers one PrimFunc for a target. threads: how many shall share the work of large ones."""
    import tvm

    from irnn_tvm.schedules.rules import schedule

    scheduled, rule = schedule(func, target)
    parts = split_tiles(scheduled) if threads > 1 and rule == "tiles" else None
    scheduled, prepares = (scheduled, False) if parts is None else parts
    lowered = lower_kernel(scheduled, symbol, tvm.target.Target(target.tvm_target))
    family = str(func.attrs["irnn.family"]) if "irnn.family" in func.attrs else ""
    return Kernel(
        name=name,
        symbol=symbol,
        rule=rule,
        dtypes=tuple(str(p.ty.dtype) for p in tensor_parameters(func)),
        writes=tuple(_written(func)),
        scalars=len(scalar_parameters(scheduled)),
        sizes=tuple((position, axis) for _, position, axis in symbolic_sizes(func)),
        macs=int(func.attrs["irnn.macs"]) if "irnn.macs" in func.attrs else 0,
        lowered=shortened(lowered, family),
        family=family,
        split=parts is not None,
        prepares=prepares,
        fetches=fetches_of(func) if any(isa.routine_rows for isa in _instruction_sets(target)) else {},
        tuned=str(func.attrs["irnn.tuned"]) if "irnn.tuned" in func.attrs else "",
    )


def _written(func: Any) -> list[bool]:
    """Which parameters a PrimFunc stores to: the last ones."""
    count = len(tensor_parameters(func))
    return [i >= count - output_count(func) for i in range(count)]


def llvm_module(kernels: list[Kernel], target: Target) -> Any:
    """All kernels as one LLVM module."""
    import tvm

    mod = tvm.IRModule({})
    for kernel in kernels:
        mod.update(kernel.lowered)
    functions = "\n".join(text for isa in _instruction_sets(target) if (text := isa.llvm()))
    if functions:
        mod = _with_functions(mod, functions)
    tvm_target = tvm.target.Target(target.tvm_target)
    return tvm.get_global_func("target.build.llvm")(mod, tvm_target)


def fetches_of(func: Any) -> dict[int, int]:
    """Which parameters of a PrimFunc it fetches before it reads them (placement.py), and how many bytes at a time.
    Only what calls a routine does."""
    from tvm.ir import Call
    from tvm.ir.expr import TensorLoad

    from irnn_tvm.relay_ops.products import FETCH

    names = [str(p.name) for p in tensor_parameters(func)]
    found: dict[int, int] = {}
    for node in nodes(func.body):
        if not isinstance(node, Call) or not node.args or str(getattr(node.args[0], "value", "")) != FETCH:
            continue
        for part in nodes(node.args[1]):
            if isinstance(part, TensorLoad):
                position = names.index(str(part.source.name))
                found[position] = max(found.get(position, 0), int(node.args[2]))
    return found


def write_object(kernels: list[Kernel], target: Target, path: Path, fetch: str) -> str:
    """Writes the kernels as a relocatable object; returns their assembly text (for the stack report).

    fetch: the symbol of what fetches weights."""
    assembly = _HALF_FLOATS.sub("", str(llvm_module(kernels, target).inspect_source("s")))
    if target.emulator is not None and target.emulator.kind == "pc":
        assembly = _ELEMENTS.sub(r"\1{disp32} \2", assembly)
    assembly = _FETCH.sub(fetch, assembly)
    if target.is_bare_metal:
        assembly = _UNWINDING.sub("", assembly)
    called = set(_CALLED.findall(assembly))
    routines = {symbol: text for isa in _instruction_sets(target) for symbol, text in isa.assembly().items()}
    assembly += "".join(text for symbol, text in routines.items() if symbol in called)
    assembly = complete(assembly, target)
    source = path.with_suffix(".s")
    source.write_text(assembly, encoding="utf-8")
    toolchain.compile_object(source, path, target)
    return assembly


def _instruction_sets(target: Target) -> list[Any]:
    """Those that the target's kernels may be written for."""
    from irnn_tvm.schedules.spaces import instruction_sets_of

    return instruction_sets_of(target.simd())


def _with_functions(mod: Any, functions: str) -> Any:
    """The module with functions in LLVM's language: TVM takes them from an attribute in the body of a kernel."""
    import tvm
    from tvm import tirx
    from tvm.ir import StringImm

    variable, first = next(iter(mod.functions.items()))
    body = tirx.AttrStmt(StringImm(""), "pragma_import_llvm", StringImm(functions), first.body)
    return tvm.IRModule({**dict(mod.functions.items()), variable: first.with_body(body)})


def c_routines(texts: list[str], target: Target) -> list[str]:
    """C99 text of the routines that kernels call."""
    called = {name for text in texts for name in _CALLED.findall(text)}
    routines = {
        symbol: text for isa in _instruction_sets(target) for symbol, text in isa.c_routines().items()
    }
    return [text for symbol, text in routines.items() if symbol in called]


def c_source(kernel: Kernel, fetch: str) -> str:
    """C99 text of one kernel, without TVM's headers, read-only parameters const. fetch: as for `write_object`."""
    import tvm

    text = tvm.get_global_func("target.build.c")(
        kernel.lowered, tvm.target.Target({"kind": "c"})
    ).inspect_source()
    text = _EXTERN.sub("", _PROLOGUE.sub("", text)).replace(_NULL, "0")
    text = _FETCH.sub(fetch, text)
    names = iter(range(len(kernel.dtypes)))
    body = text.split(f"TVM_DLL void {kernel.symbol}(", 2)[2]
    head, _, rest = body.partition(") {")

    def parameter(match: re.Match[str]) -> str:
        if not match[1].endswith("*"):
            return match[0]
        out = kernel.writes[next(names)]
        return f"{'' if out else 'const '}{match[1]} {match[2]}"

    # An input may be unused: TVM folds a kernel to a constant when its result cannot depend on it.
    unused = [name for _, name in _PARAMETER.findall(head) if not re.search(rf"\b{name}\b", rest)]
    ignored = "".join(f"\n  (void){name};" for name in unused)
    return f"void {kernel.symbol}({_PARAMETER.sub(parameter, head)}) {{{ignored}{rest.rstrip()}\n"
