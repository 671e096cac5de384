"""irnn.lstm_general: Relax op and packing of its constants (formula: irnn_tvm/ops/lstm_general.py).

Weights are packed as those of irnn.lstm, [H][G gates][X + P]; gains, biases and multipliers of gates [H][G]. The kernel
of one step is in lstm_general_step.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from .lstm import pack_gates
from .lstm_general_layout import Variant
from .lstm_general_step import build
from .registry import attr, constant, define, optional_arguments, shape_of, tensor
from .scan import emit_scan

REQUIRED = ("x", "h0", "c0", "w_ih", "w_hh", "bias", "mult_ih", "mult_hh", "tables")
OPTIONAL = (
    "bias_hh", "gain_ih", "gain_hh", "gate_bias", "mult_peephole", "cell_gain", "cell_bias", "w_hr", "bias_hr",
    "mult_hr", "w_q", "bias_q", "mult_q", "w_r", "bias_r", "mult_r",
)  # fmt: skip
PER_GATE = ("bias", "mult_ih", "mult_hh", "bias_hh", "gain_ih", "gain_hh", "gate_bias")


def infer(call: Any) -> Any:
    steps, batch, _ = shape_of(call.args[0])
    state, hidden = shape_of(call.args[1])[1], shape_of(call.args[2])[1]
    return relax.TupleType(
        [
            tensor([steps, batch, state], 8),
            tensor([batch, state], 8),
            tensor([batch, hidden], attr(call, "cell_bits")),
        ]
    )


def legalize(bb: Any, call: Any) -> Any:
    present = optional_arguments(call, REQUIRED, OPTIONAL)
    x, h0, c0 = present["x"], present["h0"], present["c0"]
    arrays = {
        name: constant(expr, bb, f"irnn.lstm_general {name}")
        for name, expr in present.items()
        if name not in ("x", "h0", "c0")
    }
    batch, hidden = (int(d) for d in shape_of(c0))
    variant = Variant(
        call,
        batch=batch,
        width=int(shape_of(x)[2]),
        state=int(shape_of(h0)[1]),
        hidden=hidden,
        gates=arrays["w_ih"].shape[0] // hidden,
        pieces=arrays["tables"].shape[2],
        parts=frozenset(arrays),
    )
    packed = pack(arrays, variant.gates)
    names = variant.constant_shapes()
    outs = emit_scan(
        bb,
        build(variant),
        "lstm_general_step",
        x,
        h0,
        [c0],
        [relax.const(packed[name], str(packed[name].dtype)) for name in names],
        call.ty.fields[0],
        [relax.TensorType(list(shape), dtype) for shape, dtype in variant.scratch_shapes().values()],
        last_y=True,
        reverse=bool(attr(call, "reverse")),
    )
    return relax.Tuple(outs)


def pack(arrays: dict[str, np.ndarray], gates: int) -> dict[str, np.ndarray]:
    """Constants in the order in which a step reads them. Keys: those of Variant.constant_shapes."""
    packed = {k: v for k, v in arrays.items() if k not in (*PER_GATE, "w_ih", "w_hh", "mult_peephole")}
    weights = [pack_gates(arrays[name], gates) for name in ("w_ih", "w_hh")]
    packed["w"] = np.concatenate(weights, axis=2)
    packed |= {name: pack_gates(arrays[name], gates) for name in PER_GATE if name in arrays}
    if "mult_peephole" in arrays:
        packed["mult_peephole"] = pack_gates(arrays["mult_peephole"], gates - 1)
    return {k: np.ascontiguousarray(v) for k, v in packed.items()}


define("lstm_general", [*REQUIRED, *OPTIONAL], infer, legalize)
