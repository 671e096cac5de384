"""A program of one operator of a model: what tuning measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from irnn_tvm.relay_ops.registry import constant_of

# Arguments that are a layer's state before the first step: zeros, so that a program of the layer streams.
_STATES: Mapping[str, tuple[int, ...]] = {
    "irnn.lstm": (1, 2),
    "irnn.lstm_general": (1, 2),
    "irnn.gru": (1,),
    "irnn.gru_norm": (1,),
    "irnn.rnn": (1,),
}


def module_of(call: Any, values: Mapping[Any, Any]) -> Any | None:
    """A Relax module whose `main` is this call; None where a size depends on the sequence's length by an expression.

    values: what the variables of the program are bound to. Constants stay, other tensors are inputs, states are zeros.
    """
    import tvm
    from tvm import relax

    name = str(call.op.name)
    parameters, arguments = [], []
    for position, argument in enumerate(call.args):
        constant = constant_of(argument, values)
        if constant is None and position in _STATES.get(name, ()):
            shape = [int(d) for d in argument.ty.shape.values]
            constant = relax.const(np.zeros(shape, str(argument.ty.dtype)))
        if constant is None:
            if not all(_plain(d) for d in argument.ty.shape.values):
                return None
            constant = relax.Var(f"p{position}", argument.ty)
            parameters.append(constant)
        arguments.append(constant)
    builder = relax.BlockBuilder()
    with builder.function("main", parameters):
        with builder.dataflow():
            made = builder.emit(relax.Call(call.op, arguments, call.attrs, []))
            fields = [made]
            if isinstance(call.ty, relax.TupleType):
                fields = [builder.emit(relax.TupleGetItem(made, n)) for n in range(len(call.ty.fields))]
            outputs = [builder.emit_output(field) for field in fields]
        builder.emit_func_output(outputs if len(outputs) > 1 else outputs[0])
    return tvm.IRModule(builder.get().functions)


def _plain(dim: Any) -> bool:
    from tvm import tirx

    return isinstance(dim, int | tirx.IntImm | tirx.Var)


def reference(call: Any, values: Mapping[Any, Any], inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of `module_of`'s program, by the torch operator. inputs: of its parameters, in order."""
    import torch

    import irnn_tvm.ops  # noqa: F401  registers torch.ops.irnn

    name = str(call.op.name).removeprefix("irnn.")
    op = getattr(torch.ops.irnn, name).default
    given = iter(inputs)
    tensors = []
    for position, argument in enumerate(call.args):
        constant = constant_of(argument, values)
        if constant is not None:
            tensors.append(torch.from_numpy(constant.value.numpy().copy()))
        elif position in _STATES.get(str(call.op.name), ()):
            shape = [int(d) for d in argument.ty.shape.values]
            tensors.append(torch.from_numpy(np.zeros(shape, str(argument.ty.dtype))))
        else:
            tensors.append(torch.from_numpy(next(given)))
    attrs = {str(k): v for k, v in dict(call.attrs.items()).items()}
    results = op(*_arguments(op._schema, tensors, attrs))
    return [r.numpy() for r in (results if isinstance(results, tuple | list) else (results,))]


def _arguments(schema: Any, tensors: list[Any], attrs: Mapping[str, Any]) -> list[Any]:
    """Arguments of a torch operator from those of the Relax one (frontend/converters.py makes these of those)."""
    left, arguments = list(tensors), []
    lists = sum(str(a.type) == "List[Tensor]" for a in schema.arguments)
    singles = sum(str(a.type) == "Tensor" for a in schema.arguments)
    for argument in schema.arguments:
        kind = str(argument.type)
        if kind == "Tensor":
            arguments.append(left.pop(0))
        elif kind == "List[Tensor]":
            assert lists == 1
            count = len(tensors) - singles
            arguments.append([left.pop(0) for _ in range(count)])
        elif kind.startswith("Optional[Tensor]"):
            arguments.append(left.pop(0) if int(attrs[f"has_{argument.name}"]) else None)
        else:
            value = attrs[argument.name]
            plain = int(value) if isinstance(value, int | bool) else [int(v) for v in value]
            arguments.append(bool(plain) if kind == "bool" else plain)
    return arguments
