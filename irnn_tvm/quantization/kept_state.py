"""A state that a model keeps in its own attributes: `y, self.h = self.gru(x, self.h)`.

A library keeps the state of a recurrent layer from step to step by itself. So an attribute that holds such a state
needs nothing else: its value before the first call is the layer's initial state, and what the model leaves in it is
what the library's stream holds then. Every other state in a module is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.nn import GRU, LSTM

# How many states a layer has; cells return them alone, layers after their output.
STATES = {nn.LSTM: 2, nn.GRU: 1, nn.RNN: 1, nn.LSTMCell: 2, nn.GRUCell: 1, nn.RNNCell: 1, LSTM: 2, GRU: 1}
CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
SAME = ("detach", "clone", "contiguous", "detach_")


@dataclass(frozen=True)
class KeptState:
    """node: the call of the layer whose state it is. parts: which of its states the attribute holds, in order."""

    node: fx.Node
    parts: tuple[int, ...]


def find_kept(
    graph: fx.Graph, modules: Mapping[str, nn.Module], left: Mapping[str, Any]
) -> dict[str, KeptState]:
    """Whose state each attribute holds. left: what the forward pass leaves there, with nodes for tensors.

    Raises UnsupportedModuleError, naming the attribute, for what is not the state of one call of a recurrent layer.
    """
    found = {name: _owner(name, value, modules) for name, value in left.items()}
    for name, kept in found.items():
        whole = sorted(p for other in found.values() if other.node is kept.node for p in other.parts)
        if whole != list(range(_count(kept.node, modules))):
            raise refusal(name, "only one of the two states of its layer is kept")
    return found


def refusal(name: str, reason: str) -> UnsupportedModuleError:
    return UnsupportedModuleError(
        f"the model keeps a state in {name!r} from call to call, and {reason}. An attribute or buffer with the state "
        "that a recurrent layer returned, from which its next call starts, becomes the state of the stream; pass any "
        "other state as an input, return its next value, and name both in `carries`"
    )


def final_states(kept: KeptState, values: Mapping[fx.Node, Any], module: nn.Module) -> dict[int, Tensor]:
    """The layer's states after its call, by number. values: of all nodes."""
    result = values[kept.node]
    states = result if isinstance(module, CELLS) else result[1]
    return {p: (states[p] if isinstance(states, tuple) else states) for p in kept.parts}


def with_state(
    args: tuple[Any, ...], kwargs: dict[str, Any], states: Mapping[int, Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a recurrent layer's call, started from other states."""
    start: Any = states[0] if len(states) == 1 else tuple(states[i] for i in sorted(states))
    if args:
        return (args[0], start, *args[2:]), {k: v for k, v in kwargs.items() if k != "hx"}
    return args, {**kwargs, "hx": start}


def _owner(name: str, value: Any, modules: Mapping[str, nn.Module]) -> KeptState:
    elements = value if isinstance(value, tuple) else (value,)
    if not any(isinstance(element, fx.Node) for element in elements):
        raise refusal(name, f"it is a {type(value).__name__}")
    traced = [_trace(element, modules) for element in elements]
    calls = {call for call, _ in traced if call is not None}
    if len(calls) != 1 or any(call is None for call, _ in traced):
        places = [e.meta.get("place") for e in elements if isinstance(e, fx.Node) and e.meta.get("place")]
        where = f" [{places[0]}]" if places else ""
        raise refusal(name, f"it is not what one call of a recurrent layer returned as its state{where}")
    return KeptState(calls.pop(), tuple(p for _, parts in traced for p in parts))


def _trace(value: Any, modules: Mapping[str, nn.Module]) -> tuple[fx.Node | None, tuple[int, ...]]:
    """The call of a recurrent layer, and which of its states a value is; (None, ()) for anything else."""
    nothing: tuple[fx.Node | None, tuple[int, ...]] = None, ()
    if not isinstance(value, fx.Node):
        return nothing
    while value.op == "call_method" and value.target in SAME:
        value = value.args[0]
    path: list[int] = []
    while value.op == "call_function" and getattr(value.target, "__name__", "") == "getitem":
        if not isinstance(value.args[1], int) or isinstance(value.args[0].meta["value"], Tensor):
            return nothing
        path.insert(0, value.args[1])
        value = value.args[0]
    count = _count(value, modules)
    if count == 0:
        return nothing
    if not isinstance(modules[str(value.target)], CELLS) and (not path or path.pop(0) not in (1, -1)):
        return nothing
    if len(path) == (1 if count == 2 else 0):
        return value, (path[0] % 2 if path else 0,)
    return (value, (0, 1)) if count == 2 and not path else nothing


def _count(node: fx.Node, modules: Mapping[str, nn.Module]) -> int:
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    return next((count for kind, count in STATES.items() if isinstance(module, kind)), 0)
