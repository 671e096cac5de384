"""Can a model run step by step? Decided on the imported Relax graph, before lowering.

A model streams when running it on one step after the other gives what running it on the whole sequence gives: every
op treats time steps alike, recurrence goes forward, recurrent states come from inputs or constants, and nothing that
is known only at the end of the sequence flows back into single steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from irnn_tvm.compiler.lift_states import STATE_ARGS, op_name, output_fields

ELEMENTWISE = frozenset({"irnn.requantize", "irnn.pwl", "irnn.clamp", "irnn.add", "irnn.mul"})
# What reads the last axis as a whole, one axis as a whole (`dim`), and windows of the last axis.
ROWS = frozenset({"irnn.layer_norm", "irnn.mad_norm", "irnn.topk"})
POOLS = frozenset({"irnn.mean_pool", "irnn.sum_pool", "irnn.max_pool", "irnn.argmax"})
WINDOWS = frozenset({"irnn.avg_pool1d", "irnn.max_pool1d"})

# What treats the rows of its first operand alike, as long as the others are the same for all of them.
ATTENDING = frozenset({"irnn.softmax", "irnn.matmul", "irnn.attention", "irnn.additive_scores"})


@dataclass(frozen=True)
class Streaming:
    """streamable, or the reason why not. feedback: (input index, output index) of states the caller carries."""

    streamable: bool
    reason: str
    feedback: tuple[tuple[int, int], ...] = ()


def time_variable(main: Any) -> Any:
    """The symbolic sequence length of `main`, or None. Raises BuildError when there are several."""
    from tvm import tirx

    from irnn_tvm.errors import BuildError

    found: list[Any] = []
    for param in main.params:
        for dim in param.ty.shape.values:
            if isinstance(dim, tirx.Var) and not any(dim.same_as(f) for f in found):
                found.append(dim)
    if len(found) > 1:
        names = ", ".join(str(f) for f in found)
        raise BuildError(
            f"the program has {len(found)} run-time sizes ({names}); one, the sequence length, is supported"
        )
    return found[0] if found else None


def fixed_steps(main: Any) -> int:
    """Sequence length of a program without run-time size: that of its first recurrent op, 1 when it has none."""
    for block in main.body.blocks:
        for binding in block.bindings:
            if op_name(binding.value) in STATE_ARGS:
                return int(binding.value.args[0].ty.shape.values[0])
    return 1


def analyse(main: Any) -> Streaming:
    """Analyses the imported `main` (irnn ops and data movement)."""
    time = time_variable(main)
    walker = _Walker(main, time)
    try:
        return walker.run()
    except _NotStreamable as stop:
        return Streaming(False, str(stop))


class _NotStreamable(Exception):
    pass


class _Walker:
    """Tracks, per variable: its time axis (None: no time axis) and whether it is a summary of the whole sequence."""

    def __init__(self, main: Any, time: Any) -> None:
        self.main, self.time = main, time
        self.axis: dict[Any, int | None] = {}
        # Where a view merged time with other axes into one of size a * T * b: (a, b), in the order of memory.
        self.merged: dict[Any, tuple[int, int]] = {}
        self.summary: dict[Any, bool] = {}
        self.source: dict[
            Any, Any
        ] = {}  # value that a view shows: parameter, or (recurrent op, output index)
        self.states: list[tuple[Any, Any]] = []  # (initial state's source, (op variable, output index))

    def run(self) -> Streaming:
        for param in self.main.params:
            if self._times(param.ty) != 1:
                raise _NotStreamable("an input is longer than the sequence")
            self._set(param, self._time_axis(param.ty), False, param)
        for block in self.main.body.blocks:
            for binding in block.bindings:
                self._binding(binding.var, binding.value)
        return self._result()

    def _result(self) -> Streaming:
        fields = output_fields(self.main)
        if any(self._times(field.ty) != 1 for field in fields):
            raise _NotStreamable("an output has several rows for each time step, along one axis")
        feedback = []
        params = list(self.main.params)
        for start, final in self.states:
            if start is None:
                continue
            position = next((i for i, p in enumerate(params) if p.same_as(start)), None)
            if position is None:
                raise _NotStreamable("an initial state is computed from other inputs")
            output = next((i for i, f in enumerate(fields) if self.source.get(f) == final), None)
            if output is None:
                raise _NotStreamable(
                    f"input state {params[position].name} has no output that carries it to the next step"
                )
            feedback.append((position, output))
        if self.time is None and not self._single_step():
            raise _NotStreamable("the program was exported for a fixed number of steps")
        return Streaming(True, "", tuple(feedback))

    def _single_step(self) -> bool:
        """A program without run-time length streams when all its recurrent ops see one step."""
        return fixed_steps(self.main) == 1

    def _time_axis(self, ty: Any) -> int | None:
        from tvm import tirx

        if self.time is None or not hasattr(ty, "shape") or ty.shape is None:
            return None
        for i, dim in enumerate(ty.shape.values):
            if not isinstance(dim, int | tirx.IntImm):
                if self._factor(dim) is None:
                    raise _NotStreamable(
                        "a tensor's size depends on the sequence length in another way than being it"
                    )
                return i
        return None

    def _times(self, ty: Any) -> int:
        """k of an axis of size k * T, 1 where there is none."""
        axis = self._time_axis(ty)
        return 1 if axis is None else int(self._factor(ty.shape.values[axis]) or 1)

    def _factor(self, dim: Any) -> int | None:
        """k where a size is k * T, else None."""
        from tvm import tirx

        if isinstance(dim, tirx.Var):
            return 1 if dim.same_as(self.time) else None
        if not isinstance(dim, tirx.Mul):
            return None
        for size, number in ((dim.a, dim.b), (dim.b, dim.a)):
            inner = self._factor(size) if isinstance(number, tirx.IntImm) else None
            if inner is not None:
                return inner * int(number)
        return None

    def _set(self, var: Any, axis: int | None, summary: bool, source: Any) -> None:
        self.axis[var], self.summary[var], self.source[var] = axis, summary, source

    def _binding(self, var: Any, value: Any) -> None:
        from tvm import relax

        name = op_name(value)
        if isinstance(value, relax.TupleGetItem):
            op_var = value.tuple_value
            axis = self._time_axis(var.ty)
            self._set(var, axis, axis is None and self.time is not None, (op_var, int(value.index)))
        elif isinstance(value, relax.Var):
            self._set(var, self.axis.get(value), self.summary.get(value, False), self.source.get(value))
        elif isinstance(value, relax.Tuple):
            self.source[var] = None
        elif name in STATE_ARGS:
            self._recurrent(var, value, name)
        elif name == "irnn.append":
            self._append(var, value)
        else:
            self._plain(var, value, name)

    def _recurrent(self, var: Any, value: Any, name: str) -> None:
        from tvm import relax

        if int(value.attrs["reverse"]):
            raise _NotStreamable("a layer runs backward in time (bidirectional)")
        places = self._time_axis(value.args[0].ty), self._times(value.args[0].ty)
        if self.time is not None and places != (0, 1):
            raise _NotStreamable(
                "a recurrent layer runs over a length that is not the input's sequence length"
            )
        for output, index in enumerate(STATE_ARGS[name], start=1):
            state = value.args[index]
            start = None
            if isinstance(state, relax.Var):
                if self.summary.get(state):
                    raise _NotStreamable("a layer starts from the final state of another layer")
                start = self.source.get(state)
                if not isinstance(start, relax.Var):
                    raise _NotStreamable("an initial state is computed from other inputs")
            self.states.append((start, (var, output)))
        self.source[var] = None

    def _append(self, var: Any, value: Any) -> None:
        """A growing memory is a state of two parts, the rows and their number; it takes one vector per step."""
        from tvm import relax

        if self.time is not None:
            raise _NotStreamable("a memory takes one vector, but the model runs over sequences")
        for output, state in enumerate(value.args[:2]):
            start = self.source.get(state) if isinstance(state, relax.Var) else None
            if isinstance(state, relax.Var) and not isinstance(start, relax.Var):
                raise _NotStreamable("a memory is computed from other inputs")
            self.states.append((start, (var, output)))
        self.source[var] = None

    def _attends(self, value: Any, name: str, before: int | None, rank: int) -> bool:
        """True when every time step of the first operand is treated alike, whatever the other steps are."""
        shared = all(self.axis.get(arg) is None for arg in value.args[1:])
        whole = name in ("irnn.softmax", "irnn.matmul") and before == rank - 1
        return shared and not whole and not int(dict(value.attrs.items()).get("causal", 0))

    def _plain(self, var: Any, value: Any, name: str) -> None:
        from tvm import relax

        inputs = [a for a in value.args if isinstance(a, relax.Var)]
        axes = {self.axis.get(a) for a in inputs} - {None}
        summary = any(self.summary.get(a, False) for a in inputs)
        axis = self._time_axis(var.ty)
        if axis is not None and not axes and name != "relax.broadcast_to":
            raise _NotStreamable("a constant is read by the number of the step")
        if axis is not None and summary:
            raise _NotStreamable("a summary of the whole sequence is combined with single time steps")
        takes_last = False
        if axes:
            takes_last = self._check(value, name, axis)
        source = self.source.get(inputs[0]) if name == "relax.reshape" and inputs else None
        self._set(var, axis, summary or takes_last, source)
        if name == "relax.reshape" and axis is not None:
            self.merged[var] = self._view(inputs[0], var.ty, axis)
        elif axis is not None and inputs:
            self.merged[var] = next((self.merged[a] for a in inputs if a in self.merged), (1, 1))

    def _view(self, source: Any, ty: Any, axis: int) -> tuple[int, int]:
        """(a, b) of the time axis of a view; refuses one that tears steps apart."""
        before = self.axis[source]
        assert before is not None

        def around(shape: list[Any], at: int) -> tuple[int, int]:
            return prod(int(d) for d in shape[:at]), prod(int(d) for d in shape[at + 1 :])

        (outer, inner), (a, b) = around(list(source.ty.shape.values), before), self.merged.get(source, (1, 1))
        outside, inside = around(list(ty.shape.values), axis)
        parts = divmod(outer * a, outside), divmod(inner * b, inside)
        if parts[0][1] or parts[1][1] or parts[0][0] * parts[1][0] != self._times(ty):
            raise _NotStreamable("a view mixes time steps")
        return parts[0][0], parts[1][0]

    def _check(self, value: Any, name: str, axis: int | None) -> bool:
        """Refuses ops that mix time steps. Returns True when the op keeps only the last step."""
        rank = len(value.args[0].ty.shape.values)
        before = self.axis.get(value.args[0])
        if name in ELEMENTWISE:
            aligned = set()
            for arg in value.args:
                time_axis = self.axis.get(arg)
                if time_axis is not None:
                    aligned.add((time_axis - len(arg.ty.shape.values), self.merged.get(arg, (1, 1))))
            if len(aligned) <= 1:
                return False
        elif name == "irnn.embedding" or (name == "irnn.linear" and before != rank - 1):
            return False
        elif name == "irnn.concat":
            dim = int(value.attrs["dim"]) % rank
            alike = {(self.axis.get(a), self.merged.get(a, (1, 1))) for a in value.args}
            if dim != axis and len(alike) == 1:
                return False
        elif name == "irnn.conv1d":
            if before == 0:  # within each step
                return False
            one = int(value.args[1].ty.shape.values[2]) == 1 and int(value.attrs["stride"]) == 1
            if before == 2 and one and not int(value.attrs["padding"]):
                return False
            raise _NotStreamable("a convolution sees several time steps at once")
        elif name in ROWS and before != rank - 1:
            return False
        elif name in POOLS:
            if before != int(value.attrs["dim"]) % rank:
                return False
            raise _NotStreamable("the whole sequence is pooled into one value")
        elif name in WINDOWS:
            if before != rank - 1 or int(value.attrs["kernel"]) == int(value.attrs["stride"]) == 1:
                return False
            raise _NotStreamable("a pooling window sees several time steps at once")
        elif name in ATTENDING:
            if self._attends(value, name, before, rank):
                return False
            raise _NotStreamable("attention sees several time steps at once")
        elif name in ("relax.reshape", "relax.permute_dims") and axis is not None:
            return False
        elif name == "relax.strided_slice":
            return self._slice(value, before, axis)
        raise _NotStreamable(f"{name.removeprefix('irnn.').removeprefix('relax.')} mixes time steps")

    def _slice(self, value: Any, before: int | None, axis: int | None) -> bool:
        from tvm.sym import Analyzer

        if axis is not None:
            return False  # time is kept whole
        axes = [int(a) for a in value.args[1].fields]
        if self.merged.get(value.args[0], (1, 1)) != (1, 1):
            raise _NotStreamable("some of the rows of single time steps are read")
        begin = value.args[2].fields[axes.index(before)] if before in axes else None
        if begin is not None and Analyzer().can_prove_equal(begin, self.time - 1):
            return True
        raise _NotStreamable("a fixed time step other than the last is read")
