"""Times a library through the entry points that TVM calls: in this process, or in one on a device over RPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from irnn_tvm.errors import TuningError

REPEATS = 5  # of a measurement, each of a mean over many calls
LEAST_MS = 20  # that a repeat takes


def time_module(
    module: Any,
    device: Any,
    report: Mapping[str, Any],
    inputs: Sequence[np.ndarray],
    expected: Sequence[np.ndarray] | None,
    steps: int,
    repeats: int = REPEATS,
    least_ms: int = LEAST_MS,
) -> list[float]:
    """Seconds per call, `repeats` times; a call is one time step where the library streams and `steps` is 1.

    module, device: of tvm.runtime or of an RPC session. expected: the outputs of the first call (None: whatever they
    are). Raises TuningError where they are others, or where the library returns an error.
    """
    from tvm import runtime

    def tensor(array: np.ndarray) -> Any:
        made = runtime.empty(array.shape, str(array.dtype), device)
        made.copyfrom(np.ascontiguousarray(array))
        return made

    def memory(size: int) -> Any:
        return tensor(np.zeros(max(int(size), 1), np.int8))

    from irnn_tvm.runtime.shapes import shape

    outputs = [
        tensor(np.zeros(shape(tuple(spec["shape"]), steps), spec["dtype"])) for spec in report["outputs"]
    ]
    state, arena = memory(report["state_bytes"]), memory(report["arena_bytes"])
    function = "step" if report["streamable"] and steps == 1 else "run"
    given = [tensor(array) for array in inputs]
    arguments = [state, arena, *([] if function == "step" else [steps]), *given, *outputs]
    for name, these in (("init", [state]), (function, arguments)):
        code = int(module[name](*these))
        if code:
            raise TuningError(f"{name} returned error {code}")
    if expected is not None:
        check([out.numpy() for out in outputs], expected)
    evaluator = module.time_evaluator(function, device, number=1, repeat=repeats, min_repeat_ms=least_ms)
    return [float(value) for value in evaluator(*arguments).results]


def check(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    """Raises TuningError where outputs are not those of the reference."""
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        if not np.array_equal(one.reshape(-1), other.reshape(-1)):
            wrong = int((one.reshape(-1) != other.reshape(-1)).sum())
            raise TuningError(f"output {number}: {wrong} of {other.size} integers are not the reference's")
