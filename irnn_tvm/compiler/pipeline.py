"""The order of the passes from an exported program to a plan and its kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irnn_tvm.compiler.lift_states import LiftedState, lift_states
from irnn_tvm.compiler.plan import Plan, Planner, evaluate, expression
from irnn_tvm.compiler.streaming import Streaming, analyse, fixed_steps, time_variable
from irnn_tvm.errors import BuildError

if TYPE_CHECKING:
    import torch

# Longest sequence that a library takes when it needs the whole sequence in its arena and nobody gave a limit.
DEFAULT_MAX_STEPS = 256


@dataclass
class Lowered:
    """A program after all graph passes. params, results: types of the user's inputs and outputs before lowering."""

    mod: Any
    plan: Plan
    states: list[LiftedState]
    streaming: Streaming
    params: list[tuple[str, Any]]
    results: list[Any]
    fixed_steps: int | None
    min_steps: int
    max_steps: int
    index_limits: dict[int, int]


def lower_program(program: torch.export.ExportedProgram, max_seq_len: int | None = None) -> Lowered:
    """Imports, analyses, legalizes and plans a program.

    max_seq_len: arena size of models that need a whole sequence; streaming models need none.
    """
    from tvm import relax

    from irnn_tvm.compiler.lift_states import output_fields
    from irnn_tvm.compiler.verify import verify
    from irnn_tvm.frontend.import_program import import_program

    mod = import_program(program)
    main = mod["main"]
    params = [(str(p.name), p.ty) for p in main.params]
    results = [f.ty for f in output_fields(main)]
    verify(main)
    streaming = analyse(main)
    time = time_variable(main)
    limits = index_limits(main)
    mod, states = lift_states(mod)
    max_steps = 0
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
            # One step at a time: the loop over time is in the generated C, around this graph.
            mod = relax.transform.BindSymbolicVars({time.name: 1}, "main")(mod)
            max_steps = max_seq_len or 0
        else:
            declared_or_default = (
                bound if 0 < bound <= 1 << 16 else max(DEFAULT_MAX_STEPS, example_steps(program))
            )
            max_steps = max_seq_len or declared_or_default
            mod["main"] = mod["main"].with_attr("tir_var_upper_bound", {time.name: max_steps})
    mod = relax.transform.LegalizeOps(skip_ops=["relax.reshape"])(mod)
    for step in (
        relax.transform.DeadCodeElimination(["main", *(g.name_hint for g in mod.get_global_vars())]),
        relax.transform.RemovePurityChecking(),
        relax.transform.CallTIRRewrite(),
        relax.transform.StaticPlanBlockMemory(),
    ):
        mod = step(mod)
    plan = Planner(mod, len(params), len(results), max_steps or steps or 1).run()
    return Lowered(mod, plan, states, streaming, params, results, steps, min_steps, max_steps, limits)


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


def index_limits(main: Any) -> dict[int, int]:
    """For each input that selects embedding rows: how many rows there are (the smallest table when several)."""
    from tvm import relax

    from irnn_tvm.compiler.lift_states import op_name

    source = {p: i for i, p in enumerate(main.params)}
    limits: dict[int, int] = {}
    for block in main.body.blocks:
        for binding in block.bindings:
            name = op_name(binding.value)
            if name in ("relax.reshape", "relax.permute_dims", "relax.strided_slice"):
                origin = source.get(binding.value.args[0])
                if origin is not None:
                    source[binding.var] = origin
            elif name == "irnn.embedding":
                ids = binding.value.args[0]
                rows = int(binding.value.args[1].ty.shape.values[0])
                if not isinstance(ids, relax.Var) or ids not in source:
                    raise BuildError(
                        "an embedding's ids must be an input of the model, to be checked at run time"
                    )
                limits[source[ids]] = min(rows, limits.get(source[ids], rows))
    return limits


def call_counts(lowered: Lowered) -> dict[str, int]:
    """How often each kernel runs in one call of the graph with one time step (for MACs per step)."""
    counts: dict[str, int] = {}
    for call in lowered.plan.calls:
        counts[call.kernel] = counts.get(call.kernel, 0) + 1
    return counts
