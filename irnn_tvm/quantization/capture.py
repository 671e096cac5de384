"""Capture: the float model as a torch.fx graph whose leaves are layers, with an example value on every node.

Tracing runs the model once on the first calibration batch: every proxy knows the concrete value it stands
for, so ranks, dtypes and tuple lengths are ordinary Python values in the user's code, while sizes stay
symbolic.
"""

from __future__ import annotations

import dis
import linecache
import math
import operator
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import rnn as rnn_utils

from irnn_tvm.errors import IrnnError, UnsupportedModuleError
from irnn_tvm.quantization.effective_weights import fresh_parametrizations, is_effective
from irnn_tvm.quantization.equality import same
from irnn_tvm.quantization.evaluate import evaluate, run_layer
from irnn_tvm.quantization.in_place import OPERATORS, Memory, functional
from irnn_tvm.quantization.inputs import CallLayout
from irnn_tvm.quantization.kept_state import KeptState, find_kept
from irnn_tvm.quantization.layer_calls import is_leaf, user_hooks, user_hooks_alone
from irnn_tvm.quantization.loops_over_time import INSTEAD, explained

PACKING = (
    rnn_utils.pack_padded_sequence,
    rnn_utils.pad_packed_sequence,
    rnn_utils.pack_sequence,
    rnn_utils.unpack_sequence,
)
# Creation functions do not dispatch on a proxy among their sizes; wrapping records them as graph nodes.
FACTORIES = (
    torch.zeros,
    torch.ones,
    torch.full,
    torch.empty,
    torch.rand,
    torch.randn,
    torch.arange,
    torch.tensor,
)
PLAIN_ATTRIBUTES = (
    "ndim",
    "dtype",
    "device",
    "layout",
    "is_cuda",
    "is_cpu",
    "is_sparse",
    "is_nested",
    "is_quantized",
)
PLAIN_METHODS = (
    "dim",
    "ndimension",
    "is_floating_point",
    "is_complex",
    "is_contiguous",
    "get_device",
    "element_size",
)
HERE = str(Path(__file__).parent)
TORCH = str(Path(torch.__file__).parent)


@dataclass
class Captured:
    """graph: placeholders are the layout's tensors in order. modules and constants by name; `output` is the
    nested structure of the model's result with fx nodes in place of tensors. carries: what `model.carries` says, the
    name of an input state -> which output is its next value. kept: attributes of the model that hold the state of a
    recurrent layer from call to call, and the layer's node.
    """

    graph: fx.Graph
    modules: dict[str, nn.Module]
    constants: dict[str, Tensor]
    layout: CallLayout
    output: Any
    model_name: str
    carries: dict[str, int]
    kept: dict[str, KeptState]

    def attribute(self, target: str) -> Any:
        """A parameter or buffer as it is now; any other tensor is a constant of the graph, as it was captured."""
        path, _, name = target.rpartition(".")
        owner, captured = self.modules.get(path), self.constants[target]
        if owner is None or (name in vars(owner) and not is_effective(self.modules[""], target)):
            return captured
        now = getattr(owner, name, None)
        return now if isinstance(now, Tensor) and now.shape == captured.shape else captured


def capture(
    model: nn.Module,
    layout: CallLayout,
    example: tuple[Tensor, ...],
    check: Callable[..., None],
    states: Sequence[str] = (),
) -> Captured:
    """Traces `model` (in eval mode) on one example call.

    check(name, module) is called for every leaf and raises UnsupportedModuleError for one that has no integer
    version. states: names of attributes in which the model keeps tensors from call to call. What the forward pass
    leaves in the model is the caller's to take back. Raises UnsupportedModuleError, naming file, line and reason, for
    code that a graph cannot express.
    """
    root = model
    if is_leaf(model) and not user_hooks(model):
        root = nn.Module()
        root.add_module(type(model).__name__.lower(), model)
    tracer = _Tracer(layout, example, None if root is model else model, check)
    tracer.memory.allowed.update(states)
    with fresh_parametrizations(cached=False):
        try:
            graph = tracer.trace(root)
        except IrnnError as error:
            place = user_line(error)
            if place is None or place in str(error):
                raise
            raise type(error)(f"{error} [{place}]") from error
        except Exception as error:
            where = f"module {tracer.failed_in!r}, " if tracer.failed_in else ""
            place = user_line(error) or "no source line"
            raise UnsupportedModuleError(
                f"{type(model).__name__} cannot be captured: {explained(error)} [{where}{place}]"
            ) from error
        modules = dict(root.named_modules())
        kept = find_kept(graph, modules, {name: tracer.left_in(name) for name in states})
        graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        # The state of a layer that nothing reads changes no result.
        kept = {name: state for name, state in kept.items() if state.node in graph.nodes}
    constants = {n.target: n.meta["value"] for n in graph.nodes if n.op == "get_attr"}
    output = next(n for n in graph.nodes if n.op == "output").args[0]
    carries = _carries(model, layout)
    return Captured(graph, modules, constants, layout, output, type(model).__name__, carries, kept)


def _carries(model: nn.Module, layout: CallLayout) -> dict[str, int]:
    """The declaration of a cell: which output is the next value of which input."""
    carries = getattr(model, "carries", None) or {}
    known = isinstance(carries, dict) and all(type(v) is int for v in carries.values())
    if not known or not set(carries) <= set(layout.names):
        raise UnsupportedModuleError(
            f"{type(model).__name__}.carries is {carries!r}: it maps names of inputs ({', '.join(layout.names)}) to "
            "the number of the output that is their next value"
        )
    return dict(carries)


class _Proxy(fx.Proxy):
    """A proxy that answers with its example's value wherever that cannot differ between batches."""

    tracer: _Tracer
    __getitem__: Callable[..., Any]  # fx.Proxy gets its operators at run time

    def __setitem__(self, key: Any, value: Any) -> None:
        part = self[key]
        if not isinstance(self.node.meta["value"], Tensor) or not self.tracer.memory.is_view(part.node):
            raise UnsupportedModuleError(
                "an assignment to elements that a mask or a tensor of indices names has no integer version; use "
                "integers and slices, or irnn_tvm.nn.lengths_to_mask"
            )
        part.copy_(value) if isinstance(value, Tensor | fx.Proxy) else part.fill_(value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("tracer", "node") or name.startswith("__"):
            object.__setattr__(self, name, value)
        elif name not in ("requires_grad", "grad"):
            raise UnsupportedModuleError(
                f"an assignment to the attribute {name!r} of a tensor cannot be followed; use an operation that "
                "returns one"
            )

    def __getattr__(self, name: str) -> Any:
        value = self.node.meta["value"]
        if isinstance(value, Tensor) and name in PLAIN_ATTRIBUTES + PLAIN_METHODS:
            return getattr(value, name)
        if not callable(getattr(value, name)):
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return super().__getattr__(name)

    def __bool__(self) -> bool:
        value = self.node.meta["value"]
        if not isinstance(value, Tensor) and _only_raises(sys._getframe(1), bool(value)):
            return bool(value)
        return self.tracer.to_bool(self)

    def __len__(self) -> int:
        value = self.node.meta["value"]
        if isinstance(value, tuple | list | dict):
            return len(value)
        raise TypeError("len() of a tensor depends on the input; use its .size(0) in a tensor expression")

    def __iter__(self) -> Iterator[Any]:
        value = self.node.meta["value"]
        if isinstance(value, tuple | list):
            return iter([self[i] for i in range(len(value))])
        if isinstance(value, Tensor) and _unpacks(sys._getframe(1)):
            return iter([self[i] for i in range(value.shape[0])])
        raise TypeError(f"a Python loop over a tensor depends on its size. {INSTEAD}")


def _in_place(operation: Callable[..., Any]) -> Callable[..., Any]:
    """`a += b`: writes into a tensor, so that its other names see it; makes a new number of a number."""

    def method(self: _Proxy, other: Any) -> Any:
        tensor = isinstance(self.node.meta["value"], Tensor)
        kind = operation if tensor else OPERATORS[operation]
        return self.tracer.create_proxy("call_function", kind, (self, other), {})

    return method


for _operation in OPERATORS:
    setattr(_Proxy, f"__{_operation.__name__}__", _in_place(_operation))


class _Tracer(fx.Tracer):
    def __init__(
        self,
        layout: CallLayout,
        example: tuple[Tensor, ...],
        leaf: nn.Module | None,
        check: Callable[..., None],
    ) -> None:
        super().__init__(autowrap_modules=(math,), autowrap_functions=(*PACKING, *FACTORIES))
        self._autowrap_search += [torch, rnn_utils]
        self.proxy_buffer_attributes = True
        self.layout = layout
        self.example = example
        self.leaf = leaf
        self.check = check
        self.evaluating = False
        self.failed_in: str | None = None
        self.memory = Memory(self.create_node, lambda name: self.root.get_submodule(name))

    def left_in(self, name: str) -> Any:
        """What the forward pass leaves in an attribute of the model, with nodes for tensors."""
        path, _, attribute = name.rpartition(".")
        if name in self.memory.written:
            return self.memory.current(self.memory.written[name])
        value = getattr(self.root.get_submodule(path), attribute, None)
        return _nodes(value, self.memory.current)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        """A proxy, or a tuple of them where the value is a tuple, as `isinstance(y, tuple)` expects."""
        return self._opened(super().create_proxy(*args, **kwargs))

    def _opened(self, made: Any) -> Any:
        value = made.node.meta.get("value")
        if not isinstance(value, tuple | list) or isinstance(value, torch.Size):
            return made
        parts = [
            None if v is None else self.create_proxy("call_function", operator.getitem, (made, i), {})
            for i, v in enumerate(value)
        ]
        kind: Any = type(value)
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        proxies: list[Any] = []
        for name, value in zip(self.layout.names, self.example, strict=True):
            node = self.create_node("placeholder", name, (), {})
            node.meta["value"] = value
            proxies.append(self.proxy(node))

        def call(root: nn.Module, *leaves: Any) -> Any:
            args, kwargs = self.layout.fill(leaves)
            # A call and not root_fn, so that hooks of the model itself take part.
            return (self.leaf or root)(*args, **kwargs)

        return call, [self.root, *proxies]

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if self.evaluating:
            return forward(*args, **kwargs)
        try:
            self._install(m)
            if is_leaf(m) and user_hooks(m):
                self.check(self.path_of_module(m), m)
                return self._call_hooked(m, forward, args, kwargs)
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed_in = self.failed_in or (self.submodule_paths or {}).get(m)
            raise

    def _install(self, m: nn.Module) -> None:
        """Gives a module that forward made (nn.ReLU()(x)) a name, for as long as the model is captured."""
        assert self.submodule_paths is not None
        if m in self.submodule_paths:
            return
        kind = type(m).__name__
        if next(m.parameters(), None) is not None or next(m.buffers(), None) is not None:
            raise UnsupportedModuleError(
                f"the forward pass makes a {kind} with weights, or calls one that is no attribute of a module (in a "
                "list, say): make it in __init__, as an attribute or in an nn.ModuleList"
            )
        for name, module in m.named_modules(
            prefix=self.get_fresh_qualname(f"{kind.lower()}_made_in_forward")
        ):
            self.submodule_paths[module] = name
            if module is m:
                self.root.add_module(name, m)

    def _call_hooked(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """A layer with hooks: torch's own code calls them, around the layer's node in the place of its forward."""
        path = self.path_of_module(m)

        def node_of_layer(*args: Any, **kwargs: Any) -> Any:
            return self.create_proxy("call_module", path, args, kwargs)

        stack = self.module_stack.copy()
        with user_hooks_alone(m):
            vars(m)["forward"] = node_of_layer
            try:
                return super().call_module(m, forward, args, kwargs)
            except IrnnError:
                raise
            except Exception as error:
                failed = error
            finally:
                del vars(m)["forward"]
        self.module_stack = stack
        if not self._hooks_only_watch(m, forward, args, kwargs):
            raise UnsupportedModuleError(
                f"a hook of layer {path!r} changes what it computes, and cannot be captured: {explained(failed)}"
            ) from failed
        return super().call_module(m, forward, args, kwargs)

    def _hooks_only_watch(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> bool:
        """Whether the hooks of a layer leave what it computes for the example as it is."""
        values = [fx.node.map_aggregate((args, kwargs), lambda v: _copied(v)) for _ in range(2)]
        before, self.evaluating = self.evaluating, True
        try:
            return same(run_layer(m, *values[0]), forward(*values[1][0], **values[1][1]))
        finally:
            self.evaluating = before

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.evaluating:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(
        self, kind: str, target: Any, args: Any, kwargs: Any, name: str | None = None, type_expr: Any = None
    ) -> fx.Node:
        args, kwargs = fx.map_arg((args, kwargs), self.memory.current)
        module = self.root.get_submodule(target) if kind == "call_module" else None
        if module is not None:
            self.check(target, module)
        if kind == "call_function" and target in PACKING:
            raise UnsupportedModuleError(
                f"{target.__name__} in {self.scope.module_path or 'the model'}: PackedSequence is not "
                "supported; run "
                "padded tensors of one length per call (equal-length batches, or batch 1)"
            )
        call = functional(kind, target, args, kwargs, module)
        node = super().create_node(call.kind, call.target, call.args, call.kwargs, name, type_expr)
        node.meta["scope"] = self.scope.module_path
        node.meta["place"] = _line_of(sys._getframe(1))
        if kind not in ("placeholder", "output"):
            before, self.evaluating = self.evaluating, True
            try:
                node.meta["value"] = self._evaluate(node)
            finally:
                self.evaluating = before
            self.memory.register(node)
        if call.written is not None:
            self.memory.write(call.written, node)
        return node

    def _evaluate(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            value: Any = self.root
            for part in str(node.target).split("."):
                value = getattr(value, part)
            return value.detach() if isinstance(value, Tensor) else value
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: n.meta["value"])
        module = self.root.get_submodule(str(node.target)) if node.op == "call_module" else None
        read = [n.meta["value"] for n in node.all_input_nodes if isinstance(n.meta["value"], Tensor)]
        versions = [t._version for t in read]
        value = evaluate(node, args, kwargs, module)
        if [t._version for t in read] != versions:
            raise UnsupportedModuleError(
                f"{node.target} writes into a tensor that it reads, which cannot be followed"
            )
        return value

    def to_bool(self, obj: fx.Proxy) -> bool:
        raise TypeError(
            "control flow that depends on an input's values or sizes cannot be part of a static integer graph"
        )

    def iter(self, obj: fx.Proxy) -> Any:
        raise TypeError(
            "a Python loop over a value that depends on the input cannot be part of a static integer graph"
        )


def _unpacks(frame: Any) -> bool:
    """True when the caller is `a, b = value`: a fixed number of elements."""
    return any(
        i.offset == frame.f_lasti and i.opname == "UNPACK_SEQUENCE"
        for i in dis.get_instructions(frame.f_code)
    )


def _only_raises(frame: Any, taken: bool) -> bool:
    """True when the caller tests a value in order to raise (assert, if ...: raise) and this value does not."""
    code = list(dis.get_instructions(frame.f_code))
    here = next(i for i, instruction in enumerate(code) if instruction.offset == frame.f_lasti)
    test = code[here]
    if "JUMP" not in test.opname or not test.opname.endswith(("IF_TRUE", "IF_FALSE")):
        return False
    jumps = test.opname.endswith("IF_TRUE") == taken
    target = next(i for i, instruction in enumerate(code) if instruction.offset == test.argval)
    for instruction in code[here + 1 if jumps else target :]:
        if instruction.opname == "RAISE_VARARGS":
            return True
        if "JUMP" in instruction.opname or instruction.opname.startswith("RETURN"):
            return False
    return False


def _copied(value: Any) -> Any:
    value = value.node.meta["value"] if isinstance(value, fx.Proxy) else value
    return value.clone() if isinstance(value, Tensor) else value


def _nodes(value: Any, current: Callable[[fx.Node], fx.Node]) -> Any:
    if isinstance(value, fx.Proxy):
        return current(value.node)
    if isinstance(value, tuple | list):
        return tuple(_nodes(v, current) for v in value)
    return value


def user_line(error: BaseException) -> str | None:
    """The innermost line of the user's own code that an error passed through on its way here, "model.py:12: y = x"."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    if not frames:
        return None
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: {frames[-1].line}"


def _line_of(frame: Any) -> str | None:
    """The same of the code that runs now; None where a layer of torch calls another (nn.Sequential)."""
    while frame is not None and frame.f_code is not capture.__code__:
        if _is_users(frame.f_code.co_filename):
            name, number = frame.f_code.co_filename, frame.f_lineno
            return f"{Path(name).name}:{number}: {linecache.getline(name, number).strip()}"
        frame = frame.f_back
    return None


def _is_users(filename: str) -> bool:
    return not filename.startswith((HERE, TORCH, "<"))
