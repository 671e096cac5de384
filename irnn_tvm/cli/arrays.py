"""Arrays of `irnn-tvm run`: files that are read and written, and the integers of inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from irnn_tvm.errors import InputError

# Of files for outputs; the others hold one array each.
SUFFIXES = (".npz", ".npy", ".csv", ".txt")


def check_output(path: Path, names: Sequence[str]) -> None:
    """InputError where `write` could not write outputs of these names, as far as that is known before they are."""
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"{path}: outputs are written as {', '.join(SUFFIXES)}, not as {path.suffix or 'no suffix'}"
        )
    if path.suffix != ".npz" and len(names) > 1:
        raise InputError(
            f"{path}: there are {len(names)} outputs ({', '.join(names)}), which .npz holds together"
        )
    if path.is_dir() or not path.parent.is_dir():
        wrong = f"{path} is a directory" if path.is_dir() else f"{path.parent} is no directory"
        raise InputError(f"outputs cannot be written: {wrong}")


def write(path: Path, named: Mapping[str, np.ndarray]) -> None:
    """Writes outputs in the format of the suffix. Text has a row of the last axis per line."""
    try:
        if path.suffix == ".npz":
            np.savez(path, allow_pickle=False, **named)
            return
        (array,) = named.values()
        if path.suffix == ".npy":
            np.save(path, array, allow_pickle=False)
        else:
            rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
            np.savetxt(path, rows, fmt="%d", delimiter="," if path.suffix == ".csv" else " ")
    except OSError as error:
        raise InputError(f"outputs cannot be written to {path}: {error.strerror or error}") from None


def read(path: Path) -> np.ndarray:
    """The array of a .npy file. InputError for anything else."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a .npy file: {error}") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays, one .npy file per input is expected")
    return array


def as_integers(array: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """Quantizes a floating-point array with the scale and zero point of its input; integers pass through."""
    if array.dtype.kind != "f":
        return array
    if spec["scale"] is None:
        raise InputError(f"input {spec['name']} takes indices ({spec['dtype']}), not {array.dtype}")
    if not np.isfinite(array).all():
        raise InputError(f"input {spec['name']} holds values that are not finite")
    limits = np.iinfo(spec["dtype"])
    steps = np.floor(array.astype(np.float64) / spec["scale"] + 0.5) + spec["zero_point"]
    return np.clip(steps, limits.min, limits.max).astype(spec["dtype"])
