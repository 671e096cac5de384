"""Builds the server for a target."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from irnn_tvm._version import __version__
from irnn_tvm.errors import InputError, TuningError
from irnn_tvm.targets import get, names
from irnn_tvm.tuning.native_server.compiler import Compiler, Platform, cached_object
from irnn_tvm.tuning.native_server.sources import (
    FOLDER,
    SUPPORTED,
    check_versions,
    include_flags,
    server_headers,
    sources,
    stand_ins,
)

# By the first of a target's machines.
PLATFORMS = {
    "armv7l": Platform("ARM", ("-target", "arm-linux-gnueabihf.2.17", "-mcpu=generic+v7a+vfp3d16")),
    "aarch64": Platform("AARCH64", ("-target", "aarch64-linux-gnu.2.17")),
}
# -DTVM_FFI_...: no library of its own reads debugging information, which nobody ships to a device.
FLAGS = (
    *("-std=c++17", "-O2", "-g0", "-fPIC", "-ffunction-sections", "-fdata-sections"),
    *("-fvisibility=hidden", "-fvisibility-inlines-hidden", "-fno-strict-aliasing"),
    *("-DTVM_FFI_USE_LIBBACKTRACE=0", "-DTVM_FFI_BACKTRACE_ON_SEGFAULT=0"),
)
Progress = Callable[[int, int, str], None]


def platform_of(target: str) -> Platform:
    """Raises UnknownTargetError for a name that is none, and TuningError for targets that no server is for."""
    machines = get(target).machines
    platform = PLATFORMS.get(machines[0]) if machines and target != "host" else None
    if platform is None:
        there = ", ".join(name for name in names() if (get(name).machines or ("",))[0] in PLATFORMS)
        raise TuningError(
            f"no server is built for {target}; there is one for: {there}. "
            "On x86 `irnn-tvm rpc-server` is all that is needed; boards are measured by --command"
        )
    return platform


def build_server(
    target: str, out: Path, cxx: str | None = None, jobs: int | None = None, progress: Progress | None = None
) -> Path:
    """Writes the server for devices of a target to `out`.

    cxx: a C++17 compiler for the device, with its options, in the place of zig's, whose programs need glibc 2.17 or
    later; jobs: files that are compiled at a time (default: one per core); progress: called with the number of files
    that are compiled, of all, and the name of the last. Objects are kept in the user's cache.

    Raises TuningError for a target without a server, ToolNotFoundError without a compiler, BuildError where it fails or
    the installed TVM is another version.
    """
    platform = platform_of(target)
    if out.is_dir():
        raise InputError(f"{out} is a folder: name the file of the program")
    check_versions()
    compiler = Compiler(platform, cxx)
    places, files = include_flags(), sources()
    versions = repr(SUPPORTED)
    # Sources of TVM know nothing of our versions and our server, so that their objects outlive changes there.
    defined = [f'-DIRNN_VERSION="{__version__}"', f'-DIRNN_TVM_VERSION="{SUPPORTED["apache-tvm"]}"']
    defined += [f'-DIRNN_TVM_FFI_VERSION="{SUPPORTED["apache-tvm-ffi"]}"', "-D_FILE_OFFSET_BITS=64"]
    theirs, ours = _digest(stand_ins(), versions), _digest([*stand_ins(), *server_headers()], versions)

    def compiled(source: Path) -> Path:
        if source.is_relative_to(FOLDER):
            return cached_object(compiler, source, [*FLAGS, *defined], places, ours)
        return cached_object(compiler, source, FLAGS, places, theirs)

    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        running = {pool.submit(compiled, source): source for source in files}
        try:
            for count, future in enumerate(as_completed(running), 1):
                future.result()
                if progress is not None:
                    progress(count, len(files), running[future].name)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        objects = [future.result() for future in running]
    out.parent.mkdir(parents=True, exist_ok=True)
    made = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        compiler.link(objects, made)
        made.replace(out)
    finally:
        made.unlink(missing_ok=True)
    return out


def _digest(headers: list[Path], versions: str) -> bytes:
    return hashlib.sha256(versions.encode() + b"".join(path.read_bytes() for path in headers)).digest()
