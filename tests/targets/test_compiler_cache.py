"""What compilers leave behind, where they do it, and how long they may take."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from irnn_tvm import cache, programs, targets
from irnn_tvm.compiler import build_library, toolchain, zig_cache
from irnn_tvm.errors import BuildError, ResourceError, ToolNotFoundError

SOURCE = "int answer(void);\nint answer(void) { return 42; }\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "answer.c"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def own_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary files, and what serves in the place of a cache, in a folder of the test's."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    cache._folder.cache_clear()
    yield folder
    cache._folder.cache_clear()


@pytest.mark.parametrize(
    "case", ["no home", "home in /proc", "home is a file", "cache is a file", "cache in /proc"]
)
def test_a_cache_that_cannot_be_written(
    case: str,
    source: Path,
    own_temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another place serves, with a warning; the compiler works at once."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(zig_cache.GLOBAL, raising=False)
    if case == "no home":
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    elif case.startswith("home"):
        monkeypatch.setenv("HOME", "/proc/nope" if case == "home in /proc" else str(source))
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nope" if case == "cache in /proc" else str(source))
    start = time.monotonic()
    toolchain.compile_object(source, source.with_suffix(".o"), targets.get("host"))
    assert time.monotonic() - start < 60
    assert cache.cache_folder() == own_temporary / f"irnn_tvm-{os.getuid()}"
    assert cache.cache_folder().stat().st_mode & 0o077 == 0
    [record] = [r for r in caplog.records if "cannot be written" in r.getMessage()]
    assert record.levelname == "WARNING"


def test_relative_cache_homes_are_ignored(own_temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(own_temporary))
    assert cache.cache_folder() == own_temporary / ".cache" / "irnn_tvm"


def test_no_place_at_all(own_temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nope")
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nope")
    with pytest.raises(ResourceError, match=r"no folder for the compiler's cache.*Set XDG_CACHE_HOME"):
        cache.cache_folder()
    with pytest.raises(ResourceError, match="Set TMPDIR"):
        cache.scratch_folder("irnn-")


def test_a_folder_of_somebody_else_is_not_taken(own_temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nope")
    (own_temporary / "elsewhere").mkdir()
    (own_temporary / f"irnn_tvm-{os.getuid()}").symlink_to(own_temporary / "elsewhere")
    with pytest.raises(ResourceError, match="is not a folder of this user"):
        cache.cache_folder()


def test_missing_folder_for_temporary_files(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python takes /tmp then, and so does the compiler."""
    monkeypatch.setenv("TMPDIR", "/proc/nope")
    monkeypatch.setattr(tempfile, "tempdir", None)
    toolchain.compile_object(source, source.with_suffix(".o"), targets.get("host"))
    with zig_cache.environment() as environment:
        assert environment["TMPDIR"] == tempfile.gettempdir() != "/proc/nope"


def test_weights_stay_out_of_the_cache(source: Path, tmp_path: Path) -> None:
    """4 MB of weights, assembled and linked: nothing of them is left."""
    host, shared = targets.get("host"), tmp_path / "libanswer.so"
    object_ = toolchain.compile_object(source, tmp_path / "answer.o", host)
    toolchain.link_shared([object_], shared, host, ["answer"])  # compiler-rt is there from now on
    folder = cache.cache_folder() / "zig"
    before = zig_cache.size(folder)
    for seed in range(2):
        data = np.random.default_rng(seed).bytes(4 << 20)
        weights = toolchain.assemble_weights({"weights": data}, tmp_path / "weights.o", host, aliases={})
        user = tmp_path / "user.c"
        user.write_text("extern const char weights[] __attribute__((visibility(\"hidden\")));\n"
                        "char pick(int i); char pick(int i) { return weights[i]; }\n")  # fmt: skip
        made = toolchain.compile_object(user, tmp_path / "user.o", host)
        toolchain.link_shared([made, weights], shared, host, ["pick"])
        assert data in shared.read_bytes()
    # Other tests may compile at the same time, for other targets.
    assert zig_cache.size(folder) - before < 64 << 20
    assert not any(
        data[:64] in path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.stat().st_size > 4 << 20
    )


def test_the_cache_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is emptied when it is too large, but not while another process compiles."""
    monkeypatch.setattr(cache, "_folder", lambda *_: tmp_path)
    monkeypatch.setattr(zig_cache, "MOST_BYTES", 1000)
    monkeypatch.delenv(zig_cache.GLOBAL, raising=False)
    folder = tmp_path / "zig"

    def enter() -> int:
        zig_cache._looked.clear()
        with zig_cache.environment() as environment:
            assert environment[zig_cache.GLOBAL] == str(folder)
            return zig_cache.size(folder)

    (folder / "o" / "1").mkdir(parents=True)
    (folder / "o" / "1" / "libcompiler_rt.a").write_bytes(bytes(900))
    assert enter() == 900
    (folder / "o" / "1" / "other.a").write_bytes(bytes(900))
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_SH); print('', flush=True); "
        "sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "zig.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    other.stdout.readline()
    assert enter() == 1800
    other.communicate()
    assert enter() == 0


def test_a_cache_of_the_users_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(zig_cache.GLOBAL, str(tmp_path / "mine"))
    monkeypatch.setattr(zig_cache, "MOST_BYTES", 0)
    with zig_cache.environment() as environment:
        local = Path(environment[zig_cache.LOCAL])
        assert local.is_dir()
        assert environment[zig_cache.GLOBAL] == str(tmp_path / "mine")
    assert not local.exists()


def slow_zig(folder: Path) -> Path:
    """A compiler that starts another program and waits for it; it writes that one's number to a file."""
    script = folder / "zig"
    script.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {folder}/child\nwait\n")
    script.chmod(0o755)
    return script


def gone(folder: Path) -> bool:
    """Whether the program that `slow_zig` started has ended."""
    number = int((folder / "child").read_text())
    for _ in range(100):
        status = Path(f"/proc/{number}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_compiler_that_does_not_end(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRNN_ZIG", str(slow_zig(tmp_path)))
    monkeypatch.setenv(programs.SECONDS_VARIABLE, "1")
    with pytest.raises(
        BuildError, match=r"Compiling answer\.c for host: zig was still running after 1 s .*IRNN_TOOL_SECONDS"
    ):
        toolchain.compile_object(source, tmp_path / "answer.o", targets.get("host"))
    assert gone(tmp_path)
    for wrong in ("soon", "-1", "0"):
        monkeypatch.setenv(programs.SECONDS_VARIABLE, wrong)
        with pytest.raises(BuildError, match="must be a positive number of seconds"):
            programs.run(["true"], "nothing")


def test_interrupt_ends_the_compiler(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRNN_ZIG", str(slow_zig(tmp_path)))
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with pytest.raises(KeyboardInterrupt):
            toolchain.compile_object(source, tmp_path / "answer.o", targets.get("host"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gone(tmp_path)


def test_full_disk_of_the_compiler(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "zig"
    lines = "".join(f"echo 'warning(zcu): {n}' >&2\n" for n in range(6))
    script.write_text(f"#!/bin/sh\n{lines}echo 'error: NoSpaceLeft' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("IRNN_ZIG", str(script))
    with pytest.raises(ResourceError, match=r"no space is left.*XDG_CACHE_HOME.*TMPDIR") as raised:
        toolchain.compile_object(source, tmp_path / "answer.o", targets.get("host"))
    assert "zcu" not in str(raised.value)


def test_full_disk_of_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch import nn

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(build_library, "_write", full)
    with pytest.raises(ResourceError, match="no space is left on the disk"):
        build_library.build(nn.Linear(3, 2), calibration=[torch.randn(2, 4, 3)], out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_cannot_be_started() -> None:
    with pytest.raises(ToolNotFoundError, match="/nope/cc cannot be run"):
        programs.run(["/nope/cc"], "nothing")
