"""build: from a model to a directory with a finished library."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irnn_tvm import targets
from irnn_tvm.boundary import public
from irnn_tvm.cache import scratch_folder
from irnn_tvm.compiler.abi import HEADER_BYTES, Interface, State, Tensor
from irnn_tvm.compiler.memory import Memory, check, check_arena
from irnn_tvm.compiler.names import library_name, tensor_name
from irnn_tvm.compiler.pipeline import Lowered, call_counts, lower_program
from irnn_tvm.compiler.placement import check_names, place
from irnn_tvm.compiler.plan import ITEM_BYTES, aligned, expression
from irnn_tvm.compiler.selftest import make_vectors
from irnn_tvm.compiler.threads import check_threads
from irnn_tvm.compiler.tuned import choose_for
from irnn_tvm.errors import BuildError, UnsupportedModuleError
from irnn_tvm.frontend.sizes import check_sizes, with_sizes
from irnn_tvm.runtime.export import copy_directory, unwritable
from irnn_tvm.runtime.library import Library, load
from irnn_tvm.runtime.pickling import remove_with

if TYPE_CHECKING:
    import torch

    from irnn_tvm.compiler.kernels import Kernel

_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")


@public
def build(
    model: Any,
    target: str = "host",
    *,
    out: str | Path | None = None,
    name: str = "model",
    batch: int | None = None,
    seq_len: int | None = None,
    max_seq_len: int | None = None,
    calibration: Iterable[Any] | None = None,
    config: Any = None,
    threads: int = 1,
    sources: bool = False,
    memory: Memory | None = None,
    placement: Mapping[str, str] | str | None = None,
    stream_weights: str | None = None,
    tuning_logs: str | Path | bool | None = None,
) -> Library:
    """Compiles a model into a C-ABI library and opens it.

    model: an IntegerModel; a float nn.Module together with `calibration` (batches for irnn_tvm.quantize) and
    optionally `config`; a torch.export.ExportedProgram of an integer model; or the path of a .pt2 file.
    target: a name from irnn_tvm.TARGETS. out: directory to write (replaced whole when it holds an earlier build);
    default: a temporary one that lives as long as the Library. name: prefix of every C symbol and
    file, in lower-case letters, digits and underscores; a word that C or C++ reserves gets "_model" behind it. `notes`
    in report.json says so, and which tensors are called otherwise in C.
    batch: fixed batch size, default 1; an exported program or a .pt2 file has one already, and another one is refused.
    seq_len: fixes the sequence length; without it the length is a run-time value.
    max_seq_len: longest sequence; sizes the arena of models that need the whole sequence at once (default 256).
    threads: how many share the work of large products (from half a million multiply-accumulates on), on targets with an
    operating system; the integers are the same. With more than one, the library needs libc and libpthread.
    sources: for microcontrollers, C99 sources in the place of a static library: any compiler takes them, and where its
    settings have DSP instructions or Helium they use them (ACLE).
    placement: for microcontrollers and C sources, the linker's section for all constants, or sections by the kernel
    that reads them (report.json names them, "lstm_step"), by number of a constant ("3"), and for all others ("*").
    stream_weights: the section of the products' weights, which are then read only after NAME_fetch, a function of the
    firmware, has brought them into a buffer, a tile of rows at a time.
    tuning_logs: a folder of logs that `tune` wrote, by which kernels are made; None: those of the user
    (irnn_tvm.tuning.logs.user_folder) and those that are shipped; False: the default kernels. report.json says for each
    kernel whether it is tuned, and how that was measured.
    memory: bytes of flash and RAM that there are: a library that needs more is refused (MemoryBudgetError).

    Raises UnknownTargetError, UnsupportedModuleError, AccumulatorOverflowError, InputError, ProgramError,
    ToolNotFoundError, MemoryBudgetError, or BuildError when a step of the compiler fails; nothing is half written then.
    """
    chosen = targets.get(target)
    check_sizes(batch=batch, seq_len=seq_len, max_seq_len=max_seq_len)
    if not isinstance(name, str) or not _NAME.match(name):
        raise BuildError(
            f"name {name!r} cannot prefix C symbols; use lower-case letters, digits and underscores"
        )
    name, renamed = library_name(name)
    destination = None if out is None else Path(out)
    if destination is not None:
        _check_destination(destination)
    program, specs = resolve_program(
        model, batch=batch, seq_len=seq_len, max_seq_len=max_seq_len, calibration=calibration, config=config
    )
    check_threads(threads, chosen)
    if sources and chosen.kind != "sources":
        if not chosen.is_bare_metal:
            raise BuildError(
                f"sources=True is for microcontrollers, not for {chosen.name}; target 'c' gives sources for any CPU"
            )
        chosen = chosen.as_sources()
    check_names(chosen, placement, stream_weights)
    variants = [targets.get(variant) for variant in chosen.variants] or [chosen]
    stream = stream_weights is not None
    lowered = [
        lower_program(program, max_seq_len, variant.simd(), stream, choose_for(variant, tuning_logs))
        for variant in variants
    ]
    for one in lowered:
        check_arena(one.plan, one.lengths.maximum or one.at_once, chosen)
    parent = scratch_folder("irnn-build-")
    try:
        folder = parent / name
        folder.mkdir()
        if chosen.variants:
            _write_variants(lowered, specs, variants, chosen, (name, renamed), folder, threads)
        else:
            places = placement, stream_weights
            _write(lowered[0], specs, chosen, (name, renamed), folder, threads, program, places)
        if memory is not None:
            check(memory, json.loads((folder / "report.json").read_text(encoding="utf-8")))
        if destination is not None:
            copy_directory(folder, destination)
            return load(destination)
        library = load(folder)
        remove_with(library, parent)
        return library
    except BaseException:
        shutil.rmtree(parent, ignore_errors=True)
        raise
    finally:
        if destination is not None:
            shutil.rmtree(parent, ignore_errors=True)


def resolve_program(
    model: Any,
    *,
    batch: int | None = None,
    seq_len: int | None = None,
    max_seq_len: int | None = None,
    calibration: Iterable[Any] | None = None,
    config: Any = None,
) -> tuple[torch.export.ExportedProgram, dict[str, Any]]:
    """The exported integer program of whatever `build` accepts as a model, and what its integers mean."""
    import torch

    from irnn_tvm.frontend.exporting import export_program
    from irnn_tvm.frontend.model_files import integer_program
    from irnn_tvm.frontend.pt2 import load_program, specs_of
    from irnn_tvm.quantization import IntegerModel, QuantConfig, quantize
    from irnn_tvm.quantization.accepted import float_module

    check_sizes(batch=batch, seq_len=seq_len, max_seq_len=max_seq_len)
    sizes = {"seq_len": seq_len, "max_seq_len": max_seq_len}
    if isinstance(model, str | Path):
        program, specs = load_program(model)
        program = integer_program(program, str(model))
        return with_sizes(program, specs, str(model), batch=batch, **sizes), specs
    if isinstance(model, torch.export.ExportedProgram):
        program = integer_program(model, "the ExportedProgram")
        return with_sizes(program, {}, "the program", batch=batch, **sizes), {}
    if not isinstance(model, IntegerModel):
        try:
            model = float_module(model)
        except UnsupportedModuleError as error:
            raise BuildError(f"cannot build: {error}") from error
        if calibration is None:
            raise BuildError(
                f"{type(model).__name__} is a float module: quantize it first, or pass calibration= batches to build"
            )
        model = quantize(model, calibration, config if config is not None else QuantConfig())
    program = export_program(model, batch=batch or 1, **sizes)
    return program, specs_of(model)


def _check_destination(path: Path) -> None:
    problem = unwritable(path)
    if problem is not None:
        raise BuildError(f"{path} cannot be written: {problem}")
    if path.exists() and not path.is_dir():
        raise BuildError(f"{path} is a file; out= names a directory")
    if path.is_dir() and any(path.iterdir()) and not (path / "report.json").is_file():
        raise BuildError(
            f"{path} is not empty and is not an earlier build: choose another directory for out="
        )


def make_interface(
    lowered: Lowered,
    specs: dict[str, Any],
    target: targets.Target,
    name: str,
    renamed: str | None = None,
) -> Interface:
    """Names, shapes and sizes of everything that crosses the C interface. renamed: the note where `name` is not what
    was asked for."""
    in_specs, out_specs = specs.get("inputs", []), specs.get("outputs", [])
    used: set[str] = set()
    notes = [*([] if renamed is None else [renamed]), *specs.get("fixed_sizes", [])]

    def named(label: str, ty: Any, spec: dict[str, Any], kind: str, limit: int | str | None = None) -> Tensor:
        identifier, note = tensor_name(str(spec.get("name") or label), used, kind)
        notes.extend([note] if note is not None else [])
        return _tensor(identifier, ty, spec, limit)

    inputs = [
        named(label, ty, in_specs[i] if i < len(in_specs) else {}, "input", lowered.index_limits.get(i))
        for i, (label, ty) in enumerate(lowered.params)
    ]
    outputs = [
        named(
            "y" if len(lowered.results) == 1 else f"y{i}",
            ty,
            out_specs[i] if i < len(out_specs) else {},
            "output",
        )
        for i, ty in enumerate(lowered.results)
    ]
    arena = lowered.plan.arena_bytes
    if lowered.streaming.streamable and lowered.fixed_steps is None:
        inputs, arena = _stage(inputs, arena, lowered.at_once)
        outputs, arena = _stage(outputs, arena, lowered.at_once)
    offset = HEADER_BYTES
    states = []
    for lifted in lowered.states:
        states.append(State(offset, lifted.initial))
        offset += aligned(lifted.initial.nbytes)
    return Interface(
        name=name,
        target=target.name,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        states=tuple(states),
        state_bytes=offset,
        arena_bytes=max(arena, 16),
        streamable=lowered.streaming.streamable,
        feedback=lowered.streaming.feedback,
        fixed_steps=lowered.fixed_steps,
        min_steps=lowered.lengths.minimum,
        max_steps=lowered.lengths.maximum or 0,
        period=lowered.lengths.period,
        remainders=lowered.lengths.remainders,
        model_hash=zlib.crc32(name.encode(), lowered.digest),
        summary=_summary(lowered),
        at_once=lowered.at_once,
        notes=tuple(notes),
    )


def _summary(lowered: Lowered) -> str:
    if lowered.streaming.streamable:
        return "Runs step by step (step) or over whole sequences (run); both give the same integers."
    return f"Runs over whole sequences only: {lowered.streaming.reason}."


def _tensor(name: str, ty: Any, spec: dict[str, Any], limit: int | str | None) -> Tensor:
    shape = tuple(expression(d) for d in ty.shape.values)
    row: int | None = None
    outer = 1
    if "T" in shape:
        row = prod(d for d in shape if isinstance(d, int))
        outer = prod(d for d in shape[: shape.index("T")] if isinstance(d, int))
    return Tensor(
        name, str(ty.dtype), shape, spec.get("scale"), spec.get("zero_point"), row, outer, limit=limit
    )


def _stage(tensors: list[Tensor], arena: int, steps: int) -> tuple[list[Tensor], int]:
    """Gives tensors whose time steps lie apart in memory (batch first) room in the arena for a few steps."""
    staged = []
    for t in tensors:
        if t.row is None or t.outer == 1:
            staged.append(t)
            continue
        staged.append(replace(t, stage=arena))
        arena += aligned(t.row * ITEM_BYTES[t.dtype] * steps)
    return staged, arena


def _write(
    lowered: Lowered,
    specs: dict[str, Any],
    target: targets.Target,
    named: tuple[str, str | None],
    folder: Path,
    threads: int,
    program: torch.export.ExportedProgram,
    places: tuple[Mapping[str, str] | str | None, str | None],
) -> None:
    """Fills `folder` with the library, header, runner and report, and with a self-test where it goes to a device.

    named: the library's name, and the note where it is not what was asked for."""
    from irnn_tvm.compiler.emit import emit_library
    from irnn_tvm.compiler.fetch_order import fetch_order

    name = named[0]
    io = replace(make_interface(lowered, specs, target, *named), threads=threads)
    kernels = _kernels(lowered, name, target, threads)
    found = place(lowered.plan, kernels, *places)
    order = fetch_order(io, lowered.plan, kernels) if found.fetch_bytes else []
    io = replace(io, fetch_bytes=found.fetch_bytes, fetch_order=tuple(order))
    vectors = None if target.kind == "shared" else make_vectors(program, io)
    emit_library(
        io,
        lowered.plan,
        kernels,
        call_counts(lowered),
        lowered.streaming.reason,
        target,
        folder,
        vectors,
        found.sections,
    )


def write_module(
    lowered: Lowered, target: targets.Target, name: str, folder: Path, cache: Path | None = None
) -> None:
    """The library of a lowered module that is nobody's program: without scales, without a self-test, and its report
    without stack and sizes. cache: a folder that keeps objects for other modules that have the same."""
    from irnn_tvm.compiler.emit import emit_library
    from irnn_tvm.compiler.object_cache import ObjectCache

    io = make_interface(lowered, {}, target, name)
    kernels = _kernels(lowered, name, target, 1)
    emit_library(
        io,
        lowered.plan,
        kernels,
        call_counts(lowered),
        lowered.streaming.reason,
        target,
        folder,
        brief=True,
        cache=None if cache is None else ObjectCache(cache),
    )


def _kernels(lowered: Lowered, name: str, target: targets.Target, threads: int) -> dict[str, Kernel]:
    """Those that the plan calls."""
    from irnn_tvm.compiler.kernels import make_kernel

    return {
        kernel: make_kernel(kernel, f"{name}_k_{kernel}", lowered.mod[kernel], target, threads)
        for kernel in dict.fromkeys(name for call in lowered.plan.calls for name in call.kernels)
    }


def _write_variants(
    lowered: list[Lowered],
    specs: dict[str, Any],
    variants: list[targets.Target],
    target: targets.Target,
    named: tuple[str, str | None],
    folder: Path,
    threads: int,
) -> None:
    """The same for a library that chooses among variants at run time."""
    from irnn_tvm.compiler.variants import Variant, emit_variants, prefix

    name = named[0]
    made: list[Variant] = []
    for one, variant in zip(lowered, variants, strict=True):
        inner = prefix(name, variant)
        io = replace(make_interface(one, specs, target, *named), name=inner, threads=threads)
        kernels = _kernels(one, inner, variant, threads)
        made.append(Variant(variant, io, one.plan, kernels, call_counts(one)))
    emit_variants(name, made, lowered[0].streaming.reason, target, folder)
