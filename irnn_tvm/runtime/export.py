"""Puts a finished directory in its place by renaming it: nobody ever sees half a library there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from irnn_tvm.errors import LoadError


def copy_directory(source: Path, destination: Path) -> Path:
    """Copies a library directory; an earlier library or an empty directory at the destination is replaced."""
    source = source.resolve()
    if destination.exists() and destination.resolve() == source:
        return destination
    with staged(destination) as staging:
        shutil.copytree(source, staging, dirs_exist_ok=True)
    return destination


@contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """A directory to fill, which takes the place of `destination` at the end. LoadError where it cannot."""
    check_destination(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
        try:
            yield staging
            publish(staging, destination)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise LoadError(f"{destination} cannot be written: {error.strerror or error}.") from error


def unwritable(destination: Path) -> str | None:
    """Why nothing can be created at this path, as far as that is known before: a part of it is a file, or read-only."""
    folder = destination.absolute().parent
    try:
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            return f"{folder} is a file"
    except OSError as error:  # a name that is too long, a directory that may not be entered
        return str(error.strerror)
    return None if os.access(folder, os.W_OK | os.X_OK) else f"{folder} is not writable"


def check_destination(destination: Path) -> None:
    """LoadError when something that is not a library directory would be overwritten, and where nobody may write."""
    problem = unwritable(destination)
    if problem is not None:
        raise LoadError(f"{destination} cannot be written: {problem}.")
    if not destination.exists():
        return
    if not destination.is_dir():
        raise LoadError(f"{destination} exists and is not a directory.")
    if any(destination.iterdir()) and not (destination / "report.json").is_file():
        raise LoadError(f"{destination} holds other files: choose a new or an empty directory.")


def publish(staging: Path, destination: Path) -> None:
    """Moves a complete directory (on the same file system) to its place; `staging` is gone afterwards."""
    check_destination(destination)
    umask = os.umask(0)
    os.umask(umask)
    staging.chmod(0o777 & ~umask)  # mkdtemp makes private directories
    if not destination.exists():
        staging.rename(destination)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{destination.name}-old-", dir=destination.parent))
    try:
        destination.rename(old / "library")
        try:
            staging.rename(destination)
        except OSError:
            (old / "library").rename(destination)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
