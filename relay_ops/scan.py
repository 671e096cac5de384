"""How a recurrent op becomes a scheduled step kernel plus a loop over time.

TVM schedules one step with separate in and out buffers. The op is legalized to a destination-passing call whose
callee is the step's name, and the step carries a `irnn.scan` attribute that says how the time loop threads its
buffers; irnn_tvm/compiler writes that loop around the compiled step.

Step parameters:   x_t, y_prev, carries in..., constants..., y_t, carries out..., scratch...
                   (turn, a scalar: see Kernel.turn)
Call arguments:    x [T, ...], y0, carries0..., constants..., constants of the inputs...
Call results:      y [T, ...], (last y when `last_y`), carriesT..., one spare buffer per carry, scratch..., (inputs,
                   scratch of the inputs...)

With inputs, the step gets a row of what another kernel makes of AHEAD rows of x instead of a row of x itself. Where a
call has a single step, a third kernel may do both at once: it takes a row of x, behind the constants of the step those
of the inputs, and behind the scratch of the step some of that of the inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import relax, tirx

from .kernel import SCAN_ATTR

# Time steps whose inputs are prepared together. More of them share loads no better and take more memory.
AHEAD = 16


@dataclass(frozen=True)
class Inputs:
    """What is made of x ahead of the steps: the PrimFunc (rows of x, constants..., rows of the result, scratch...), its
    constants, and the types of its result for AHEAD time steps and of its scratch. single: the PrimFunc for a single
    step, which takes the first `single_scratch` of the scratch buffers."""

    func: Any
    constants: list[Any]
    result: Any
    scratch: list[Any]
    single: Any | None = None
    single_scratch: int = 0


def _several(x: Any) -> bool:
    """Whether every call has several time steps."""
    steps = x.ty.shape.values[0]
    return isinstance(steps, int | tirx.IntImm) and int(steps) > 1


def emit_scan(
    bb: Any,
    func: Any,
    name: str,
    x: Any,
    y0: Any,
    carries: list[Any],
    constants: list[Any],
    y_type: Any,
    scratch: list[Any],
    *,
    last_y: bool,
    reverse: bool,
    inputs: Inputs | None = None,
) -> list[Any]:
    """Returns [y, (last y), carriesT...] as expressions. scratch: types of step-local buffers."""
    attrs: dict[str, Any] = {
        "carries": len(carries),
        "constants": len(constants),
        "scratch": len(scratch),
        "last_y": int(last_y),
        "reverse": int(reverse),
    }
    if inputs is not None:
        prepare = bb.add_func(inputs.func, f"{name}_inputs")
        attrs |= {
            "inputs": prepare.name_hint,
            "ahead": AHEAD,
            "input_constants": len(inputs.constants),
            "input_scratch": len(inputs.scratch),
        }
        if inputs.single is not None and not _several(x):
            single = bb.add_func(inputs.single, f"{name}_single")
            attrs |= {"single": single.name_hint, "single_scratch": inputs.single_scratch}
    gv = bb.add_func(func.with_attr(SCAN_ATTR, attrs), name)
    carry_types = [relax.TensorType(c.ty.shape, c.ty.dtype) for c in carries]
    outs = [y_type]
    if last_y:
        outs.append(relax.TensorType(y0.ty.shape, y0.ty.dtype))
    outs += [*carry_types, *carry_types, *scratch]
    args = [x, y0, *carries, *constants]
    if inputs is not None:
        outs += [inputs.result, *inputs.scratch]
        args += inputs.constants
    result = bb.emit(relax.call_dps_packed(gv.name_hint, relax.Tuple(args), outs))
    visible = 1 + int(last_y) + len(carries)
    return [bb.emit(relax.TupleGetItem(result, i)) for i in range(visible)]
