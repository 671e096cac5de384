"""Compiling, archiving and linking: what is in the files, and what is said when it fails."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from irnn_tvm import targets
from irnn_tvm.compiler import toolchain
from irnn_tvm.errors import BuildError, ToolNotFoundError

SHARED = ("host", "arm", "arm-i8mm", "arm-a53", "armv7")
CODE = """
#include <stdint.h>
#include <string.h>
int64_t api(int8_t *a, const int8_t *b, int32_t n, int64_t d);
int internal(int n);
int64_t api(int8_t *a, const int8_t *b, int32_t n, int64_t d) {
    memcpy(a, b, (size_t)n);
    memset(a + n, 0, (size_t)n);
    return d / internal(n);
}
__attribute__((noinline)) int internal(int n) { return n + 1; }
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "code.c"
    path.write_text(CODE)
    return path


@pytest.mark.parametrize("name", SHARED)
def test_shared_library_needs_nothing_and_exports_its_api(name: str, source: Path, tmp_path: Path) -> None:
    target = targets.get(name)
    objects = toolchain.compile_c([source], tmp_path / "o", target)
    library = toolchain.link_shared(objects, tmp_path / "libcode.so", target, ["api"])
    with library.open("rb") as file:
        elf = ELFFile(file)
        symbols = [symbol for symbol in elf.get_section_by_name(".dynsym").iter_symbols() if symbol.name]
        assert [symbol.name for symbol in symbols] == ["api"]
        dynamic = elf.get_section_by_name(".dynamic")
        assert [tag.needed for tag in dynamic.iter_tags("DT_NEEDED")] == []
        assert elf.elfclass == target.pointer_bits


@pytest.mark.parametrize("name", ["arm", "cortex-m4", "host"])
def test_same_source_gives_the_same_bytes(name: str, source: Path, tmp_path: Path) -> None:
    target = targets.get(name)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / source.name
    copy.write_text(source.read_text())
    files = []
    for index, path in enumerate([source, copy]):
        objects = toolchain.compile_c([path], tmp_path / f"o{index}", target)
        files.append(toolchain.archive(objects, tmp_path / f"lib{index}.a").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("name", ["host", "armv7", "cortex-m55"])
def test_weights_are_aligned_read_only_and_never_stale(name: str, tmp_path: Path) -> None:
    target = targets.get(name)
    for data in (
        b"first",
        b"other",
    ):  # the same names and sizes: a cache by file name would return the first again
        blobs = {"one": b"x", "two": data, "three": b""}
        path = toolchain.assemble_weights(blobs, tmp_path / "w.o", target, align=64)
        with path.open("rb") as file:
            elf = ELFFile(file)
            symbols = {symbol.name: symbol for symbol in elf.get_section_by_name(".symtab").iter_symbols()}
            for symbol, size in (("one", 1), ("two", 5), ("three", 1)):
                section = elf.get_section(symbols[symbol]["st_shndx"])
                assert section["sh_flags"] == 2  # allocated, neither written nor executed
                assert section["sh_addralign"] == 64
                assert symbols[symbol]["st_size"] == size
                assert symbols[symbol]["st_other"]["visibility"] == "STV_HIDDEN"
            assert elf.get_section(symbols["two"]["st_shndx"]).data() == data


def test_weights_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(range(256)) * 4096)
    path = toolchain.assemble_weights({"w": tmp_path / "w.bin"}, tmp_path / "w.o", targets.get("cortex-m7"))
    assert bytes(range(256)) * 4096 in path.read_bytes()


def test_weights_need_c_names(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"'layer\.0' is not a C identifier"):
        toolchain.assemble_weights({"layer.0": b"x"}, tmp_path / "w.o", targets.get("host"))


def test_errors_hold_the_compilers_words(tmp_path: Path) -> None:
    bad = tmp_path / "bad.c"
    bad.write_text("int f(void) { return nonsense; }\n")
    with pytest.raises(BuildError, match=r"(?s)Compiling bad\.c for arm.*bad\.c:1:.*'nonsense'"):
        toolchain.compile_object(bad, tmp_path / "bad.o", targets.get("arm"))
    assert not (tmp_path / "bad.o").exists()


@pytest.mark.parametrize("name", ["host", "arm"])
def test_undefined_symbol_is_an_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hole.c"
    path.write_text(
        "int TVMBackendAllocWorkspace(void); int f(void) { return TVMBackendAllocWorkspace(); }\n"
    )
    target = targets.get(name)
    objects = toolchain.compile_c([path], tmp_path, target)
    with pytest.raises(BuildError, match="TVMBackendAllocWorkspace"):
        toolchain.link_shared(objects, tmp_path / "libhole.so", target, ["f"])


def test_archive_refuses_two_objects_of_one_name(tmp_path: Path, source: Path) -> None:
    target = targets.get("cortex-m4")
    objects = [path for n in "ab" for path in toolchain.compile_c([source], tmp_path / n, target)]
    with pytest.raises(BuildError, match="same file name"):
        toolchain.archive(objects, tmp_path / "libcode.a")


def test_damaged_attributes_are_refused(tmp_path: Path, source: Path) -> None:
    target = targets.get("cortex-m4")
    (path,) = toolchain.compile_c([source], tmp_path, target)
    with path.open("rb") as file:
        start = ELFFile(file).get_section_by_name(".ARM.attributes")["sh_offset"]
    data = bytearray(path.read_bytes())
    data[start + 1] = 0  # the length of the first subsection
    path.write_bytes(data)
    with pytest.raises(BuildError, match=r"code\.o: the section \.ARM\.attributes cannot be read"):
        toolchain.archive([path], tmp_path / "libcode.a")


def _attributes(elf: ELFFile) -> dict[str, object]:
    section = elf.get_section_by_name(".ARM.attributes")
    return {
        item.tag: item.value
        for subsection in section.iter_subsections()
        for scope in subsection.iter_subsubsections()
        for item in scope.iter_attributes()
    }


def test_irnn_zig_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    monkeypatch.setenv("IRNN_ZIG", str(tmp_path / "zig"))
    with pytest.raises(ToolNotFoundError, match="IRNN_ZIG"):
        toolchain.compile_object(source, tmp_path / "code.o", targets.get("host"))
    (tmp_path / "zig").write_text("#!/bin/sh\necho mine; exit 0\n")
    (tmp_path / "zig").chmod(0o755)
    assert toolchain.run_zig(["version"], "Asking") == "mine\n"


def test_missing_ziglang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IRNN_ZIG", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolNotFoundError, match="pip install ziglang"):
        toolchain.find_zig()


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m7", "cortex-m55"])
def test_archive_links_into_a_firmware_without_our_flags(name: str, source: Path, tmp_path: Path) -> None:
    """Neither the CPU flags nor the float ABI of the firmware matter."""
    target = targets.get(name)
    library = toolchain.archive(toolchain.compile_c([source], tmp_path, target), tmp_path / "libcode.a")
    with (tmp_path / "code.o").open("rb") as file:
        attributes = _attributes(ELFFile(file))
    assert attributes["TAG_CPU_NAME"] == name
    assert attributes["TAG_ABI_FP_NUMBER_MODEL"] == 0  # GNU ld then accepts it next to hard-float objects
    main = tmp_path / "main.c"
    main.write_text(
        "long long api(signed char *, const signed char *, int, long long);\n"
        "void _start(void); static signed char a[8]; void _start(void) { api(a, a + 4, 2, 3); }\n"
    )
    command = [str(toolchain.find_zig()), "cc", "-target", target.zig_target, *target.zig_flags, "-nostdlib"]
    command += [
        "-O2",
        "-lcompiler_rt",
        "-static",
        str(main),
        str(library),
        "-o",
        str(tmp_path / "firmware.elf"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
