"""Libraries and streams in pickles: by the path of the library, and a stream's state with it.

What takes a pickle opens the library again in its own process: process pools send a path, never weights. The path has
to lead to the same library there, and that is checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irnn_tvm.errors import LoadError

if TYPE_CHECKING:
    from irnn_tvm.runtime.library import Library
    from irnn_tvm.runtime.streams import Stream

# `interface` is the hash that header and library check each other by; the model's weights are in it. Reports of older
# builds have none, and what they say of the interface stands for it.
_IDENTITY = ("interface", "name", "target", "inputs", "outputs", "state_bytes", "arena_bytes", "time")


def identity(report: Mapping[str, Any]) -> str:
    """What a library has in common with itself and with no other."""
    entries = json.dumps([report.get(key) for key in _IDENTITY], sort_keys=True)
    return hashlib.sha256(entries.encode()).hexdigest()[:16]


def reopen(directory: str, emulate: bool, expected: str, temporary: bool) -> Library:
    """The library of a pickle. expected: its `identity`; temporary: its folder is removed when the process that built
    it drops the Library. LoadError where it is gone, and where another one lies there."""
    from irnn_tvm.runtime.library import load

    if not Path(directory).is_dir():
        why = (
            "it was built without out= into a temporary folder, which is removed with the Library that build "
            "returned. Keep that one as long as others are to open it, or build with out="
            if temporary
            else "pickles hold the path of a library, not its files. Copy it there, or load it from where it is"
        )
        raise LoadError(f"The library of this pickle is not at {directory}: {why}.")
    library = load(directory, emulate=emulate)
    if identity(library.report) != expected:
        raise LoadError(
            f"{directory} holds another library ({library.name} for {library.target}) than the one that was "
            "pickled: it was built again since. Pickle the new one."
        )
    return library


def resume(library: Library, state: bytes | None) -> Stream:
    """A stream of its own with this state; None: at the beginning."""
    stream = library.stream()
    if state is not None:
        stream.state = state
    return stream


def remove_with(library: Library, folder: Path) -> None:
    """Removes a temporary folder when its Library is gone, at the latest when the process ends."""
    library._temporary = True
    weakref.finalize(library, _remove, folder, os.getpid())


def _remove(folder: Path, owner: int) -> None:
    # A child of fork has copies of its parent's libraries, and must leave the parent's files alone when it drops them.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
