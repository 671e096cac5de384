"""The order of the passes from an exported program to a plan and its kernels."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irnn_tvm.compiler.any_order import loosen
from irnn_tvm.compiler.lift_states import LiftedState, lift_states
from irnn_tvm.compiler.pack_arena import pack_arena
from irnn_tvm.compiler.plan import Plan, Planner, evaluate, expression
from irnn_tvm.compiler.streaming import Streaming, analyse, fixed_steps, time_variable
from irnn_tvm.errors import BuildError

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
    min_steps: int
    max_steps: int
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

    return lower_module(
        import_program(program), max_seq_len, instruction_set, stream, choose, example_steps(program)
    )


def lower_module(
    mod: Any,
    max_seq_len: int | None = None,
    instruction_set: str | None = None,
    stream: bool = False,
    choose: ChooseFor | None = None,
    usual_steps: int = 1,
) -> Lowered:
    """`lower_program` of a Relax module that is imported. usual_steps: length of the sequences of its calibration."""
    from tvm import relax

    from irnn_tvm.compiler.lift_states import output_fields
    from irnn_tvm.compiler.verify import verify
    from irnn_tvm.compiler.verify_attention import check_keys
    from irnn_tvm.compiler.verify_rows import verify_lengths
    from irnn_tvm.relay_ops.scan import AHEAD
    from irnn_tvm.schedules import instruction_sets

    main = mod["main"]
    params = [(str(p.name), p.ty) for p in main.params]
    results = [f.ty for f in output_fields(main)]
    verify(main)
    streaming = analyse(main)
    time = time_variable(main)
    limits = index_limits(main)
    mod, states = lift_states(mod)
    isa = instruction_sets.get(instruction_set)
    at_once, max_steps = 1, 0
    min_steps = 1 if time is None else shortest_sequence(main)
    if time is None:
        steps: int | None = fixed_steps(main)
    else:
        steps = None
        declared = (
            dict(main.attrs["tir_var_upper_bound"].items()) if "tir_var_upper_bound" in main.attrs else {}
        )
        bound = int(declared.get(time.name, 0))
        if streaming.streamable:
            # The loop over time is in the generated C, around a graph of one step, or of a few where kernels gain.
            if isa is None or not isa.ahead:
                mod = relax.transform.BindSymbolicVars({time.name: 1}, "main")(mod)
            else:
                at_once = AHEAD
                mod["main"] = mod["main"].with_attr("tir_var_upper_bound", {time.name: at_once})
            max_steps = max_seq_len or 0
        else:
            declared_or_default = bound if 0 < bound <= 1 << 16 else max(DEFAULT_MAX_STEPS, usual_steps)
            max_steps = max_seq_len or declared_or_default
            check_keys(main, max_steps)
            verify_lengths(main, max_steps)
            mod["main"] = mod["main"].with_attr("tir_var_upper_bound", {time.name: max_steps})
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
    longest = at_once if streaming.streamable else max_steps
    plan = Planner(mod, len(params), len(results), longest or steps or 1).run()
    loosen(plan, longest or steps or 1)
    pack_arena(plan, mod, longest or steps or 1)
    return Lowered(
        mod,
        plan,
        states,
        streaming,
        params,
        results,
        steps,
        min_steps,
        max_steps,
        limits,
        at_once,
        program_digest(main),
    )


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


def shortest_sequence(main: Any) -> int:
    """The smallest sequence length for which every tensor of the program has a size (convolutions need some).

    Raises BuildError when no length up to 65536 does.
    """
    from tvm import relax

    types = [p.ty for p in main.params]
    for block in main.body.blocks:
        for binding in block.bindings:
            ty = binding.var.ty
            types += list(ty.fields) if isinstance(ty, relax.TupleType) else [ty]
    dims = [
        d
        for ty in types
        if isinstance(ty, relax.TensorType) and ty.shape is not None
        for d in ty.shape.values
    ]
    timed = [d for d in dims if isinstance(expression(d), str)]
    steps = 1
    while not all(evaluate(d, steps) >= 1 for d in timed):
        steps += 1
        if steps > 1 << 16:
            raise BuildError(
                "no sequence length up to 65536 gives every tensor of the program a positive size"
            )
    return steps


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
