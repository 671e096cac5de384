"""Builds the hand-written library of leaky.c as a build of a model does; and computes its reference."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.runner import build_runner
from irnn_tvm.runtime import Library
from irnn_tvm.targets import Target

# The fixture `build`: build("arm", flags=..., ballast=...).
Build = Callable[..., Library]
HERE = Path(__file__).parent
GAIN = np.array([[1, -2, 3, -4], [50, 60, -70, 80], [127, -127, 9, 0], [-1, -1, -1, 11]], np.int8)
EXPORTS = ("leaky_init", "leaky_reset", "leaky_step", "leaky_run")


def report(target: Target) -> dict[str, Any]:
    """report.json of the library."""
    library = {"shared": "libleaky.so", "archive": "libleaky.a", "sources": None}[target.kind]
    return {
        "abi_version": 1,
        "name": "leaky",
        **target.report_fields(),
        "files": {
            "library": library,
            "header": "leaky.h",
            "sources": ["leaky.c"] if target.kind == "sources" else [],
            "runner": "emulator/runner" if target.emulator else None,
        },
        "inputs": [
            {"name": "x", "dtype": "int8", "shape": ["T", 1, 4], "scale": 0.5, "zero_point": 3},
            {"name": "k", "dtype": "int32", "shape": ["T", 1], "scale": None, "zero_point": None},
        ],
        "outputs": [
            {"name": "y", "dtype": "int16", "shape": ["T", 1, 4], "scale": 0.25, "zero_point": 0},
            {"name": "last", "dtype": "int32", "shape": [1, 4], "scale": 0.25, "zero_point": 0},
        ],
        "state_bytes": 32,
        "arena_bytes": 48,
        "alignment": 16,
        "streamable": True,
        "time": {"dynamic": True, "min": 1, "max": None},
    }


def build(target: Target, out: Path, flags: Sequence[str] = (), ballast: int = 64, **changes: Any) -> Path:
    """Writes the library directory `out`. ballast: bytes of more weights; changes: entries of the report."""
    out.mkdir(parents=True)
    shutil.copy(HERE / "leaky.h", out)
    entries = report(target) | changes
    if target.kind == "sources":
        source = (HERE / "leaky.c").read_text()
        (out / "leaky.c").write_text("#define PORTABLE\n" + source)
    else:
        work = out.parent / f"{out.name}-objects"
        objects = toolchain.compile_c([HERE / "leaky.c"], work, target, ["-I", str(HERE), *flags])
        weights = np.full(ballast, 7, np.uint8).tobytes()
        blobs = {"leaky_gain": GAIN.tobytes(), "leaky_ballast": weights}
        objects.append(toolchain.assemble_weights(blobs, work / "weights.o", target))
        if target.kind == "shared":
            toolchain.link_shared(objects, out / "libleaky.so", target, EXPORTS)
        else:
            objects = [toolchain.archive(objects, out / "libleaky.a")]
        if target.emulator:
            build_runner(entries, objects, out, out / "emulator" / "runner", target)
    (out / "report.json").write_text(json.dumps(entries))
    return out


def reference(x: np.ndarray, k: np.ndarray, acc: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(y, last) of the sequence x int8 (T, 1, 4), k int32 (T, 1), from `acc` int64 (4,)."""
    state = np.zeros(4, np.int64) if acc is None else acc.astype(np.int64)
    rows = []
    for row, index in zip(x[:, 0].astype(np.int64), k[:, 0], strict=True):
        state = ((state * 3) >> 2) + row * GAIN[index]
        rows.append(np.clip(state, -32768, 32767).astype(np.int16))
    return np.stack(rows)[:, None], state.astype(np.int32)[None]


def sample(length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs for a sequence of this length."""
    random = np.random.default_rng(seed)
    return (
        random.integers(-128, 128, (length, 1, 4), np.int8, endpoint=False),
        random.integers(0, 4, (length, 1), np.int32),
    )
