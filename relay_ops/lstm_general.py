"""irnn.lstm_general: Relax op and packing of its constants (formula: irnn_tvm/ops/lstm_general.py).

For a unit at a time (lstm_general_step.py) weights are packed as those of irnn.lstm, [H][G gates][X + P]; gains, biases
and multipliers of gates [H][G]. For tiles of units (lstm_general_tiles.py) both are packed by tile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from . import lstm_general_step, lstm_general_tiles
from .input_products import inputs
from .lstm import pack_gates
from .lstm_general_formulas import fits
from .lstm_general_layout import Shapes, Variant
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
    tiles, prepared = lstm_general_tiles.tiles(variant, arrays), None
    if tiles is None:
        packed, func = pack(arrays, variant), lstm_general_step.build(variant)
        scratch: Shapes = variant.scratch_shapes()
    else:
        packed = lstm_general_tiles.pack(variant, tiles, arrays)
        func = lstm_general_tiles.build(variant, tiles, packed, fits(variant, arrays))
        scratch = lstm_general_tiles.scratch_shapes(variant, tiles)
        if lstm_general_tiles.ahead(variant, tiles):
            prepared = inputs(tiles.gates, batch, arrays["w_ih"], arrays["bias"])
    outs = emit_scan(
        bb,
        func,
        "lstm_general_step",
        x,
        h0,
        [c0],
        [relax.const(array, str(array.dtype)) for array in packed.values()],
        call.ty.fields[0],
        [relax.TensorType(list(shape), dtype) for shape, dtype in scratch.values()],
        last_y=True,
        reverse=bool(attr(call, "reverse")),
        inputs=prepared,
    )
    return relax.Tuple(outs)


def pack(arrays: dict[str, np.ndarray], variant: Variant) -> dict[str, np.ndarray]:
    """Constants in the order in which a step reads them, by the names of Variant.constant_shapes and in its order."""
    gates = variant.gates
    packed = {k: v for k, v in arrays.items() if k not in (*PER_GATE, "w_ih", "w_hh", "mult_peephole")}
    weights = [pack_gates(arrays[name], gates) for name in ("w_ih", "w_hh")]
    packed["w"] = np.concatenate(weights, axis=2)
    packed |= {name: pack_gates(arrays[name], gates) for name in PER_GATE if name in arrays}
    if "mult_peephole" in arrays:
        packed["mult_peephole"] = pack_gates(arrays["mult_peephole"], gates - 1)
    return {name: np.ascontiguousarray(packed[name]) for name in variant.constant_shapes()}


define("lstm_general", [*REQUIRED, *OPTIONAL], infer, legalize)
