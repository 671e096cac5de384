"""A whole library on a device over RPC: are its integers right, and how long does a call take?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from irnn_tvm import targets
from irnn_tvm.errors import TuningError
from irnn_tvm.runtime import load
from irnn_tvm.tuning.measure import example_inputs
from irnn_tvm.tuning.preflight import preflight
from irnn_tvm.tuning.rpc import RPC
from irnn_tvm.tuning.runners.rpc import session
from irnn_tvm.tuning.timing import time_module

PERCENTILES = (50, 90, 99)


def bench_library(
    directory: Path, rpc: RPC, steps: int = 32, calls: int = 200, model: Path | None = None
) -> dict[str, Any]:
    """Uploads a library, compares and times it there.

    steps: of a call; calls: how many are timed, each by itself. model: the .pt2 file of the library: then its torch
    operators say what is right; else the library here, natively or in QEMU, does. Returns `integers` ("equal to ..."),
    and microseconds per call: `us_p50` and so on. Raises TuningError when integers differ or no device answers.
    """
    library = load(directory)
    if library.report["kind"] != "shared":
        raise TuningError(
            f"{library.name} for {library.target} is no shared library: a server can only load these"
        )
    if library.time.minimum == library.time.maximum:
        steps = library.time.minimum
    library.time.check(steps)
    found = preflight(rpc, targets.get(library.target))
    inputs = example_inputs(library, steps)
    expected, by = _expected(directory, inputs, model)
    path = Path(directory) / library.report["files"]["library"]
    with session(rpc) as remote:
        remote.upload(str(path))
        module = remote.load_module(path.name)
        # A repeat of one call is a latency, with what the device's clock can tell.
        values = time_module(
            module, remote.cpu(0), library.report, inputs, expected, steps, repeats=calls, least_ms=0
        )
    result: dict[str, Any] = {
        "name": library.name, "target": library.target, "device": rpc.key or rpc.server, "cpu": found.cpu,
        "steps": steps, "integers": f"equal to {by}", "calls": len(values),
    }  # fmt: skip
    for percentile in PERCENTILES:
        result[f"us_p{percentile}"] = round(float(np.percentile(values, percentile)) * 1e6, 3)
    return result | {"us_max": round(max(values) * 1e6, 3)}


def _expected(directory: Path, inputs: list[np.ndarray], model: Path | None) -> tuple[list[np.ndarray], str]:
    """The right outputs, and who computed them."""
    if model is not None:
        import torch

        from irnn_tvm.frontend import load_program

        program, _ = load_program(model)
        results = program.module()(*(torch.from_numpy(x) for x in inputs))
        return [r.numpy() for r in (results if isinstance(results, tuple | list) else (results,))], "PyTorch"
    library = load(directory)
    found = library.run(*inputs)
    return list(found) if isinstance(found, tuple) else [found], f"the library here ({library.where})"
