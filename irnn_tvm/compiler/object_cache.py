"""Objects that candidate after candidate of a tuning job has alike: only kernels differ, and now and then weights."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path


class ObjectCache:
    """Keeps objects by what they are made of, in a folder that processes may share. It is never emptied: whoever made
    the folder removes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, parts: Iterable[str | bytes], out: Path, make: Callable[[], object]) -> Path:
        """The object `out`, copied from where it is kept, or made. parts: all that it depends on."""
        hashes = (hashlib.sha256(p.encode() if isinstance(p, str) else p).digest() for p in parts)
        kept = self.folder / f"{hashlib.sha256(b''.join(hashes)).hexdigest()[:32]}.o"
        if kept.is_file():
            shutil.copyfile(kept, out)
            return out
        make()
        self.folder.mkdir(parents=True, exist_ok=True)
        # Two processes may make the same one: each writes a file of its own and renames it.
        temporary = kept.with_suffix(f".{os.getpid()}")
        shutil.copyfile(out, temporary)
        temporary.replace(kept)
        return out
