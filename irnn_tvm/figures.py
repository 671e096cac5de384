"""Writes figures of matplotlib (extra `plots`) to files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from irnn_tvm.errors import InputError, ToolNotFoundError

SUFFIXES = (".png", ".svg", ".pdf")


def check(path: str | Path) -> None:
    """What can be said of a figure's path before there is a figure: InputError for another suffix and a folder that is
    not there, ToolNotFoundError without matplotlib."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: figures are written as {', '.join(SUFFIXES)}, not as {path.suffix or 'no suffix'}"
        )
    if path.is_dir() or not path.parent.is_dir():
        wrong = f"{path} is a directory" if path.is_dir() else f"{path.parent} is no directory"
        raise InputError(f"the figure cannot be written: {wrong}")
    if find_spec("matplotlib") is None:
        raise ToolNotFoundError("figures need matplotlib; pip install 'irnn-tvm[plots]'")


def save(figure: Any, path: str | Path) -> None:
    """Writes a matplotlib Figure in the format of its suffix. InputError for a path or format that cannot be written;
    nothing is half written then."""
    path = Path(path)
    part = path.with_name(f".{path.stem}-part{path.suffix}")
    try:
        figure.savefig(part)
        part.replace(path)
    except (OSError, ValueError) as error:
        part.unlink(missing_ok=True)
        raise InputError(f"the figure cannot be written to {path}: {error}") from None
