"""Puts a finished directory in its place by renaming it: nobody ever sees half a library there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from irnn_tvm.errors import LoadError


def copy_directory(source: Path, destination: Path) -> Path:
    """Copies a library directory; an earlier library or an empty directory at the destination is replaced."""
    source = source.resolve()
    if destination.exists() and destination.resolve() == source:
        return destination
    check_destination(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        shutil.copytree(source, staging, dirs_exist_ok=True)
        publish(staging, destination)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return destination


def check_destination(destination: Path) -> None:
    """LoadError when something that is not a library directory would be overwritten."""
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
