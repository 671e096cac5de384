"""The user's cache: a folder that can be written, wherever HOME and XDG_CACHE_HOME lead."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from functools import lru_cache
from pathlib import Path

from irnn_tvm.errors import ResourceError

_log = logging.getLogger("irnn_tvm")


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/irnn_tvm, else ~/.cache/irnn_tvm; where neither can be written, a folder of this user in the
    temporary one, and a warning. ResourceError when there is no place at all."""
    return _folder(os.environ.get("XDG_CACHE_HOME"), os.environ.get("HOME"), os.environ.get("TMPDIR"))


@lru_cache(maxsize=8)
def _folder(xdg: str | None, home: str | None, _tmp: str | None) -> Path:
    del home  # Path.home() reads it
    wanted: Path | None = None
    reason = ""
    try:
        # A relative path is to be ignored, says the specification.
        base = Path(xdg) if xdg and os.path.isabs(xdg) else Path.home() / ".cache"
        wanted = base / "irnn_tvm"
        _try(wanted)
        return wanted
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        reason = str(error)
    place = temporary_folder() / f"irnn_tvm-{os.getuid()}"
    try:
        _try(place)
        found = place.lstat()
    except OSError as error:
        raise ResourceError(
            f"There is no folder for the compiler's cache: {reason}; {error}. "
            "Set XDG_CACHE_HOME to one that can be written."
        ) from None
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise ResourceError(
            f"{place} is not a folder of this user. Set XDG_CACHE_HOME to one that can be written."
        )
    _log.warning(
        "The cache %s cannot be written (%s): %s serves instead.", wanted or "in HOME", reason, place
    )
    return place


def temporary_folder() -> Path:
    """Where temporary files go: $TMPDIR, or the system's folders where that cannot be written. ResourceError when
    there is none."""
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise ResourceError(f"There is no folder for temporary files: {error}. Set TMPDIR.") from None


def scratch_folder(prefix: str) -> Path:
    """A new temporary folder, which the caller removes. ResourceError where none can be made."""
    try:
        return Path(tempfile.mkdtemp(prefix=prefix, dir=temporary_folder()))
    except OSError as error:
        raise ResourceError(
            f"No temporary folder can be made: {error}. Set TMPDIR to where there is space."
        ) from None


def _try(folder: Path) -> None:
    """OSError unless a file can be written there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".try-") as file:
        file.write(b"x")
