"""Constants in sections of the linker's, and weights that are fetched from where the processor cannot read."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from elftools.elf.elffile import ELFFile
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import IntegerModel, Library
from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.runner import board_sources
from irnn_tvm.compiler.selftest import STEPS
from irnn_tvm.errors import BuildError
from irnn_tvm.runtime.emulated import board_command
from irnn_tvm.runtime.layouts import Package
from irnn_tvm.targets import get

# Linked for an address where the board has no memory, and loaded elsewhere: what a serial flash is to a firmware.
OUTSIDE = """
  .ext_flash : ALIGN(16)
  {
    __ext_start = .;
    *(.ext_flash .ext_flash.*)
  } > OUTSIDE AT > BIG
  __ext_load = LOADADDR(.ext_flash);
"""
FETCH = """
#include "tiny.h"
extern const uint8_t __ext_start[], __ext_load[];
static uint8_t buffer[TINY_FETCH_BYTES] __attribute__((aligned(16)));
const void *tiny_fetch(const void *weights, int32_t bytes) {
  const uint8_t *from = __ext_load + ((const uint8_t *)weights - __ext_start);
  if (bytes > TINY_FETCH_BYTES) return 0;
  for (int32_t i = 0; i < TINY_FETCH_BYTES; ++i) buffer[i] = i < bytes ? from[i] : 0x5A;
  return buffer;
}
"""
# Asks for every tile before it is needed, by the table of the header; leaves the program where another one is wanted.
PREFETCH = """
#include "tiny.h"
#include "runner_io.h"
extern const uint8_t __ext_start[], __ext_load[];
static uint8_t buffers[2][TINY_FETCH_BYTES] __attribute__((aligned(16)));
static int side, begun;
static int32_t group, round, tile;
static void transfer(void) {
  const struct tiny_tile *one = &tiny_tiles[tiny_tile_groups[group].first + tile];
  const uint8_t *from = __ext_load + ((const uint8_t *)one->weights - __ext_start);
  for (int32_t i = 0; i < one->bytes; ++i) buffers[side][i] = from[i];
}
static void advance(void) {
  const struct tiny_tile_group *its = &tiny_tile_groups[group];
  if (++tile < its->count) return;
  tile = 0;
  if (++round < STEPS * its->per_step + its->once) return;
  round = 0;
  group = (group + 1) % TINY_TILE_GROUPS;
}
const void *tiny_fetch(const void *weights, int32_t bytes) {
  const struct tiny_tile *one = &tiny_tiles[tiny_tile_groups[group].first + tile];
  const void *here;
  if (!begun) transfer();
  begun = 1;
  if (one->weights != weights || one->bytes != bytes) io_exit(77);
  here = buffers[side];
  side = 1 - side;
  advance();
  transfer();
  return here;
}
"""
STREAMED = {"stream_weights": ".ext_flash", "placement": "ro_fast"}


def _sections(archive: Path, folder: Path) -> dict[str, str]:
    """Section by constant of the archive's object of weights."""
    toolchain.run_zig(["ar", "x", archive.resolve()], "Unpacking", cwd=folder)
    with (folder / "tiny_weights.o").open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".symtab")
        return {
            s.name: elf.get_section(s["st_shndx"]).name
            for s in table.iter_symbols()
            if s.name.startswith("tiny_w")
        }


def _firmware(library: Library, folder: Path, fetch: str, main: str | None = None) -> Path:
    target = get(library.target)
    board = target.emulator.board if target.emulator else ""
    script = (toolchain.FIRMWARE / f"{board}.ld").read_text()
    script = script.replace("  BIG (rwx)", "  OUTSIDE (r) : ORIGIN = 0xD0000000, LENGTH = 16M\n  BIG (rwx)")
    script = script.replace("*(.rodata .rodata.*)", "*(.rodata .rodata.* ro_fast.*)")
    (folder / "board.ld").write_text(script.replace("  .stack (NOLOAD)", OUTSIDE + "\n  .stack (NOLOAD)"))
    package = Package(library.directory, library.report)
    (folder / "main.c").write_text(main or package.main())
    (folder / "fetch.c").write_text(fetch)
    sources = [folder / "main.c", folder / "fetch.c", *package.sources, *board_sources(target)]
    sources += [path for path in package.selftest if path.suffix == ".c"]
    sources += [package.archive] if package.archive else []
    flags = ["-I", str(library.directory), "-I", str(toolchain.FIRMWARE), f"-DSTEPS={STEPS}"]
    return toolchain.link_executable(sources, folder / "f.elf", target, flags, folder / "board.ld")


@pytest.mark.emulator
@pytest.mark.parametrize("sources", [False, True])
@pytest.mark.parametrize(("target", "machine"), [("cortex-m4", "mps2-an386"), ("cortex-m55", "mps3-an547")])
def test_weights_are_read_through_fetch_alone(
    target: str,
    machine: str,
    sources: bool,
    library: Callable[..., Library],
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:
    qemu = require_tool("qemu-system-arm")
    built = library(target, sources=sources, **STREAMED)
    weights = max(w["bytes"] for w in built.report["weights"] if w["dtype"] == "int8")
    assert 0 < built.report["fetch_bytes"] <= weights
    codes = []
    for fetch in (FETCH, PREFETCH, ""):
        elf = _firmware(built, tmp_path, fetch)
        command = board_command(qemu, ("-M", machine), elf)
        codes.append(subprocess.run(command, capture_output=True, timeout=60, check=False).returncode)
    assert codes[:2] == [0, 0]
    assert codes[2] != 0  # without it there is nothing to read


class Sequence(nn.Module):
    """Both directions, a step for each row of a batch of two, and a layer on the last state alone."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(10, 13, bidirectional=True), nn.GRU(26, 9)
        self.head, self.last = nn.Linear(9, 5), nn.Linear(9, 7)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.gru(self.lstm(x)[0])
        return self.head(y), self.last(h[0])


@pytest.mark.emulator
@pytest.mark.parametrize(("target", "machine"), [("cortex-m4", "mps2-an386"), ("cortex-m55", "mps3-an547")])
def test_the_table_is_the_order_of_the_tiles(
    target: str, machine: str, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """Of a library that needs the whole sequence, in which groups are repeated."""
    qemu = require_tool("qemu-system-arm")
    torch.manual_seed(8)
    model = irnn_tvm.quantize(Sequence().eval(), [torch.randn(7, 3, 10) for _ in range(2)])
    built = irnn_tvm.build(model, target, out=tmp_path / "out", name="tiny", batch=2, **STREAMED)  # type: ignore[arg-type]
    assert not built.streamable
    (tmp_path / "work").mkdir()
    main = '#include "tiny_selftest.h"\nint main(void) { return tiny_selftest(); }\n'
    elf = _firmware(built, tmp_path / "work", PREFETCH, main)
    done = subprocess.run(
        board_command(qemu, ("-M", machine), elf), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0
    text = (tmp_path / "out" / "tiny.c").read_text()
    tiles = set(re.findall(r"tiny_w(\d+) \+ (\d+), (\d+)}", text))  # once for each row of the batch
    matrices = {number for number, _, _ in tiles}
    for number in matrices:  # all of each matrix
        size = sum(int(length) for n, _, length in tiles if n == number)
        assert size == built.report["weights"][int(number)]["bytes"]


def test_sections_by_layer_and_by_constant(model: IntegerModel, tmp_path: Path) -> None:
    placement = {"lstm_step": ".fast", "3": ".table", "*": ".slow"}
    built = irnn_tvm.build(model, "cortex-m4", out=tmp_path / "out", name="tiny", placement=placement)
    (tmp_path / "objects").mkdir()
    found = _sections(tmp_path / "out" / "libtiny.a", tmp_path / "objects")
    assert found["tiny_w3"] == ".table.tiny_w3"
    assert {section.rpartition(".")[0] for section in found.values()} == {".fast", ".table", ".slow"}
    assert found["tiny_w0"] == ".fast.tiny_w0"
    assert built.report["sections"] == [".fast", ".slow", ".table"]


def test_only_products_are_streamed(library: Callable[..., Library], tmp_path: Path) -> None:
    built = library("cortex-m4", **STREAMED)
    found = _sections(built.directory / "libtiny.a", tmp_path)
    outside = {
        int(name.removeprefix("tiny_w")) for name, section in found.items() if section.startswith(".ext")
    }
    matrices = {n for n, w in enumerate(built.report["weights"]) if w["dtype"] == "int8"}
    assert outside == matrices  # two of the LSTM, two of the GRU, one of the linear layer
    assert len(matrices) == 5


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("host", {"placement": ".fast"}, "placement is for microcontrollers and C sources, not for host"),
        (
            "cortex-m3",
            {"stream_weights": ".ext"},
            "needs kernels that read weights in tiles, which cortex-m3 has not",
        ),
        ("cortex-m4", {"stream_weights": "a b"}, "'a b' is no name of a section"),
        (
            "cortex-m4",
            {"placement": {"conv1d": ".fast"}},
            r"placement names 'conv1d'; there are lstm_step, .*, constants 0",
        ),
        ("cortex-m4", {"placement": {"99": ".fast"}}, "placement names '99'"),
    ],
)
def test_bad_requests(
    target: str, options: dict[str, object], words: str, model: IntegerModel, tmp_path: Path
) -> None:
    with pytest.raises(BuildError, match=words):
        irnn_tvm.build(model, target, out=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
