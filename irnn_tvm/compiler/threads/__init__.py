"""Threads of a library: which targets have them, and the object that brings them."""

from __future__ import annotations

from pathlib import Path

from irnn_tvm.compiler import toolchain
from irnn_tvm.errors import BuildError
from irnn_tvm.targets import Target

MOST_THREADS = 64
_SOURCE = Path(__file__).parent / "pool.c"


def check_threads(threads: int, target: Target) -> None:
    """BuildError unless libraries for the target can use this many threads."""
    if not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
        raise BuildError(f"threads={threads!r}: it must be a number from 1 to {MOST_THREADS}.")
    if threads > 1 and target.kind != "shared":
        raise BuildError(
            f"threads={threads}: a library for {target.name} runs where there may be no operating system; "
            "shared libraries (host, arm, x86-...) have threads."
        )


# What the C library may take for a call of the pool, those of its dynamic linker included.
EXTERNAL_STACK = dict.fromkeys(
    (
        *("pthread_mutex_lock", "pthread_mutex_trylock", "pthread_mutex_unlock", "pthread_cond_broadcast"),
        *("pthread_cond_wait", "pthread_create", "pthread_join", "pthread_sigmask", "pthread_atfork"),
        *("sigfillset", "sched_yield"),
    ),
    4096,
)


def pool_assembly(threads: int, target: Target, folder: Path) -> str:
    """The assembly text of the pool."""
    text = folder / "pool.s"
    flags = [f"-DIRNN_THREADS={threads}", "-fvisibility=hidden", "-S"]
    return toolchain.compile_object(_SOURCE, text, target, flags).read_text(
        encoding="utf-8", errors="replace"
    )


def pool_object(threads: int, target: Target, folder: Path, serial: bool) -> Path:
    """Compiles the pool. serial: for programs without a C library, which do all parts one after another."""
    flags = [f"-DIRNN_THREADS={threads}", "-fvisibility=hidden", *(["-DIRNN_SERIAL"] if serial else [])]
    return toolchain.compile_object(_SOURCE, folder / f"pool{'_serial' if serial else ''}.o", target, flags)
