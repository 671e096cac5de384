"""What a rule is: an Op plans its slots when it is made, watches calibration, and emits integer nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, fx, nn

from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.quantization.evaluate import evaluate
from irnn_tvm.quantization.slots import Index, Slot, Static, Value

if TYPE_CHECKING:
    from irnn_tvm.quantization.emitter import Emitter
    from irnn_tvm.quantization.planner import Planner
    from irnn_tvm.training.simulation import Simulation


class Op:
    """One captured node. Subclasses set `value` in `plan`, may look at floats in `observe`, and emit
    integers.
    """

    kind = "op"  # name in the report
    may_be_infinite = False  # its float result holds -inf on purpose (masked scores)

    def __init__(self, planner: Planner, node: fx.Node) -> None:
        self.planner = planner
        self.config = planner.config
        self.node = node
        self.module: nn.Module | None = (
            planner.captured.modules[str(node.target)] if node.op == "call_module" else None
        )
        scope = node.meta.get("scope") or ""
        self.label = (
            str(node.target) if node.op == "call_module" else f"{scope}.{node.name}" if scope else node.name
        )
        self.value: Value = self.plan()

    @classmethod
    def for_variant(cls, module: nn.Module) -> type[Op]:
        """The rule for this very module, where its options decide."""
        return cls

    def plan(self) -> Value:
        """Creates the slots of the result and registers the uses of the operands."""
        raise NotImplementedError

    def observe(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Sees the concrete float arguments and result of every calibration batch."""

    def refine(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Sees the same once more, when all quantization parameters are known."""

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The float result with the roundings of the integer operator, differentiable (straight through).

        args, kwargs: the node's concrete arguments, float tensors on the grids of their slots. The default is right for
        what moves data only.
        """
        return evaluate(self.node, args, kwargs, self.module)

    def emit(self, emitter: Emitter) -> Any:
        """Adds integer nodes to the emitter's graph and returns the (nested) node of the result."""
        raise NotImplementedError

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """A positional or keyword argument of the node, as captured (fx nodes for tensors)."""
        if len(self.node.args) > position:
            return self.node.args[position]
        return self.node.kwargs.get(name, default)

    def slot(self, argument: Any, use: str) -> Slot:
        """The slot of a float tensor argument; registers what it is used for."""
        value = self.planner.value(argument)
        if not isinstance(value, Slot):
            raise self.refuse(
                f"its operand {argument} is {_describe(value)}, not a float tensor of the model"
            )
        value.add_use(use)
        return value

    def plain(self, argument: Any, what: str) -> Any:
        """A Python value; one computed from sizes must be the same in every calibration batch."""
        if isinstance(argument, fx.Node):
            if not isinstance(self.planner.values[argument], Static):
                raise self.refuse(f"{what} depends on a tensor")
            return self.planner.guard(argument)
        return argument

    def refuse(self, reason: str) -> UnsupportedModuleError:
        """The error for this node."""
        return UnsupportedModuleError(f"{self.label} ({self.planner.describe(self.node)}): {reason}")


def _describe(value: Value) -> str:
    if isinstance(value, Index):
        return "an integer tensor"
    if isinstance(value, Static):
        return "a size"
    return f"a {type(value).__name__}"


class Registry:
    """Which Op handles which module type, function or method name."""

    modules: ClassVar[dict[type[nn.Module], type[Op]]] = {}
    functions: ClassVar[dict[Any, type[Op]]] = {}
    methods: ClassVar[dict[str, type[Op]]] = {}

    @classmethod
    def register(
        cls,
        modules: Iterable[type[nn.Module]] = (),
        functions: Iterable[Any] = (),
        methods: Iterable[str] = (),
    ) -> Callable[[type[Op]], type[Op]]:
        def add(op: type[Op]) -> type[Op]:
            cls.modules.update(dict.fromkeys(modules, op))
            cls.functions.update(dict.fromkeys(functions, op))
            cls.methods.update(dict.fromkeys(methods, op))
            return op

        return add

    @classmethod
    def for_module(cls, module: nn.Module) -> type[Op] | None:
        found = next((cls.modules[kind] for kind in type(module).__mro__ if kind in cls.modules), None)
        return found.for_variant(module) if found is not None else None

    @classmethod
    def supported_modules(cls) -> list[str]:
        """Names of layers, torch's as nn.Linear."""
        own = sorted(f"{k.__module__.split('.nn')[0]}.nn.{k.__name__}" for k in cls.modules)
        return [name.replace("torch.nn.", "nn.") for name in own]

    @classmethod
    def supported_functions(cls) -> list[str]:
        """Names of functions and of methods of tensors."""
        names = {getattr(f, "__name__", str(f)) for f in cls.functions} | set(cls.methods)
        return sorted(n for n in names if not n.startswith("_"))


def concrete(value: Any) -> Tensor:
    """Narrowing for type checkers: a concrete argument that is known to be a tensor."""
    assert isinstance(value, Tensor)
    return value
