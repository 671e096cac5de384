"""Memory plan: a lowered Relax function as a list of kernel calls over arena offsets, weights, inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from irnn_tvm.compiler.lift_states import op_name
from irnn_tvm.errors import BuildError

ALIGN = 16
ITEM_BYTES = {"int8": 1, "int16": 2, "int32": 4}
_SUPPORTED = "+ - * // % of the sequence length and constants"


@dataclass(frozen=True)
class Value:
    """A tensor in the generated program. kind: input, output, state, arena or weight; index into that kind's list
    (arena: byte offset). shape: ints and TIR expressions of the sequence length."""

    kind: str
    index: int
    dtype: str
    shape: tuple[Any, ...]


@dataclass(frozen=True)
class Call:
    """One kernel call. values: tensors in parameter order; scalars: run-time sizes passed explicitly; scan: the step's
    `irnn.scan` attributes or None; inputs: the kernel that works ahead of the steps of a scan, single: the
    one that does both for a call of a single step (relay_ops/scan.py). any_order: it may change places with the next
    call (any_order.py)."""

    kernel: str
    values: tuple[Value, ...]
    scalars: tuple[Any, ...]
    scan: dict[str, int] | None
    inputs: str | None = None
    single: str | None = None
    any_order: bool = False

    @property
    def kernels(self) -> list[str]:
        """All kernels that this call may run."""
        return [k for k in (self.inputs, self.kernel, self.single) if k is not None]

    @property
    def kernels_of_a_step(self) -> list[str]:
        """Those that run when it is called with one time step."""
        return [self.single] if self.single is not None else self.kernels


@dataclass
class Plan:
    """What the C writer needs: calls in order, copies to do at the end, arena size, distinct weights. arena_minimum:
    the most bytes of the arena's tensors that are in use at a time."""

    calls: list[Call] = field(default_factory=list)
    copies: list[tuple[Value, Value]] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    arena_bytes: int = 0
    arena_minimum: int = 0
    storages: list[int] = field(default_factory=list)


def aligned(size: int) -> int:
    return (size + ALIGN - 1) // ALIGN * ALIGN


class Planner:
    """Walks the bindings of a Relax function that went through CallTIRRewrite and StaticPlanBlockMemory."""

    def __init__(self, mod: Any, n_inputs: int, n_outputs: int, max_steps: int) -> None:
        """n_inputs, n_outputs: how many of main's parameters and results are the user's; the others are states."""
        self.mod, self.main = mod, mod["main"]
        self.n_inputs, self.n_outputs, self.max_steps = n_inputs, n_outputs, max_steps
        self.plan = Plan()
        self.env: dict[Any, Any] = {}
        self.storage: dict[Any, int] = {}
        self.placed: dict[Any, Value] = {}
        self.weight_keys: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def run(self) -> Plan:
        for i, param in enumerate(self.main.params):
            self.env[param] = self._boundary(i, self.n_inputs, "input", param.ty)
        bindings = [b for block in self.main.body.blocks for b in block.bindings]
        fields = self._place_outputs(bindings)
        for binding in bindings:
            self.env[binding.var] = self._value(binding.var, binding.value)
        for i, item in enumerate(fields):
            target = self._boundary(i, self.n_outputs, "output", item.ty)
            source = self._lookup(item)
            if (source.kind, source.index) != (target.kind, target.index):
                self.plan.copies.append((target, source))
        return self.plan

    def _boundary(self, i: int, users: int, kind: str, ty: Any) -> Value:
        shape, dtype = tuple(ty.shape.values), str(ty.dtype)
        return Value(kind, i, dtype, shape) if i < users else Value("state", i - users, dtype, shape)

    def _place_outputs(self, bindings: list[Any]) -> list[Any]:
        """Decides which allocations are written straight into the caller's output or the stream's state."""
        from tvm import relax

        bound = {b.var: b.value for b in bindings}

        def resolve(expr: Any) -> Any:
            while isinstance(expr, relax.Var) and expr in bound:
                value = bound[expr]
                if isinstance(value, relax.Var):
                    expr = value
                elif op_name(value) == "relax.reshape":
                    expr = value.args[0]
                elif isinstance(value, relax.TupleGetItem):
                    source = value.tuple_value
                    while isinstance(bound.get(source), relax.Var):
                        source = bound[source]
                    if not isinstance(bound.get(source), relax.Tuple):
                        return expr
                    expr = bound[source].fields[int(value.index)]
                else:
                    return expr
            return expr

        result = self.main.body.body
        while isinstance(result, relax.Var) and isinstance(bound.get(result), relax.Tuple | relax.Var):
            result = bound[result]
        fields = list(result.fields) if isinstance(result, relax.Tuple) else [result]
        # States are claimed last: when one tensor is both, the caller's buffer holds it and the state gets a copy.
        for i, item in enumerate(fields):
            root = resolve(item)
            if isinstance(root, relax.Var) and op_name(bound.get(root)) == "relax.builtin.alloc_tensor":
                self.placed.setdefault(root, self._boundary(i, self.n_outputs, "output", item.ty))
        return fields

    def _lookup(self, expr: Any) -> Any:
        from tvm.ir import GenericConst

        if isinstance(expr, GenericConst):
            return self._weight(expr.value.numpy())
        return self.env[expr]

    def _weight(self, array: np.ndarray) -> Value:
        """Equal constants are stored once."""
        array = np.ascontiguousarray(array)
        if str(array.dtype) not in ITEM_BYTES:
            raise BuildError(
                f"a constant of type {array.dtype} is left in the program; supported: {list(ITEM_BYTES)}"
            )
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self.weight_keys:
            self.weight_keys[key] = len(self.plan.weights)
            self.plan.weights.append(array)
        return Value("weight", self.weight_keys[key], str(array.dtype), array.shape)

    def _value(self, var: Any, value: Any) -> Any:
        from tvm import relax
        from tvm.ir import GenericConst, GlobalVar

        if isinstance(value, relax.Var | GenericConst):
            return self._lookup(value)
        if isinstance(value, relax.Tuple):
            return [self._lookup(f) for f in value.fields]
        if isinstance(value, relax.TupleGetItem):
            return self._lookup(value.tuple_value)[int(value.index)]
        name = op_name(value)
        if name == "relax.memory.alloc_storage":
            return self._reserve(int(value.args[0].values[0]))
        if name == "relax.memory.alloc_tensor":
            offset = self.env[value.args[0]] + int(value.args[1].value)
            return Value("arena", offset, str(var.ty.dtype), tuple(var.ty.shape.values))
        if name == "relax.builtin.alloc_tensor":
            if var in self.placed:  # an output is often a reshaped view of what the kernel writes
                return replace(self.placed[var], shape=tuple(var.ty.shape.values))
            return Value(
                "arena",
                self._reserve(most_bytes(var.ty.shape.values, str(var.ty.dtype), self.max_steps)),
                str(var.ty.dtype),
                tuple(var.ty.shape.values),
            )
        if name == "relax.reshape":
            source = self._lookup(value.args[0])
            return Value(source.kind, source.index, source.dtype, tuple(var.ty.shape.values))
        if name == "relax.call_packed" or isinstance(value.op, relax.ExternFunc):
            callee = value.op if isinstance(value.op, relax.ExternFunc) else value.args[0]
            args = value.args if isinstance(value.op, relax.ExternFunc) else value.args[1:]
            return self._call(str(callee.global_symbol), args)
        if isinstance(value.op, GlobalVar):
            return self._call(value.op.name_hint, value.args)
        raise BuildError(
            f"the lowered program holds {name or value}, which has no place in an integer library"
        )

    def _call(self, kernel: str, args: Any) -> None:
        from tvm import relax

        func = self.mod[kernel]
        scan = dict(func.attrs["irnn.scan"].items()) if "irnn.scan" in func.attrs else None
        others: dict[str, str] = {}
        if scan is not None:
            others = {key: str(scan.pop(key)) for key in ("inputs", "single") if key in scan}
            scan = {key: int(value) for key, value in scan.items()}
        tensors = [a for a in args if isinstance(a.ty, relax.TensorType)]
        steps = tensors[0].ty.shape.values[0] if scan is not None else 1
        if evaluate(steps, 1) != 1 and isinstance(expression(steps), int):
            others.pop("single", None)  # there are always more steps than one
        scalars = tuple(a for a in args if not isinstance(a.ty, relax.TensorType))
        self.plan.calls.append(
            Call(
                kernel,
                tuple(self._lookup(a) for a in tensors),
                scalars,
                scan,
                others.get("inputs"),
                others.get("single"),
            )
        )

    def _reserve(self, size: int) -> int:
        offset = self.plan.arena_bytes
        self.plan.arena_bytes = offset + aligned(size)
        self.plan.storages.append(size)
        return offset


def most_bytes(shape: Iterable[Any], dtype: str, steps: int) -> int:
    """Bytes of a tensor with `steps` for the sequence length."""
    total = ITEM_BYTES[dtype]
    for dim in shape:
        total *= evaluate(dim, steps)
    return total


def evaluate(dim: Any, steps: Any) -> Any:
    """A dimension with `steps` for the sequence length: an int, or an array of them, which gives an array."""
    from tvm import tirx

    if isinstance(dim, int | tirx.IntImm):
        return int(dim)
    if isinstance(dim, tirx.Var):
        return steps
    a, b = evaluate(dim.a, steps), evaluate(dim.b, steps)
    kind = type(dim).__name__
    if kind == "Add":
        return a + b
    if kind == "Sub":
        return a - b
    if kind == "Mul":
        return a * b
    if kind in ("FloorDiv", "Div"):
        return a // b
    if kind in ("FloorMod", "Mod"):
        return a % b
    raise BuildError(f"size {dim} is not supported; supported: {_SUPPORTED}")


def expression(dim: Any, divide: str = "/") -> int | str:
    """A dimension as an int or as text in T: C with divide="/" (sizes are not negative), Python with "//"."""
    from tvm import tirx

    if isinstance(dim, int | tirx.IntImm):
        return int(dim)
    if isinstance(dim, tirx.Var):
        return "T"
    symbols = {"Add": "+", "Sub": "-", "Mul": "*", "FloorDiv": divide, "Div": divide}
    symbols |= {"FloorMod": "%", "Mod": "%"}
    symbol = symbols.get(type(dim).__name__)
    if symbol is None:
        raise BuildError(f"size {dim} is not supported; supported: {_SUPPORTED}")
    return f"({expression(dim.a, divide)} {symbol} {expression(dim.b, divide)})"
