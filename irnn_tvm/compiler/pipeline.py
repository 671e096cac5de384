"""The order of the passes from an exported program to a plan and its kernels."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from irnn_tvm.compiler.any_order import loosen
from irnn_tvm.compiler.lengths import accepted_lengths
from irnn_tvm.compiler.lift_states import LiftedState, lift_states
from irnn_tvm.compiler.pack_arena import pack_arena
from irnn_tvm.compiler.plan import Plan, Planner, expression
from irnn_tvm.compiler.streaming import Streaming, analyse, fixed_steps, time_variable
from irnn_tvm.errors import BuildError, InputError
from irnn_tvm.runtime.tensors import TimeRange

if TYPE_CHECKING:
    import numpy as np
    import torch

ChooseFor = Callable[[bool], Any]
# Longest sequence that a library takes when it needs the whole sequence in its arena and nobody gave a limit.
DEFAULT_MAX_STEPS = 256
# Axis of the keys in the scores of a softmax, and in the keys of an attention.
LAST = {"irnn.softmax": -1, "irnn.attention": 1}


@dataclass
class Lowered:
    """A program after all graph passes. params, results: types of the user's inputs and outputs before lowering.

    at_once: for streaming programs with a run-time length, how many time steps the graph takes at most in one go.
    digest: of the program, the same for all targets.
    """

    mod: Any
    plan: Plan
    states: list[LiftedState]
    streaming: Streaming
    params: list[tuple[str, Any]]
    results: list[Any]
    fixed_steps: int | None
    lengths: TimeRange
    index_limits: dict[int, int | str]
    at_once: int
    digest: int


def lower_program(
    program: torch.export.ExportedProgram,
    max_seq_len: int | None = None,
    instruction_set: str | None = None,
    stream: bool = False,
    choose: ChooseFor | None = None,
) -> Lowered:
    """Imports, analyses, legalizes and plans a program.

    max_seq_len: arena size of models that need a whole sequence; streaming models need none. instruction_set: one of
    schedules/ that kernels are written for (Target.simd); None: scalar code. stream: whether the weights of products
    are fetched before they are read. choose: of whether the program streams, what kernels are chosen of calls of
    operators (schedules/instruction_set.py); None: the default ones.
    """
    from irnn_tvm.frontend.import_program import import_program

    mod, guards = import_program(program), tuple(getattr(program, "_guards_code", None) or ())
    return lower_module(mod, max_seq_len, instruction_set, stream, choose, example_steps(program), guards)


def lower_module(
    mod: Any,
    max_seq_len: int | None = None,
    instruction_set: str | None = None,
    stream: bool = False,
    choose: ChooseFor | None = None,
    usual_steps: int = 1,
    guards: Sequence[str] = (),
) -> Lowered:
    """`lower_program` of a Relax module that is imported. usual_steps: length of the sequences of its calibration;
    guards: what its export found of its sizes."""
    from tvm import relax

    from irnn_tvm.compiler.lift_states import output_fields
    from irnn_tvm.compiler.verify import verify
    from irnn_tvm.compiler.verify_attention import check_keys
    from irnn_tvm.compiler.verify_rows import verify_lengths
    from irnn_tvm.relay_ops.scan import AHEAD
    from irnn_tvm.schedules import instruction_sets

    lengths, reason = accepted_lengths(mod["main"], time_variable(mod["main"]), guards)
    mod, bound = _bind_only_length(mod, lengths)
    main = mod["main"]
    params = [(str(p.name), p.ty) for p in main.params]
    results = [f.ty for f in output_fields(main)]
    verify(main)
    time = time_variable(main)
    streaming = analyse(main)
    if streaming.streamable and time is not None and not lengths.accepts(1):
        streaming = Streaming(False, f"the model takes {lengths.text()}: {reason}")
    limits = index_limits(main)
    mod, states = lift_states(mod)
    isa = instruction_sets.get(instruction_set)
    at_once, longest = 1, 1
    steps: int | None = None
    if time is None:
        steps = fixed_steps(main) if bound is None else bound
        lengths, longest = TimeRange(steps, steps), steps
    elif streaming.streamable:
        # The loop over time is in the generated C, around a graph of one step, or of a few where kernels gain.
        if isa is None or not isa.ahead:
            mod = relax.transform.BindSymbolicVars({time.name: 1}, "main")(mod)
        else:
            at_once = longest = AHEAD
            mod["main"] = mod["main"].with_attr("tir_var_upper_bound", {time.name: at_once})
        lengths = replace(lengths, maximum=max_seq_len)  # nothing but T itself is a size: every length goes
    else:
        declared = main.attrs["tir_var_upper_bound"].items() if "tir_var_upper_bound" in main.attrs else ()
        most = int(dict(declared).get(time.name, 0))
        default = most if 0 < most <= 1 << 16 else max(DEFAULT_MAX_STEPS, usual_steps)
        lengths = up_to(lengths, max_seq_len, default, reason)
        assert lengths.maximum is not None
        longest = lengths.maximum
        check_keys(main, longest)
        verify_lengths(main, longest)
        mod["main"] = mod["main"].with_attr("tir_var_upper_bound", {time.name: longest})
    chosen = None if choose is None else choose(streaming.streamable)
    with instruction_sets.lowering_for(isa, embedding_tables(main), stream, chosen):
        mod = relax.transform.LegalizeOps(skip_ops=["relax.reshape"])(mod)
    for step in (
        relax.transform.DeadCodeElimination(["main", *(g.name_hint for g in mod.get_global_vars())]),
        relax.transform.RemovePurityChecking(),
        relax.transform.CallTIRRewrite(),
        relax.transform.StaticPlanBlockMemory(),
    ):
        mod = step(mod)
    plan = Planner(mod, len(params), len(results), longest).run()
    loosen(plan, longest)
    pack_arena(plan, mod, longest)
    digest = program_digest(main)
    return Lowered(mod, plan, states, streaming, params, results, steps, lengths, limits, at_once, digest)


def _bind_only_length(mod: Any, lengths: TimeRange) -> tuple[Any, int | None]:
    """A program that takes one length as one for that length, and the length; else as it was, and None."""
    from tvm import relax

    time = time_variable(mod["main"])
    if time is None or lengths.minimum != lengths.maximum:
        return mod, None
    return relax.transform.BindSymbolicVars({time.name: lengths.minimum}, "main")(mod), lengths.minimum


def up_to(lengths: TimeRange, max_seq_len: int | None, default: int, reason: str) -> TimeRange:
    """Lengths up to max_seq_len, or up to `default` where nobody gave it (at least the shortest that goes).

    Raises InputError when max_seq_len is shorter than the shortest length.
    """
    if max_seq_len is not None and max_seq_len < lengths.minimum:
        raise InputError(f"max_seq_len={max_seq_len}: the model takes {lengths.text()} ({reason})")
    most = max_seq_len or max(default, lengths.minimum)
    most = most if lengths.maximum is None else min(most, lengths.maximum)
    while not lengths.accepts(most):
        most -= 1
    return replace(lengths, maximum=most)


def program_digest(main: Any) -> int:
    """CRC-32 of the operators of a program, their attributes and constants."""
    from tvm.ir import GenericConst

    digest = 0
    for block in main.body.blocks:
        for binding in block.bindings:
            value = binding.value
            attrs = getattr(value, "attrs", None)
            digest = zlib.crc32(f"{getattr(value, 'op', '')} {attrs}".encode(), digest)
            for argument in getattr(value, "args", ()):
                if isinstance(argument, GenericConst):
                    digest = zlib.crc32(argument.value.numpy().tobytes(), digest)
    return digest


def embedding_tables(main: Any) -> list[np.ndarray]:
    """Constants that embeddings select rows of: a linear layer with the same weights reads them as they are."""
    from tvm.ir import GenericConst

    from irnn_tvm.compiler.lift_states import op_name

    values = [binding.value for block in main.body.blocks for binding in block.bindings]
    tables = [value.args[1] for value in values if op_name(value) == "irnn.embedding"]
    return [table.value.numpy() for table in tables if isinstance(table, GenericConst)]


def example_steps(program: torch.export.ExportedProgram) -> int:
    """Longest run-time size among the example inputs of an export: the sequence length of the calibration."""
    hints = [1]
    for node in program.graph.nodes:
        if node.op == "placeholder" and hasattr(node.meta.get("val"), "shape"):
            hints += [int(d.node.hint or 1) for d in node.meta["val"].shape if not isinstance(d, int)]
    return max(hints)


def index_limits(main: Any) -> dict[int, int | str]:
    """For each input of ids or lengths: the number that all its values are below, an int or text in T.

    Ids are below the number of rows of the (smallest) embedding that they select, lengths of an attention at most the
    number of keys, and those of a growing memory below twice its capacity.
    """
    from tvm import relax

    from irnn_tvm.compiler.lift_states import op_name

    source = {p: i for i, p in enumerate(main.params)}
    limits: dict[int, int | str] = {}

    def restrict(values: Any, limit: Any) -> None:
        found = expression(limit)
        known = limits.get(source[values], found)
        limits[source[values]] = min((found, known), key=lambda v: (isinstance(v, str), v))

    for block in main.body.blocks:
        for binding in block.bindings:
            name, value = op_name(binding.value), binding.value
            if name in ("relax.reshape", "relax.permute_dims", "relax.strided_slice"):
                origin = source.get(value.args[0])
                if origin is not None:
                    source[binding.var] = origin
            elif name == "irnn.embedding":
                ids = value.args[0]
                if not isinstance(ids, relax.Var) or ids not in source:
                    raise BuildError(
                        "an embedding's ids must be an input of the model, to be checked at run time"
                    )
                restrict(ids, value.args[1].ty.shape.values[0])
            elif name in ("irnn.softmax", "irnn.attention") and int(value.attrs["has_lengths"]):
                lengths = value.args[-2]
                if lengths in source:
                    restrict(
                        lengths,
                        value.args[0 if name == "irnn.softmax" else 1].ty.shape.values[LAST[name]] + 1,
                    )
            elif name == "irnn.append" and value.args[1] in source:
                restrict(value.args[1], 2 * int(value.args[0].ty.shape.values[1]))
    return limits


def call_counts(lowered: Lowered) -> dict[str, int]:
    """How often each kernel runs in one call of the graph with one time step (for MACs per step)."""
    counts: dict[str, int] = {}
    for call in lowered.plan.calls:
        for kernel in call.kernels:
            counts.setdefault(kernel, 0)
        for kernel in call.kernels_of_a_step:
            counts[kernel] = counts.get(kernel, 0) + 1
    return counts
