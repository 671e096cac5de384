"""Where zig keeps what it compiles: its runtime library for every target, and nothing of the user's.

zig copies whatever it assembles or links to its local cache, weights among it, and never removes anything. Each run
has a local cache of its own, which goes with it. The global one, in the user's cache, then holds compiler-rt and what
zig knows of its own sources: a few MB per target.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from irnn_tvm.cache import cache_folder, temporary_folder
from irnn_tvm.errors import ResourceError

GLOBAL, LOCAL = "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"
MOST_BYTES = 512 << 20  # of the global cache; all targets need about a third of it
_looked: set[Path] = set()


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """The environment of one run of zig. A global cache that the user has set is taken as it is, and never emptied."""
    own = os.environ.get(GLOBAL)
    folder = Path(own) if own else cache_folder() / "zig"
    with tempfile.TemporaryDirectory(prefix="irnn-zig-", ignore_cleanup_errors=True) as local:
        values = {**os.environ, LOCAL: local, GLOBAL: str(folder), "TMPDIR": str(temporary_folder())}
        if own:
            yield values
            return
        with _in_use(folder):
            yield values


@contextmanager
def environment_of(command: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """The environment of any compiler: the same for zig, also as "zig cc"; unchanged for others."""
    if Path(command[0]).name != "zig":
        yield os.environ
        return
    with environment() as values:
        yield values


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Others run zig at the same time; whoever empties the cache has it alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder.parent / "zig.lock").open("a")
    except OSError as error:
        raise ResourceError(f"The compiler's cache {folder} cannot be written: {error}") from None
    with lock:
        if folder not in _looked:
            _looked.add(folder)
            _empty_if_large(folder, lock.fileno())
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _empty_if_large(folder: Path, lock: int) -> None:
    """Once per process, and where no zig runs: entries refer to each other, so that all go or none."""
    if size(folder) <= MOST_BYTES:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # the next process has another try
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for root, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(os.path.join(root, file)).st_size
            except OSError:
                continue  # another process has removed it
    return total
