"""The user's own model beside the captured graph: their results must be equal, and what the model keeps is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from irnn_tvm.errors import InputError, IrnnError, UnsupportedModuleError
from irnn_tvm.quantization.capture import Captured, capture, user_line
from irnn_tvm.quantization.effective_weights import is_effective
from irnn_tvm.quantization.equality import same
from irnn_tvm.quantization.evaluate import run_graph
from irnn_tvm.quantization.inputs import Batch, CallLayout
from irnn_tvm.quantization.kept_state import final_states, refusal
from irnn_tvm.quantization.module_state import CONTAINERS, Snapshot, preserved, read_before_written


@dataclass
class _Runs:
    """results: of the user's model, per batch. states: names of attributes that later calls read. kept: how the model
    is before each call."""

    results: list[Any]
    states: list[str]
    kept: Snapshot


def capture_checked(
    model: nn.Module, layout: CallLayout, batches: list[Batch], check: Callable[..., None]
) -> Captured:
    """The captured graph of a model in eval mode, which gives the model's results on every batch, exactly.

    The model is left as it was. Raises InputError where the model itself fails on a batch, UnsupportedModuleError for
    what cannot be captured, for a state that the model keeps and a stream cannot, and, naming the first operation that
    differs, for a graph that computes something else than the model.
    """
    with preserved(model) as before, torch.inference_mode(False), torch.no_grad():
        batches = [Batch(b.index, tuple(_usable(t) for t in b.tensors)) for b in batches]
        runs = _run(model, layout, batches, before)
        captured = capture(model, layout, batches[0].tensors, check, runs.states)
        runs.kept.restore()
        if not same(_call(model, layout, batches[0]), runs.results[0]):
            raise UnsupportedModuleError(
                f"{type(model).__name__} returns something else when it is called again with the same input in eval "
                "mode: it is random, or it keeps a state outside of its modules"
            )
        runs.kept.restore()
        for batch, expected in zip(batches, runs.results, strict=True):
            found = _result(captured, run_graph(captured, batch.tensors))
            if not same(found, expected):
                raise _difference(model, layout, captured, batch)
        if runs.states:
            _check_states(model, layout, captured, batches, runs)
    return captured


def _run(model: nn.Module, layout: CallLayout, batches: list[Batch], kept: Snapshot) -> _Runs:
    first = _call(model, layout, batches[0])
    changed = [name for name in kept.changed() if not is_effective(model, name)]
    kept.restore()
    states: list[str] = []
    if changed:
        # In the first call and in a later one: `if self.h is None` reads less in the first.
        read = read_before_written(model, changed, lambda: _call(model, layout, batches[0]))
        read += read_before_written(model, changed, lambda: _call(model, layout, batches[0]))
        states = [name for name in changed if name in read]
        kept.restore()
    if states:
        # A cache is no state: another input leaves it as it is, and gives the same result with it and without.
        other = _turned(batches[-1])
        without = _call(model, layout, other)
        kept.restore()
        _call(model, layout, batches[0])
        warm = Snapshot(model)
        equal = same(_call(model, layout, other), without)
        left = warm.changed()
        warm.restore()
        moved = any(c == n or c.startswith((f"{n}.", f"{n}[")) for n in states for c in left)
        if equal and not moved and same(_call(model, layout, batches[0]), first):
            kept, states = warm, []
        kept.restore()
    for name in states:
        path, _, attribute = name.partition("[")[0].rpartition(".")
        holder = dict(model.named_modules()).get(path)
        value = getattr(holder, attribute, None)
        if holder is None or isinstance(value, CONTAINERS):
            raise refusal(
                name, f"it is in a {type(value).__name__}" if holder else "it is in an object of your own"
            )
    results = [first]
    for batch in batches[1:]:
        results.append(_call(model, layout, batch))
        kept.restore()
    return _Runs(results, states, kept)


def _check_states(
    model: nn.Module, layout: CallLayout, captured: Captured, batches: list[Batch], runs: _Runs
) -> None:
    """Two calls of the model in a row are two calls of the graph, the second one from the first one's states."""
    following = _turned(batches[0])
    runs.kept.restore()
    _call(model, layout, batches[0])
    expected = _call(model, layout, following)
    runs.kept.restore()
    values = run_graph(captured, batches[0].tensors)
    start: dict[fx.Node, dict[int, Tensor]] = {}
    for kept in captured.kept.values():
        module = captured.modules[str(kept.node.target)]
        start.setdefault(kept.node, {}).update(final_states(kept, values, module))
    found = _result(captured, run_graph(captured, following.tensors, start))
    if not same(found, expected):
        name = runs.states[0]
        raise refusal(name, "the next call uses it for something else than as the layer's first state")


def _call(model: nn.Module, layout: CallLayout, batch: Batch) -> Any:
    """Runs the float model itself, so that its own complaints are told apart from ours."""
    args, kwargs = layout.fill([t.clone() for t in batch.tensors])
    try:
        return detached(model(*args, **kwargs))
    except IrnnError:
        raise
    except Exception as error:
        shapes = ", ".join(
            f"{n}: {tuple(t.shape)} {t.dtype}" for n, t in zip(layout.names, batch.tensors, strict=True)
        )
        line = user_line(error)
        raise InputError(
            f"the float model itself fails on calibration batch {batch.index} ({shapes}): "
            f"{type(error).__name__}: {error}{f' [{line}]' if line else ''}"
        ) from error


def _turned(batch: Batch) -> Batch:
    """The batch with its elements in another order: another input of the same shape."""
    return Batch(batch.index, tuple(t.flatten().flip(0).reshape(t.shape) for t in batch.tensors))


def _usable(tensor: Tensor) -> Tensor:
    """Tensors that were made in inference mode do not count writes."""
    return tensor.clone() if tensor.is_inference() else tensor


def detached(value: Any) -> Any:
    """Copies of the tensors of a result, so that what is written into them later does not change it."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {k: detached(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [detached(v) for v in value]
    return value


def _result(captured: Captured, values: dict[fx.Node, Any]) -> Any:
    return fx.map_arg(captured.output, lambda node: values[node])


def _difference(
    model: nn.Module, layout: CallLayout, captured: Captured, batch: Batch
) -> UnsupportedModuleError:
    """Names the first operation of the graph whose result the model does not compute."""
    with _computed(model) as seen:
        _call(model, layout, batch)
    values = run_graph(captured, batch.tensors)
    where = "its result"
    for node in captured.graph.nodes:
        value = values.get(node)
        if node.op.startswith("call_") and isinstance(value, Tensor) and _digest(value) not in seen:
            name = node.target if node.op == "call_module" else getattr(node.target, "__name__", node.target)
            where = f"{name!r} ({node.name})"
            where += f" at [{node.meta['place']}]" if node.meta.get("place") else ""
            break
    return UnsupportedModuleError(
        f"{type(model).__name__} was captured, but the graph does not compute what the model does in batch "
        f"{batch.index}; the first operation that differs is {where}. It may write into memory, read a state, or "
        "depend on values in a way that cannot be followed"
    )


@contextmanager
def _computed(model: nn.Module) -> Iterator[set[int]]:
    """Digests of every tensor that the model computes inside, of functions and of modules."""
    seen: set[int] = set()

    def note(value: Any) -> None:
        if isinstance(value, Tensor):
            seen.add(_digest(value))
        elif isinstance(value, tuple | list):
            for element in value:
                note(element)

    class Listen(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            note(result)
            note(args)
            return result

    handles = [m.register_forward_hook(lambda _m, _a, out: note(out)) for m in model.modules()]
    try:
        with Listen():
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def _digest(value: Tensor) -> int:
    return hash((tuple(value.shape), value.detach().cpu().contiguous().numpy().tobytes()))
