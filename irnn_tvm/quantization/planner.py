"""Planner: walks the captured graph once and decides which tensors share quantization parameters."""

from __future__ import annotations

import difflib
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, fx, nn

from irnn_tvm.boundary import working_on
from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.quantization import fold
from irnn_tvm.quantization.capture import Captured
from irnn_tvm.quantization.config import QuantConfig
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.constant import ConstantOp, FoldedOp
from irnn_tvm.quantization.rules.folded_norm import FoldedNormOp
from irnn_tvm.quantization.rules.size import SizeOp, is_plain
from irnn_tvm.quantization.slots import Index, Mask, Slot, Static, Value


class Planner:
    """values: abstract value per node. ops: the Op per node. layers: integer layers by module, shared by its
    calls.
    """

    def __init__(self, captured: Captured, config: QuantConfig) -> None:
        self.captured = captured
        self.config = config
        self.values: dict[fx.Node, Value] = {}
        self.ops: dict[fx.Node, Op] = {}
        self.layers: dict[Any, Any] = {}
        self.tables: dict[Any, Any] = {}  # embeddings by where their table lies in memory
        self.slots: list[Slot] = []
        self.guards: dict[fx.Node, Any] = {}
        self.inputs: list[Slot | Index] = []
        self.folded = fold.find(captured)
        for node in captured.graph.nodes:
            with self.at(node):
                self._plan(node)
        self._tie_states()
        for slot in self.slots:
            slot.settle()

    def at(self, node: fx.Node) -> AbstractContextManager[None]:
        """Inside, an error gets the user's source line that made the node."""
        layer = f"{node.target}, " if node.op == "call_module" else ""
        return working_on(f"{layer}{self.describe(node)}", node.meta.get("place"))

    def _plan(self, node: fx.Node) -> None:
        if node.op == "output":
            self._plan_output(node.args[0])
        elif node.op == "placeholder":
            self.values[node] = self._plan_input(node)
        else:
            op = self._make(node)
            self.ops[node] = op
            self.values[node] = op.value

    def _tie_states(self) -> None:
        """Gives every state that a cell carries one set of parameters, as an input and as an output."""
        outputs = slots_of(self.value(self.captured.output))
        for name, number in self.captured.carries.items():
            state = self.inputs[self.captured.layout.names.index(name)]
            if not 0 <= number < len(outputs):
                raise UnsupportedModuleError(
                    f"carries says that output {number} is the next {name!r}; the model has {len(outputs)} outputs"
                )
            following = outputs[number]
            if not isinstance(state, Slot) or not isinstance(following, Slot):
                raise UnsupportedModuleError(f"carries: {name!r} or its next value is not a float tensor")
            if state.root is following.root:
                continue
            if following.rests_on(state):
                raise UnsupportedModuleError(
                    f"carries: the next {name!r} is {name!r} itself, moved or scaled; a state needs an operation that "
                    "rounds (an activation, a product, a sum) to become its next value"
                )
            state.follow(following.root)

    def new_slot(self, name: str, **options: Any) -> Slot:
        """A slot that takes part in `settle`."""
        slot = Slot(name, self.config, **options)
        self.slots.append(slot)
        return slot

    def value(self, argument: Any) -> Value:
        """Abstract value of an argument as captured."""
        return fx.map_arg(argument, lambda node: self.values[node])

    def guard(self, node: fx.Node) -> Any:
        """The example's value of a size expression that becomes a constant; calibration checks that it never
        changes.
        """
        self.guards[node] = node.meta["value"]
        return node.meta["value"]

    def is_constant(self, node: fx.Node) -> bool:
        """True for tensors that are the same for every input, in shape too."""
        return isinstance(self.ops.get(node), ConstantOp)

    def describe(self, node: fx.Node) -> str:
        """The operation in the user's words."""
        if node.op == "placeholder":
            return f"input {node.target}"
        if node.op == "call_module":
            return type(self.captured.modules[str(node.target)]).__name__
        if node.op == "call_method":
            return f"Tensor.{node.target}"
        return str(getattr(node.target, "__name__", node.target))

    def _plan_input(self, node: fx.Node) -> Slot | Index:
        example: Tensor = node.meta["value"]
        found: Slot | Index
        if example.is_floating_point():
            found = self.new_slot(
                f"input {str(node.target)!r}",
                tensor_class="input",
                bits=self.config.activation_bits,
                flexible=True,
            )
            found.watch(node)
        else:
            found = Index(str(node.target))
        self.inputs.append(found)
        return found

    def _plan_output(self, structure: Any) -> None:
        if isinstance(structure, fx.Node):
            structure = self.values[structure]
        if isinstance(structure, Slot):
            structure.add_use("output")
        elif isinstance(structure, tuple | list):
            for element in structure:
                self._plan_output(element)
        elif isinstance(structure, dict):
            for element in structure.values():
                self._plan_output(element)
        elif not (isinstance(structure, Index) or structure is None):
            raise UnsupportedModuleError(
                "the model returns something that is not a tensor, a tuple, a list or a dict"
            )

    def _make(self, node: fx.Node) -> Op:
        if node.op == "get_attr":
            return ConstantOp(self, node)
        operands = [self.values[n] for n in node.all_input_nodes]
        module = self.captured.modules[str(node.target)] if node.op == "call_module" else None
        if node in self.folded.norms:
            return FoldedNormOp(self, node)
        if module is None and operands and all(self.is_constant(n) for n in node.all_input_nodes):
            return FoldedOp(self, node)
        if is_plain(node.meta["value"]) and all(_sized(v) for v in operands):
            return SizeOp(self, node)
        kind: type[Op] | None
        if module is not None:
            kind = Registry.for_module(module)
        elif node.op == "call_method":
            name = str(node.target)
            kind = Registry.methods.get(name) or Registry.methods.get(name.rstrip("_"))
        else:
            kind = Registry.functions.get(node.target)
        if kind is None:
            scope = node.meta.get("scope")
            name = self.describe(node).removeprefix("Tensor.")
            raise UnsupportedModuleError(
                f"{self.describe(node)}{f' in {scope!r}' if scope else ''} has no integer version; "
                f"{nearest(name, Registry.supported_functions())}"
            )
        return kind(self, node)


def check_leaf(name: str, module: nn.Module) -> None:
    """Raises UnsupportedModuleError for a layer without an integer version, naming it and what is supported."""
    if Registry.for_module(module) is None and not isinstance(module, fold.NORMS):
        raise UnsupportedModuleError(
            f"layer {name!r} of type {type(module).__name__} has no integer version; "
            f"{nearest(type(module).__name__, [*Registry.supported_modules(), 'nn.BatchNorm1d'])}"
        )


def nearest(name: str, supported: list[str]) -> str:
    """What to try in the place of a name that is not supported: what is spelt like it, and where all names are."""
    short = {full.rpartition(".")[2].lower(): full for full in reversed(supported)}
    found = [short[s] for s in difflib.get_close_matches(name.lower().strip("_"), short, n=3, cutoff=0.5)]
    guess = f"did you mean {' or '.join(found)}? All that is" if found else "what is"
    return f"{guess} supported: docs/quantization.md, 'What a model may contain'"


def slots_of(structure: Value) -> list[Slot | Index]:
    """Slots of a (nested) model result, in order."""
    if isinstance(structure, Slot | Index):
        return [structure]
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, tuple | list):
        return [slot for element in structure for slot in slots_of(element)]
    return []


def _sized(value: Value) -> bool:
    """Operands that a size expression may read."""
    if isinstance(value, tuple | list):
        return all(_sized(v) for v in value)
    return (
        isinstance(value, Slot | Index | Mask | Static)
        or value is None
        or isinstance(value, int | float | str | bool)
    )
