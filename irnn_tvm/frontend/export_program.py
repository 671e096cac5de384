"""IntegerModel -> torch.export.ExportedProgram with a fixed batch and a fixed or run-time sequence length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irnn_tvm.errors import BuildError, InputError

if TYPE_CHECKING:
    import torch

    from irnn_tvm.quantization import IntegerModel

RECURRENT = ("irnn.lstm", "irnn.gru")
# Sizes of the probe export: distinct, larger than 1, so that every axis that can vary shows as a symbol.
_LONGEST = 1 << 20


@dataclass(frozen=True)
class Axes:
    """Per input: its batch axis and its time axis, None where it has none."""

    batch: tuple[int | None, ...]
    time: tuple[int | None, ...]


def export_program(
    model: IntegerModel,
    *,
    batch: int = 1,
    seq_len: int | None = None,
    max_seq_len: int | None = None,
) -> torch.export.ExportedProgram:
    """Exports an integer model for a fixed batch.

    seq_len: fixes the sequence length; otherwise it is a run-time value up to max_seq_len (default: unlimited).
    Raises InputError for a batch or a length below 1, BuildError when torch.export refuses the model.
    """
    import torch

    for name, value in (("batch", batch), ("seq_len", seq_len), ("max_seq_len", max_seq_len)):
        if value is not None and value < 1:
            raise InputError(f"{name}={value} is not supported; it must be at least 1")
    axes = find_axes(model)
    longest = max_seq_len or _LONGEST
    steps = seq_len if seq_len is not None else min(4, longest)
    inputs: list[torch.Tensor] = []
    shapes: list[dict[int, Any]] = []
    dim = None
    if seq_len is None and longest > 1 and any(a is not None for a in axes.time):
        dim = torch.export.Dim("T", min=1, max=longest)
    for example, b, t in zip(model.calibration_example, axes.batch, axes.time, strict=True):
        shape = list(example.shape)
        if b is not None:
            shape[b] = batch
        if t is not None:
            shape[t] = steps
        dtype = torch.int32 if example.dtype == torch.int64 else example.dtype
        inputs.append(torch.zeros(shape, dtype=dtype))
        shapes.append({t: dim} if dim is not None and t is not None else {})
    return _export(model, tuple(inputs), tuple(shapes))


def _export(model: IntegerModel, inputs: tuple[Any, ...], shapes: Any) -> torch.export.ExportedProgram:
    import torch

    graph = model.graph_module
    try:
        with torch.no_grad():
            return torch.export.export(graph, inputs, dynamic_shapes=shapes)
    except Exception as error:  # torch.export raises many types, all with a text for people
        raise BuildError(f"torch.export refused the integer model: {error}") from error


def find_axes(model: IntegerModel) -> Axes:
    """Batch and time axis of every input, found by exporting once with every size free.

    The recurrent ops are time-major, so the symbols of their first two sizes name time and batch wherever these
    appear in an input's shape. Models without a recurrent op: the first axis is the batch, a convolution's last axis
    is time.
    """
    import torch

    shapes = tuple({i: torch.export.Dim.AUTO for i in range(x.dim())} for x in model.calibration_example)
    examples = tuple(x.to(torch.int32) if x.dtype == torch.int64 else x for x in model.calibration_example)
    program = _export(model, examples, shapes)
    time, batch = _symbols(program)
    placeholders = [
        node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]

    def axis(shape: Any, symbol: str | None) -> int | None:
        if symbol is None:
            return None
        return next((i for i, d in enumerate(shape) if not isinstance(d, int) and str(d) == symbol), None)

    return Axes(tuple(axis(s, batch) for s in placeholders), tuple(axis(s, time) for s in placeholders))


def _symbols(program: torch.export.ExportedProgram) -> tuple[str | None, str | None]:
    """Names of the time and batch symbols; None for a size that is fixed."""

    def name(size: Any) -> str | None:
        return None if isinstance(size, int) else _single_symbol(size)

    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target).removesuffix(".default") in RECURRENT:
            shape = node.args[0].meta["val"].shape
            return name(shape[0]), name(shape[1])
    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target) == "irnn.conv1d.default":
            shape = node.args[0].meta["val"].shape
            return name(shape[2]), name(shape[0])
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs:
            shape = node.meta["val"].shape
            return None, name(shape[0]) if shape else None
    return None, None


def _single_symbol(size: Any) -> str | None:
    """The one input symbol that a size depends on (a convolution before the RNN makes it an expression of it)."""
    symbols = sorted(str(s) for s in size.node.expr.free_symbols)
    return symbols[0] if len(symbols) == 1 else None
