"""Layouts for firmware projects: built by the tools that can be had, run under QEMU where there is a board."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.cli import app
from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.runner import board_sources
from irnn_tvm.errors import LoadError
from irnn_tvm.runtime import layouts
from irnn_tvm.runtime.emulated import board_command
from irnn_tvm.targets import get

Libraries = Callable[..., Library]
GNU = ("-mcpu=cortex-m4", "-mthumb", "-O2", "-ffreestanding", "-nostdlib", "-Wall", "-Wextra")
# An emulated board as the build systems know boards: cores and platforms that consist of the runner's startup code.
BOARDS = Path(__file__).parent / "boards"


@pytest.fixture(params=["archive", "sources"])
def package(request: pytest.FixtureRequest, library: Libraries) -> Library:
    return library("cortex-m4", sources=request.param == "sources")


def _run(command: Sequence[object], cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _boot(elf: Path, qemu: str) -> int:
    command = board_command(qemu, ("-M", "mps2-an386"), elf)
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


def _serial(elf: Path, qemu: str) -> list[str]:
    """The lines that a sketch prints."""
    command = board_command(qemu, ("-M", "mps2-an386"), elf)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if not line.startswith("qemu-system-arm: warning")]


def _includes(*folders: Path) -> list[object]:
    places = (*folders, toolchain.FIRMWARE)
    return [word for folder in places for word in ("-I", folder)] + [
        "-isystem",
        toolchain.FIRMWARE / "include",
    ]


def _gnu_firmware(gcc: str, sources: Sequence[Path], includes: Sequence[object], elf: Path) -> None:
    """Links a firmware with GCC: sources, archives and the board's startup code."""
    board = [*board_sources(get("cortex-m4")), BOARDS / "copy.c"]
    script = ["-T", toolchain.FIRMWARE / "mps2_an386.ld", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"]
    _run(
        [
            gcc,
            *GNU,
            "-fno-tree-loop-distribute-patterns",
            *includes,
            *sources,
            *board,
            "-o",
            elf,
            *script,
            "-lgcc",
        ]
    )


@pytest.mark.emulator
def test_plain(package: Library, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    gcc, qemu = require_tool("arm-none-eabi-gcc"), require_tool("qemu-system-arm")
    out = package.export(tmp_path / "out", layout="plain")
    code = [path for path in out.glob("*.c") if package.report["kind"] == "sources" or path.name != "tiny.c"]
    _gnu_firmware(gcc, [*code, *out.glob("*.a")], _includes(out), tmp_path / "f.elf")
    assert _boot(tmp_path / "f.elf", qemu) == 0
    assert irnn_tvm.load(out).name == "tiny"  # it is a library directory, too


@pytest.mark.emulator
def test_cmake(package: Library, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """As a project of its own with a cross compiler, and run; as a part of another; and as a package that is found."""
    gcc, cmake = require_tool("arm-none-eabi-gcc"), require_tool("cmake")
    qemu = require_tool("qemu-system-arm")
    out = package.export(tmp_path / "out", layout="cmake")
    objects = tmp_path / "board.a"
    made = []
    for source in (*board_sources(get("cortex-m4")), BOARDS / "copy.c"):
        made.append(tmp_path / f"{source.stem}.o")
        flags = [*GNU, "-fno-tree-loop-distribute-patterns", *_includes(out / "include")]
        _run([gcc, *flags, "-c", source, "-o", made[-1]])
    _run(["arm-none-eabi-ar", "rcs", objects, *made])
    settings = tmp_path / "cross.cmake"
    include = toolchain.FIRMWARE / "include"
    settings.write_text(
        "set(CMAKE_SYSTEM_NAME Generic)\nset(CMAKE_C_COMPILER arm-none-eabi-gcc)\n"
        "set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)\n"
        f'set(CMAKE_C_FLAGS_INIT "-mcpu=cortex-m4 -O2 -isystem {include}")\n'
        f'set(CMAKE_EXE_LINKER_FLAGS_INIT "-nostdlib -T {toolchain.FIRMWARE / "mps2_an386.ld"}")\n'
        f'set(CMAKE_C_STANDARD_LIBRARIES "-Wl,--whole-archive {objects} -Wl,--no-whole-archive -lgcc")\n'
    )
    configure = [cmake, "-S", out, "-B", tmp_path / "build", f"-DCMAKE_TOOLCHAIN_FILE={settings}"]
    _run(configure)
    _run([cmake, "--build", tmp_path / "build"])
    assert _boot(tmp_path / "build" / "tiny_example", qemu) == 0
    user = tmp_path / "user"
    user.mkdir()
    (user / "main.c").write_text((out / "examples" / "main.c").read_text())
    for number, way in enumerate((f"add_subdirectory({out} tiny)", "find_package(tiny REQUIRED)")):
        text = f"cmake_minimum_required(VERSION 3.16)\nproject(user C)\n{way}\n"
        text += "add_executable(user main.c)\ntarget_link_libraries(user PRIVATE tiny::tiny tiny::selftest)\n"
        (user / "CMakeLists.txt").write_text(text)
        build = tmp_path / f"user{number}"
        _run(
            [
                cmake,
                "-S",
                user,
                "-B",
                build,
                f"-DCMAKE_TOOLCHAIN_FILE={settings}",
                f"-Dtiny_DIR={out / 'cmake'}",
            ]
        )
        _run([cmake, "--build", build])
        assert _boot(build / "user", qemu) == 0


def _core(folder: Path) -> None:
    """Puts the board's startup code, what it includes and its linker script where a core or a platform has them."""
    (folder / "include").mkdir(parents=True, exist_ok=True)
    for path in (*board_sources(get("cortex-m4")), toolchain.FIRMWARE / "runner_io.h", BOARDS / "copy.c"):
        shutil.copy(path, folder / path.name)
    shutil.copy(toolchain.FIRMWARE / "include" / "string.h", folder / "include")
    shutil.copy(toolchain.FIRMWARE / "mps2_an386.ld", folder / "board.ld")


@pytest.mark.emulator
def test_arduino(library: Libraries, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """Sources, by the builder of the Arduino environment: it finds the library by the sketch's #include."""
    builder, qemu = require_tool("arduino-builder"), require_tool("qemu-system-arm")
    require_tool("arm-none-eabi-gcc")
    out = library("cortex-m4", sources=True).export(tmp_path / "libraries" / "tiny", layout="arduino")
    shutil.copytree(BOARDS / "arduino", tmp_path / "hardware")
    _core(tmp_path / "hardware" / "emulated" / "arm" / "cores" / "board")
    (tmp_path / "build").mkdir()
    hardware = [
        "-hardware",
        "/usr/share/arduino-builder",
        "-hardware",
        tmp_path / "hardware",
        "-tools",
        "/usr/bin",
    ]
    places = ["-libraries", tmp_path / "libraries", "-build-path", tmp_path / "build"]
    sketch = out / "examples" / "selftest" / "selftest.ino"
    _run([builder, "-compile", *hardware, "-fqbn", "emulated:arm:an386", "-warnings", "all", *places, sketch])
    assert _serial(tmp_path / "build" / "selftest.ino.elf", qemu) == ["self-test passed", "0", "0", "0"]


@pytest.mark.emulator
def test_precompiled_arduino(library: Libraries, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """An archive, as the library specification says (the builder in Debian is older than that): the sketch as C++, src/
    in the path, src/{build.mcu} searched for what ldflags name."""
    gcc, qemu = require_tool("arm-none-eabi-gcc"), require_tool("qemu-system-arm")
    out = library("cortex-m4").export(tmp_path / "out", layout="arduino")
    properties = dict(line.split("=", 1) for line in (out / "library.properties").read_text().splitlines())
    described = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url"}
    assert described | {"architectures"} <= {*properties}
    assert (out / "src" / properties["includes"]).is_file()
    assert properties["precompiled"] == "true"
    core = tmp_path / "core"
    shutil.copytree(BOARDS / "arduino" / "emulated" / "arm" / "cores" / "board", core)
    _core(core)
    sketch = tmp_path / "sketch.cpp"
    sketch.write_text('#include "Arduino.h"\n' + (out / "examples" / "selftest" / "selftest.ino").read_text())
    objects = []
    for source in (sketch, *(out / "src").glob("*.c"), *core.glob("*.c*")):
        language = ["-std=gnu++11", "-fno-exceptions", "-fno-rtti"] if source.suffix == ".cpp" else []
        flags = [*GNU, *language, "-Werror", "-fno-tree-loop-distribute-patterns"]
        objects.append(tmp_path / f"{source.stem}.o")
        _run([gcc, *flags, *_includes(out / "src", core), "-c", source, "-o", objects[-1]])
    libraries = [f"-L{out / 'src' / 'cortex-m4'}", properties["ldflags"], "-lgcc"]
    script = ["-T", core / "board.ld", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"]
    _run([gcc, *GNU, *script, *objects, *libraries, "-o", tmp_path / "f.elf"])
    assert _serial(tmp_path / "f.elf", qemu) == ["self-test passed", "0", "0", "0"]


@pytest.mark.emulator
def test_platformio(
    package: Library, tmp_path: Path, require_tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project that depends on the package, built by PlatformIO, which is given SCons: it would download that."""
    dependencies = pytest.importorskip("platformio.dependencies")
    scons = pytest.importorskip("SCons")
    qemu = require_tool("qemu-system-arm")
    require_tool("arm-none-eabi-gcc")
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path / "pio"))
    monkeypatch.setenv("PLATFORMIO_SETTING_ENABLE_TELEMETRY", "no")
    monkeypatch.setenv("PLATFORMIO_SETTING_CHECK_PLATFORMIO_INTERVAL", "9999")
    tool = tmp_path / "pio" / "packages" / "tool-scons"
    shutil.copytree(Path(scons.__file__).parent, tool / "SCons", ignore=shutil.ignore_patterns("__pycache__"))
    about = {"name": "tool-scons", "version": dependencies.get_core_dependencies()["tool-scons"].strip("~")}
    spec = {"owner": "platformio", "name": "tool-scons"}
    (tool / "package.json").write_text(json.dumps(about))
    (tool / ".piopm").write_text(json.dumps({**about, "type": "tool", "spec": spec}))
    (tool / "scons.py").write_text("from SCons.Script.Main import main\n\nmain()\n")

    out = package.export(tmp_path / "tiny", layout="platformio")
    shutil.copytree(BOARDS / "platformio", tmp_path / "platform")
    _core(tmp_path / "platform" / "core")
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    shutil.copy(out / "examples" / "selftest" / "main.c", project / "src")
    (project / "platformio.ini").write_text(
        f"[env:an386]\nplatform = symlink://{tmp_path / 'platform'}\nboard = an386\nlib_deps = symlink://{out}\n"
    )
    said = _run([sys.executable, "-m", "platformio", "run", "-d", project])
    assert "tiny @ 1.0.0" in said
    assert _boot(project / ".pio" / "build" / "an386" / "program.elf", qemu) == 0
    _run([sys.executable, "-m", "platformio", "pkg", "pack", out, "-o", tmp_path / "tiny.tar.gz"])
    assert (tmp_path / "tiny.tar.gz").is_file()


def test_zephyr(package: Library, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """Its CMake code with stand-ins for Zephyr's functions, which name files that must be there."""
    cmake = require_tool("cmake")
    out = package.export(tmp_path / "out", layout="zephyr")
    module = (out / "zephyr" / "module.yml").read_text()
    folder = re.search(r"cmake: (\w+)", module)
    kconfig = re.search(r"kconfig: (\S+)", module)
    assert folder
    assert kconfig
    assert "config TINY\n" in (out / kconfig[1]).read_text()
    assert "CONFIG_TINY=y" in (out / "samples" / "selftest" / "prj.conf").read_text()
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(stand_in C)\n"
        "set(CONFIG_TINY y)\nset(CONFIG_TINY_SELFTEST y)\n"
        "macro(zephyr_include_directories)\n  include_directories(${ARGN})\nendmacro()\n"
        'macro(zephyr_library_named name)\n  set(current ${name})\n  file(WRITE ${CMAKE_BINARY_DIR}/none.c "")\n'
        "  add_library(${name} STATIC ${CMAKE_BINARY_DIR}/none.c)\nendmacro()\n"
        "macro(zephyr_library_sources)\n  target_sources(${current} PRIVATE ${ARGN})\nendmacro()\n"
        "macro(zephyr_library_import name file)\n  if(NOT EXISTS ${file})\n    message(FATAL_ERROR ${file})\n"
        f"  endif()\nendmacro()\nadd_subdirectory({out / folder[1]} module)\n"
    )
    _run([cmake, "-S", tmp_path, "-B", tmp_path / "build"])
    _run([cmake, "--build", tmp_path / "build"])


def test_cmsis_pack(package: Library, tmp_path: Path) -> None:
    out = package.export(tmp_path / "out", layout="cmsis-pack")
    [description] = out.glob("*.pdsc")
    root = ElementTree.parse(description).getroot()
    assert description.stem == f"{root.findtext('vendor')}.{root.findtext('name')}"
    named = [file.attrib["name"] for file in root.iter("file")]
    assert named
    assert all((out / name).exists() for name in named)
    assert [r.attrib["Dcore"] for r in root.iter("require")] == ["Cortex-M4"]


@pytest.mark.parametrize("layout", layouts.names())
def test_nothing_is_left_out(layout: str, package: Library, tmp_path: Path) -> None:
    """Every file that a program needs is there once; an earlier export is replaced, anything else is not."""
    out = package.export(tmp_path / "out", layout=layout)
    names = [path.name for path in out.rglob("*") if path.is_file()]
    wanted = ["tiny.h", "tiny_selftest.c", "tiny_selftest.h"]
    wanted += ["libtiny.a"] if package.report["kind"] == "archive" else ["tiny_kernels.c", "tiny_weights.c"]
    assert all(names.count(name) == 1 for name in wanted)
    package.export(out, layout=layout)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with pytest.raises(LoadError, match="holds other files"):
        package.export(tmp_path / "mine", layout=layout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_bad_requests(library: Libraries, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"Unknown layout 'cmke'. Did you mean 'cmake'"):
        library("cortex-m4").export(tmp_path / "out", layout="cmke")
    with pytest.raises(LoadError, match="tiny for host is a shared library; layouts are for firmware"):
        library("host").export(tmp_path / "out", layout="plain")
    assert not (tmp_path / "out").exists()


def test_command(library: Libraries, tmp_path: Path) -> None:
    arguments = ["export", str(library("cortex-m4").directory), str(tmp_path / "out"), "--layout", "zephyr"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "zephyr/module.yml" in result.stdout.split()
