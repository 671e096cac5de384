"""Relax pass: constant initial states of recurrent ops become explicit inputs, their final states outputs.

After it a streaming model is a pure function (x, states) -> (y, states'), whether the user's model carried its state
explicitly or left it to the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

STATE_ARGS = {
    "irnn.lstm": (1, 2),
    "irnn.gru": (1,),
    "irnn.lstm_general": (1, 2),
    "irnn.gru_norm": (1,),
    "irnn.rnn": (1,),
}


@dataclass(frozen=True)
class LiftedState:
    """One persistent state: its name, the value it starts from."""

    name: str
    initial: np.ndarray


def op_name(value: Any) -> str:
    """Name of the Relax op that an expression calls; empty for anything else."""
    op = getattr(value, "op", None)
    return str(getattr(op, "name", ""))


def output_fields(main: Any) -> list[Any]:
    """The outputs of a Relax function as single expressions."""
    from tvm import relax

    bound = {b.var: b.value for block in main.body.blocks for b in block.bindings}
    result = main.body.body
    while isinstance(result, relax.Var) and isinstance(bound.get(result), relax.Tuple | relax.Var):
        result = bound[result]
    return list(result.fields) if isinstance(result, relax.Tuple) else [result]


def lift_states(mod: Any) -> tuple[Any, list[LiftedState]]:
    """Returns the module and the states, in the order of the parameters and outputs that were appended to `main`.

    Backward directions are left alone: they start anew in every sequence.
    """
    from tvm import relax
    from tvm.ir import GenericConst

    main = relax.transform.ToNonDataflow()(mod)["main"]
    lifted: list[LiftedState] = []
    params: list[Any] = []
    finals: list[tuple[Any, int]] = []
    bindings: list[tuple[Any, Any]] = []
    for block in main.body.blocks:
        for binding in block.bindings:
            value = binding.value
            name = op_name(value)
            if name in STATE_ARGS and not int(value.attrs["reverse"]):
                args = list(value.args)
                for output, index in enumerate(STATE_ARGS[name], start=1):
                    if not isinstance(args[index], GenericConst):
                        continue
                    label = f"state{len(lifted)}"
                    lifted.append(LiftedState(label, args[index].value.numpy().copy()))
                    args[index] = relax.Var(label, args[index].ty)
                    params.append(args[index])
                    finals.append((binding.var, output))
                value = relax.Call(value.op, args, value.attrs, [])
            bindings.append((binding.var, value))
    fields = output_fields(main)
    builder = relax.BlockBuilder()
    with builder.function("main", [*main.params, *params], attrs=dict(main.attrs.items())):
        for var, value in bindings:
            builder.emit_normalized(relax.VarBinding(var, builder.normalize(value)))
        for var, output in finals:
            fields.append(builder.emit(relax.TupleGetItem(var, output)))
        builder.emit_func_output(builder.emit(relax.Tuple(fields)))
    return builder.get(), lifted
