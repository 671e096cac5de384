"""Where bits matter: runs a quantized model with some of its operators in float and measures the difference.

    python -m irnn_tvm.examples.ablation --recipe japanese_vowels --model gru --stage qat --pieces 16 [--quick]

Two tables per model: every kind of operator (lstm, linear, embedding ...) computed in float in turn while the
others stay integer, and one kind at a time integer while the others are float. A float operator reads real values
and its result is not rounded; an integer one rounds its operands onto its own grids and runs the very nodes of the
integer model. Data movement computes nothing and follows the values. A third table narrows or coarsens one setting
of the widths at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

import irnn_tvm
from irnn_tvm.errors import InputError
from irnn_tvm.examples.training.stages import Job, Say, Variant, trained_twin
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.evaluate import evaluate
from irnn_tvm.quantization.inputs import flatten_call, flatten_tensors
from irnn_tvm.quantization.slots import Slot
from irnn_tvm.training.twin import QatModel

# Kinds that only move values, or do not exist in integers.
NOT_COMPUTED = frozenset(
    {"movement", "identity", "constant", "folded", "fill", "size", "mask", "memory", "op"}
)
NARROWER: dict[str, dict[str, Any]] = {
    "gates 8 bits": {"gate_bits": 8},
    "cell 8 bits": {"cell_bits": 8},
    "GRU state 8 bits": {"gru_state_bits": 8},
    "outputs 8 bits": {"output_bits": 8},
    "everything 8 bits": {"gate_bits": 8, "cell_bits": 8, "gru_state_bits": 8, "output_bits": 8},
    "4 pieces": {"pwl_pieces": 4},
    "8 pieces": {"pwl_pieces": 8},
    "256 pieces": {"pwl_pieces": 256},
}


class PartlyInteger(nn.Module):
    """The network of a twin with the operators named in `in_float` computed in float, all others in integers.

    forward takes and returns what the float model's forward does. `in_float` holds kinds of operators or names of
    single layers. With an empty set the result is that of the converted integer model, bit for bit; with every kind
    in it, that of the float model.
    """

    def __init__(self, twin: QatModel, in_float: Iterable[str] = ()) -> None:
        super().__init__()
        self.twin = twin
        self.in_float = frozenset(in_float)
        unknown = self.in_float - set(operators(twin)) - set(operators(twin).values())
        if unknown:
            known = ", ".join(sorted({*operators(twin), *operators(twin).values()}))
            raise InputError(f"the model has no operator {', '.join(sorted(unknown))}; it has {known}")
        emission = twin.emission()
        self.planner, self.emitter = emission.planner, emission.emitter
        self.graph_module = emission.integer.graph_module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        captured = self.planner.captured
        layout, tensors = flatten_call(self.twin.model, kwargs if kwargs else args, "the call")
        if not layout.matches(captured.layout):
            raise InputError("the call has another structure than the one that the twin was captured with")
        inputs = dict(zip(captured.graph.find_nodes(op="placeholder"), tensors, strict=True))
        integers = _IntegerNodes(self.graph_module, self.emitter.graph, inputs, self.emitter.env)
        values: dict[fx.Node, Any] = dict(inputs)
        for node in captured.graph.nodes:
            if node.op == "output":
                return fx.map_arg(node.args[0], lambda n: values[n])
            if node.op == "placeholder":
                continue
            if self._runs_in_float(node):
                concrete = fx.map_arg((node.args, node.kwargs), lambda n: values[n])
                values[node] = evaluate(node, *concrete, self.planner.ops[node].module)
            else:
                values[node] = self._integer(node, values, integers)
        raise AssertionError("a captured graph ends with its output")

    def _runs_in_float(self, node: fx.Node) -> bool:
        op = self.planner.ops[node]
        return op.kind in NOT_COMPUTED or op.kind in self.in_float or op.label in self.in_float

    def _integer(self, node: fx.Node, values: dict[fx.Node, Any], integers: _IntegerNodes) -> Any:
        """The node's result by the integer model's nodes, for operands that are real values."""
        known: dict[fx.Node, Any] = {}
        for source in node.all_input_nodes:
            _quantize(self.emitter.env.get(source), self.planner.values[source], values[source], known)
        result = integers.compute(self.emitter.env[node], known)
        return _dequantize(result, self.planner.values[node])


class _IntegerNodes:
    """Evaluates nodes of the integer graph from integers that are already known."""

    def __init__(
        self, graph_module: fx.GraphModule, graph: fx.Graph, inputs: dict[fx.Node, Any], env: dict[Any, Any]
    ) -> None:
        self.interpreter = fx.Interpreter(graph_module, graph=graph)
        self.present = set(graph.nodes)
        # Sizes may be read off any input, also where its values come in through an operator's operands.
        self.inputs = {env[node]: tensor for node, tensor in inputs.items()}

    def compute(self, wanted: Any, known: dict[fx.Node, Any]) -> Any:
        """Values of a (nested) node; None for what nobody reads, which the integer model does not have."""
        memo = dict(known)

        def value(node: fx.Node) -> Any:
            if node not in memo:
                if node not in self.present:
                    memo[node] = None
                elif node.op == "placeholder":
                    memo[node] = self.inputs[node].to(torch.int8)
                elif node.op == "get_attr":
                    memo[node] = self.interpreter.fetch_attr(str(node.target))
                else:
                    args, kwargs = fx.map_arg((node.args, node.kwargs), value)
                    memo[node] = getattr(self.interpreter, node.op)(node.target, args, kwargs)
            return memo[node]

        return fx.map_arg(wanted, value)


def _quantize(nodes: Any, slots: Any, values: Any, known: dict[fx.Node, Any]) -> None:
    """Enters the integers of a (nested) value under the integer nodes that stand for it."""
    if isinstance(nodes, tuple | list):
        for node, slot, value in zip(nodes, slots, values, strict=True):
            _quantize(node, slot, value, known)
    elif isinstance(nodes, fx.Node):
        if isinstance(slots, Slot):
            q: QParams = slots.qparams
            known[nodes] = torch.ops.irnn.quantize(values, q.scale, q.zero_point, q.bits)
        elif isinstance(values, Tensor):
            known[nodes] = values


def _dequantize(result: Any, slots: Any) -> Any:
    if isinstance(slots, tuple | list):
        return type(slots)(_dequantize(r, s) for r, s in zip(result, slots, strict=True))
    if isinstance(slots, Slot) and result is not None:
        return torch.ops.irnn.dequantize(result, slots.qparams.scale, slots.qparams.zero_point)
    return result


def operators(twin: QatModel) -> dict[str, str]:
    """Name and kind of every operator of a twin that computes something."""
    planner = twin.emission().planner
    return {op.label: op.kind for op in planner.ops.values() if op.kind not in NOT_COMPUTED}


@dataclass(frozen=True)
class Outcome:
    """The metric with one change. table: which of the tables of the module's description."""

    table: str
    change: str
    value: float


def ablate(twin: QatModel, measure: Callable[[nn.Module], float], say: Say = print) -> list[Outcome]:
    """The first two tables. measure: the metric of a model whose forward is the float model's."""
    kinds = sorted(set(operators(twin).values()))
    everything = frozenset(kinds)
    plan = [("integer", "everything", frozenset[str]()), ("integer", "nothing", everything)]
    plan += [("all but one kind integer", f"{kind} in float", frozenset({kind})) for kind in kinds]
    if len(kinds) > 1:
        plan += [("one kind integer", f"{kind} in integers", everything - {kind}) for kind in kinds]
    outcomes = []
    twin.eval()
    with torch.no_grad():
        for table, change, in_float in plan:
            outcomes.append(Outcome(table, change, measure(PartlyInteger(twin, in_float).eval())))
            say(f"{table}: {change}: {outcomes[-1].value:.4f}")
    return outcomes


def narrow(job: Job, model: nn.Module, base: Variant, say: Say = print) -> list[Outcome]:
    """The third table: post-training quantization with one setting changed, measured with the built library."""
    outcomes = []
    for change, settings in {f"{base.bits} bits, {base.pieces} pieces": {}, **NARROWER}.items():
        config = replace(job.quant_config(base), **settings)
        integer = irnn_tvm.quantize(model.cpu(), job.calibration(model.cpu()), config)
        outcomes.append(Outcome("one setting changed", change, job.library_value(job.build(integer))))
        say(f"{outcomes[-1].table}: {change}: {outcomes[-1].value:.4f}")
    return outcomes


def observed_twin(job: Job, model: nn.Module, variant: Variant) -> QatModel:
    """A twin without training: what post-training quantization with nearest rounding gives."""
    batches = job.calibration(model)
    twin = irnn_tvm.prepare_qat(model, job.qat_config(job.quant_config(variant)), batches[0])
    for batch in batches:
        twin.observe(tuple(flatten_tensors(batch if isinstance(batch, tuple) else (batch,))))
    twin.eval()
    return twin


def run(job: Job, variant: Variant, folder: Path, settings: bool = True, say: Say = print) -> list[Outcome]:
    """All tables of a job's variant; trains what has no checkpoint in `folder` yet."""
    model, _ = job.train_float(folder / "float", True, say)
    twin = (
        observed_twin(job, model, variant)
        if variant.stage == "ptq"
        else trained_twin(job, model, variant, folder, True, say)[0]
    )
    outcomes = ablate(twin, job.float_value, say)
    return outcomes + (narrow(job, model, replace(variant, stage="ptq"), say) if settings else [])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command of the module's description."""
    from irnn_tvm.examples.training import command
    from irnn_tvm.examples.training.recipes import RECIPES, job_of

    parser = argparse.ArgumentParser(description="Which operators and settings cost accuracy.")
    parser.add_argument("--recipe", choices=RECIPES, required=True)
    parser.add_argument("--model", default=None, help="default: the recipe's first")
    parser.add_argument("--stage", choices=("ptq", "qat"), default="ptq")
    parser.add_argument("--bits", choices=command.WIDTHS, default="8/16")
    parser.add_argument("--pieces", type=int, choices=command.PIECES, default=16)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder of checkpoints and result rows")
    parser.add_argument("--no-settings", action="store_true", help="without the third table")
    parser.add_argument("--documents", type=int, help="language model: only so many test documents")
    given = parser.parse_args(arguments)
    options = command.Options(size="quick" if given.quick else "standard", work=given.work)
    job = job_of(given.recipe, given.model, options, given.seed, given.documents)
    variant = Variant(given.stage, given.bits, given.pieces)
    show(job, run(job, variant, options.folder(job), not given.no_settings))


def show(job: Job, outcomes: Iterable[Outcome]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "", job.metric, title=f"{job.recipe}, {job.model}, {job.size}, seed {job.seed}")
    for outcome in outcomes:
        table.add_row(outcome.table, outcome.change, f"{outcome.value:.4f}")
    Console().print(table)


if __name__ == "__main__":
    main()
