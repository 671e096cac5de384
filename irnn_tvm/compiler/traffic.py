"""What one call of the network moves and multiplies, per kernel call: the entry `traffic` of report.json.

Sizes are integers or text in T, the number of time steps that one call of the graph takes (at most `at_once`).
Constants are counted once for every execution of a kernel, an embedding's table by the rows that are selected;
activations are what a kernel is handed besides constants, each once for every execution.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from irnn_tvm.compiler.abi import Interface
from irnn_tvm.compiler.kernels import Kernel
from irnn_tvm.compiler.plan import ITEM_BYTES, Call, Plan, Value, expression
from irnn_tvm.compiler.scan_values import ScanValues
from irnn_tvm.targets import Target

Size = int | str


def traffic_report(io: Interface, plan: Plan, kernels: dict[str, Kernel], target: Target) -> dict[str, Any]:
    """instruction_set: what kernels in tiles are written for (None: scalar code); at_once; calls in order."""
    calls: list[dict[str, Any]] = []
    for call in plan.calls:
        calls += _plain(call, kernels) if call.scan is None else _scan(call, kernels)
    return {"instruction_set": target.simd(), "at_once": io.at_once, "calls": calls}


def _plain(call: Call, kernels: dict[str, Kernel]) -> list[dict[str, Any]]:
    kernel = kernels[call.kernel]
    constants = [v for v in call.values if v.kind == "weight"]
    others = [v for v in call.values if v.kind != "weight"]
    entry = _entry(kernel, 1, _macs(call, kernel), constants, add(_bytes(v.shape, v.dtype) for v in others))
    if kernel.family == "gather":
        rows = call.values[-1]
        entry |= {"weights": [], "weight_bytes": _bytes(rows.shape, rows.dtype)}
    return [entry]


def _scan(call: Call, kernels: dict[str, Kernel]) -> list[dict[str, Any]]:
    """The steps of a recurrent layer, and before them what works ahead (layout: relay_ops/scan.py)."""
    assert call.scan is not None
    scan, values = call.scan, ScanValues.of(call)
    x, y0 = values.x, values.y0
    steps = expression(x.shape[0], "//")
    states = times(2, add(_bytes(v.shape, v.dtype) for v in values.carries))
    # What every step moves but its input.
    rest = [_bytes(y0.shape, y0.dtype), _row(values.y), states]
    rest += [_bytes(v.shape, v.dtype) for v in values.scratch]
    entries = []
    ahead, x_row = steps, _row(x)
    if call.single is not None:
        # 1 // T is 1 for one step, which this kernel does, and 0 for more.
        alone = divided(1, steps)
        single, constants = kernels[call.single], [*values.constants, *values.input_constants]
        scratch = values.input_scratch[: scan["single_scratch"]]
        moved = add([x_row, *rest, *(_bytes(v.shape, v.dtype) for v in scratch)])
        entries.append(_entry(single, alone, times(single.macs, alone), constants, times(moved, alone)))
        ahead = times(steps, _less(1, alone))
    if call.inputs is not None:
        assert values.sums is not None
        inputs = kernels[call.inputs]
        chunks = divided(add([ahead, scan["ahead"] - 1]), scan["ahead"])
        moved = times(add([x_row, _row(values.sums)]), ahead)
        entries.append(_entry(inputs, chunks, times(inputs.macs, ahead), values.input_constants, moved))
        x_row = _row(values.sums)
    kernel = kernels[call.kernel]
    moved = times(add([x_row, *rest]), ahead)
    entries.append(_entry(kernel, ahead, times(kernel.macs, ahead), values.constants, moved))
    return entries


def _entry(
    kernel: Kernel, executions: Size, macs: Size, constants: Iterable[Value], activations: Size
) -> dict[str, Any]:
    """executions, macs, activation_bytes: of one call of the graph; weights, weight_bytes: of one execution."""
    distinct = {v.index: v for v in constants}
    return {
        "kernel": kernel.symbol,
        "family": kernel.family,
        "executions": executions,
        "macs": macs,
        "weights": list(distinct),
        "weight_bytes": add(_bytes(v.shape, v.dtype) for v in distinct.values()),
        "activation_bytes": activations,
    }


def _macs(call: Call, kernel: Kernel) -> Size:
    """`irnn.macs` states the products of one row of the result (relay_ops); this counts them all."""
    first, second, out = call.values[0], call.values[min(1, len(call.values) - 1)], call.values[-1]
    sizes = [expression(d, "//") for d in first.shape]
    if kernel.macs == 0 and kernel.family != "matmul":
        return 0
    if kernel.family == "matvec":
        return times(kernel.macs, sizes[0])
    if kernel.family == "conv1d":
        out = call.values[4]  # behind x, w, bias and mult, before scratch
        return times(kernel.macs, expression(out.shape[0], "//"), expression(out.shape[2], "//"))
    if kernel.family == "matmul":
        return times(*sizes, expression(out.shape[2], "//"))
    if kernel.family == "attention":
        keys = expression(second.shape[1], "//")
        return times(kernel.macs, sizes[1], 1 if isinstance(keys, int) else keys)
    return kernel.macs


def _bytes(shape: Iterable[Any], dtype: str) -> Size:
    return times(ITEM_BYTES[dtype], *(expression(d, "//") for d in shape))


def _row(value: Value) -> Size:
    """Bytes of a time step."""
    return _bytes(value.shape[1:], value.dtype)


def times(*factors: Size) -> Size:
    """Product of sizes, constants multiplied out."""
    fixed, timed = 1, []
    for factor in factors:
        if isinstance(factor, int):
            fixed *= factor
        else:
            timed.append(factor)
    if fixed == 0 or not timed:
        return fixed
    return "*".join([*([] if fixed == 1 else [str(fixed)]), *(_grouped(text) for text in timed)])


def add(terms: Iterable[Size]) -> Size:
    """Sum of sizes, constants added up."""
    fixed, timed = 0, []
    for term in terms:
        if isinstance(term, int):
            fixed += term
        else:
            timed.append(term)
    if not timed:
        return fixed
    return " + ".join([*timed, *([] if fixed == 0 else [str(fixed)])])


def divided(size: Size, by: Size) -> Size:
    """size // by."""
    if isinstance(size, int) and isinstance(by, int):
        return size // by
    return f"{_grouped(str(size))}//{_grouped(str(by))}"


def _less(size: int, by: Size) -> Size:
    """size - by."""
    return size - by if isinstance(by, int) else f"{size} - {_grouped(by)}"


def _grouped(text: str) -> str:
    return text if text.isalnum() else f"({text})"
