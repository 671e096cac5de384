"""Writes figures of matplotlib (extra `plots`) to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from irnn_tvm.errors import InputError


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
