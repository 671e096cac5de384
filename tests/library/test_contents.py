"""What is, and what is not, in the files of a build: symbols, instructions, weights."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from disassembly import (
    FLOAT,
    exported_symbols,
    float_arithmetic,
    host_float,
    instructions,
    sections,
    undefined_symbols,
)
from every_target import DISTINCT
from samples import MODELS
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.compiler.report import function_sizes
from irnn_tvm.schedules.instruction_sets import get
from irnn_tvm.targets import TARGETS

Libraries = Callable[[str, str], Library]
COMPILED = [name for name in DISTINCT if name != "c"]
ARCHIVES = [name for name, target in irnn_tvm.TARGETS.items() if target.kind == "archive"]
# docs/targets.md: what an archive may ask of the firmware that links it.
HELPERS = re.compile(r"mem(cpy|set)|__aeabi_mem(cpy|set|clr)[48]?")
# The multiply-accumulate that each instruction set was made for (host: x86-64 with AVX or better).
DOT_PRODUCTS = {
    "x86-avx512-vnni": r"vpdp(busd|wssd)|vpmaddwd",
    "arm": r"sdot",
    "arm-i8mm": r"sdot|smmla",
    "arm-a53": r"s(mull|mlal)2?",
    "armv7": r"vmlal?\.[si]\d+",
    "cortex-m4": r"smlad",
    "cortex-m55": r"vml(adav|av)a?\.\w+",
}


def binary(library: Library) -> Path:
    """The file with the code."""
    return library.directory / library.report["files"]["library"]


@pytest.mark.parametrize("target", COMPILED)
@pytest.mark.parametrize("name", MODELS)
def test_nothing_but_memory_helpers_is_undefined(name: str, target: str, library: Libraries) -> None:
    """No TVM symbol, no malloc, no libc; a shared library needs nothing at all."""
    undefined = undefined_symbols(binary(library(name, target)))
    allowed = {symbol for symbol in undefined if target in ARCHIVES and HELPERS.fullmatch(symbol)}
    assert undefined == allowed


@pytest.mark.parametrize("target", [name for name in COMPILED if name not in ARCHIVES])
def test_shared_libraries_carry_nothing_for_debuggers(target: str, library: Libraries) -> None:
    names = [section.name for section, _ in sections(binary(library("tagger", target)))]
    assert ".symtab" in names  # by which sizes and profiles tell kernels from weights
    assert not [name for name in names if name.startswith(".debug")]


@pytest.mark.parametrize("target", [name for name in COMPILED if name not in ARCHIVES])
def test_exports_are_the_interface(target: str, library: Libraries) -> None:
    calls = ("init", "reset", "step", "run")
    expected = {f"tagger_{call}" for call in (*calls, "init_for", "save", "restore")} | {
        f"__tvm_ffi_{call}" for call in calls
    }
    assert exported_symbols(binary(library("tagger", target))) == expected
    without_step = {symbol.replace("tagger", "encoder") for symbol in expected if not symbol.endswith("step")}
    assert exported_symbols(binary(library("encoder", target))) == without_step


@pytest.mark.parametrize("target", ARCHIVES)
def test_visible_names_of_an_archive_carry_the_model_s_name(target: str, library: Libraries) -> None:
    assert all(name.startswith("tagger_") for name in exported_symbols(binary(library("tagger", target))))


def test_32_bit_neon_multiplies_by_its_routines(library: Libraries) -> None:
    """Layers of this size have blocks of 8 rows: what starts with a bias, and what the state adds to it."""
    sizes = function_sizes([binary(library("tagger", "armv7"))])
    assert {"irnn_dot_8x16", "irnn_dot_8x16_from_0"} <= set(sizes)
    assert not [name for name in exported_symbols(binary(library("tagger", "armv7"))) if "irnn_dot" in name]


@pytest.mark.parametrize("target", COMPILED)
@pytest.mark.parametrize("name", MODELS)
def test_no_float_instruction(
    name: str, target: str, library: Libraries, require_tool: Callable[[str], str]
) -> None:
    code = instructions(binary(library(name, target)), target, require_tool("llvm-objdump"))
    assert len(code) > 500
    assert float_arithmetic(code, FLOAT.get(target, host_float(platform.machine()))) == []


@pytest.mark.parametrize(
    ("machine", "floats", "integers"),
    [
        (
            "x86_64",
            "addss vmulps vfmadd231ps cvtsi2ss vcvttps2dq fadd ucomiss",
            "addq movaps vpaddd vpermps lfence",
        ),
        ("aarch64", "fadd fmla scvtf fcvtzs fcmp bfdot", "fmov add bfi bfxil sdot"),
        ("armv7", "vadd.f32 vmla.f32 vcvt.f32.s32 vcmp.f64 vmulgt.f32", "vadd.i32 vmov.f64 vmlal.s16 smlabb"),
    ],
)
def test_float_patterns(machine: str, floats: str, integers: str) -> None:
    """The patterns of the test above do find floats."""
    pattern = host_float(machine)
    assert all(pattern.fullmatch(mnemonic) for mnemonic in floats.split())
    assert not any(pattern.fullmatch(mnemonic) for mnemonic in integers.split())


@pytest.mark.parametrize("target", DOT_PRODUCTS)
@pytest.mark.parametrize("kernel", ["lstm_step", "gru_step", "gru_before_step", "linear"])
def test_default_schedule_reaches_the_instruction_set(
    kernel: str, target: str, library: Libraries, require_tool: Callable[[str], str]
) -> None:
    code = instructions(binary(library("tagger", target)), target, require_tool("llvm-objdump"))
    own = [item for item in code if re.fullmatch(rf"tagger_k_{kernel}\d*", item.function)]
    assert own, f"no function of {kernel}"
    # What a kernel leaves to a routine, the routine has to do.
    functions = {item.function for item in own}
    functions |= {match[1] for item in own if (match := re.search(r"<(irnn_dot_\w+)>", item.operands))}
    used = {item.mnemonic for item in code if item.function in functions}
    assert any(re.fullmatch(DOT_PRODUCTS[target], mnemonic) for mnemonic in used), sorted(used)


def test_time_steps_share_matrix_instructions(library: Libraries, require_tool: Callable[[str], str]) -> None:
    """smmla multiplies two vectors: it is for the products that are made for several time steps at a time."""
    code = instructions(binary(library("tagger", "arm-i8mm")), "arm-i8mm", require_tool("llvm-objdump"))
    used = {item.function for item in code if item.mnemonic == "smmla"}
    assert {f"tagger_k_{kernel}_inputs" for kernel in ("lstm_step", "gru_step")} <= used


class SameWeightsTwice(nn.Module):
    """Two layers with equal constants, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        weight = torch.randint(-127, 128, (48, 48), generator=generator, dtype=torch.int64).to(torch.int8)
        for name in ("first", "second"):
            self.register_buffer(name, weight.clone())
        self.register_buffer("bias", torch.arange(48, dtype=torch.int32))
        self.register_buffer("mult", torch.full((48,), 2**30, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        for weight in (self.first, self.second, self.first):
            x = torch.ops.irnn.linear(x, weight, self.bias, self.mult, 39, 1, 8)
        return x


@pytest.mark.parametrize("target", ["host", "arm", "cortex-m55"])
def test_equal_weights_are_stored_once(
    target: str, built: Callable[..., Library], require_tool: Callable[[str], str]
) -> None:
    model = SameWeightsTwice()
    library = built(
        "same-weights", target, lambda: torch.export.export(model, (torch.zeros(1, 48, dtype=torch.int8),))
    )
    content = binary(library).read_bytes()
    # Whatever order a target stores weights in, four neighbours of a row stay together.
    groups = model.first.numpy().reshape(48, 12, 4)[::7, ::5].reshape(-1, 4)
    assert [content.count(group.tobytes()) for group in groups] == [1] * len(groups)
    # Unsigned activations have the sums of the weights in front of these.
    isa = get(TARGETS[target].simd())
    sums = 4 * 48 if isa is not None and isa.offset else 0
    assert sorted(entry["bytes"] for entry in library.report["weights"]) == [4 * 48, 4 * 48, 48 * 48 + sums]
    x = torch.arange(48, dtype=torch.int8)[None]
    assert (library.run(x.numpy()) == model(x).numpy()).all()


@pytest.mark.parametrize("target", COMPILED)
def test_nothing_is_writeable_but_relocations(target: str, library: Libraries) -> None:
    """No static RAM: no .data, no .bss; weights lie in read-only sections."""
    for section, data in sections(binary(library("tagger", target))):
        writeable = section["sh_flags"] & 1 and section["sh_size"]
        assert not writeable or section.name in (".dynamic", ".got", ".got.plt", ".relro_padding"), (
            section.name
        )
        del data
