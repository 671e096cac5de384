"""IntegerModel -> torch.export.ExportedProgram with a fixed batch and a fixed or run-time sequence length."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irnn_tvm.boundary import public, shortened
from irnn_tvm.errors import BuildError, InputError
from irnn_tvm.frontend.sizes import check_sizes

if TYPE_CHECKING:
    import torch

    from irnn_tvm.quantization import IntegerModel

# Positions of the recurrent ops' initial states, [B, H] each, among their arguments.
STATE_ARGS = {
    "irnn.lstm": (1, 2),
    "irnn.gru": (1,),
    "irnn.lstm_general": (1, 2),
    "irnn.gru_norm": (1,),
    "irnn.rnn": (1,),
}

# Without a recurrent op, time is the last axis [B, C, T] of these.
OVER_TIME = ("irnn.conv1d", "irnn.avg_pool1d", "irnn.max_pool1d")

# Positions of lengths [B] among the arguments of the ops that take them.
LENGTHS = {"irnn.softmax": 1, "irnn.attention": 3, "irnn.append": 1}


@dataclass(frozen=True)
class Axes:
    """Per input: its batch axis and its time axis, None where it has none."""

    batch: tuple[int | None, ...]
    time: tuple[int | None, ...]


@public
def export_program(
    model: IntegerModel,
    *,
    batch: int = 1,
    seq_len: int | None = None,
    max_seq_len: int | None = None,
) -> torch.export.ExportedProgram:
    """Exports an integer model for a fixed batch.

    seq_len: fixes the sequence length; otherwise it is a run-time value when the calibration had more than one step
    (torch.export fixes sizes of 1), and max_seq_len=1 fixes it to single steps.
    Raises InputError for a batch or a length that is no integer of at least 1, BuildError when torch.export refuses
    the model.
    """
    import torch

    check_sizes(batch=batch, seq_len=seq_len, max_seq_len=max_seq_len)
    axes = find_axes(model)
    if batch > 1 and all(b is None for b in axes.batch):
        raise InputError(
            f"batch={batch}: the calibration had a batch of 1, which torch.export takes for a fixed size; "
            "calibrate with batches of at least 2"
        )
    if seq_len is not None and seq_len > 1 and all(t is None for t in axes.time):
        raise InputError(
            f"seq_len={seq_len}: the model has no sequence length, or the calibration had single steps, which "
            "torch.export takes for a fixed size; calibrate with sequences of at least 2 steps"
        )
    inputs: list[torch.Tensor] = []
    shapes: list[dict[int, Any]] = []
    for example, b, t in zip(model.calibration_example, axes.batch, axes.time, strict=True):
        shape = list(example.shape)
        dynamic: dict[int, Any] = {}
        if b is not None:
            shape[b] = batch
        if t is not None and seq_len is not None:
            shape[t] = seq_len
        elif t is not None and max_seq_len != 1:
            dynamic[t] = torch.export.Dim.AUTO
        elif t is not None:
            shape[t] = 1
        dtype = torch.int32 if example.dtype == torch.int64 else example.dtype
        inputs.append(torch.zeros(shape, dtype=dtype))
        shapes.append(dynamic)
    return _export(model, tuple(inputs), tuple(shapes))


def _export(model: IntegerModel, inputs: tuple[Any, ...], shapes: Any) -> torch.export.ExportedProgram:
    """Exports the graph. Sizes are Dim.AUTO: torch may narrow their range by what it assumes of sizes 0 and 1; the
    library checks the range that the graph needs itself."""
    import torch

    log = logging.getLogger("torch._export.non_strict_utils")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of every size of 1, which are ours on purpose
    try:
        with torch.no_grad():
            return torch.export.export(model.graph_module, inputs, dynamic_shapes=shapes)
    except Exception as error:  # torch.export raises many types, all with a text for people
        raise BuildError(f"torch.export refused the integer model: {shortened(error)}") from error
    finally:
        log.setLevel(level)


def find_axes(model: IntegerModel) -> Axes:
    """Batch and time axis of every input, found by exporting once with every size free.

    The recurrent ops are time-major, so the symbols of their first two sizes name time and batch wherever these
    appear in an input's shape. Models without a recurrent op: the first axis is the batch; time is a convolution's or
    pooling window's last axis, else the axis of an attention's queries, else the second of three or more.
    """
    import torch

    shapes = tuple(dict.fromkeys(range(x.dim()), torch.export.Dim.AUTO) for x in model.calibration_example)
    examples = tuple(x.to(torch.int32) if x.dtype == torch.int64 else x for x in model.calibration_example)
    program = _export(model, examples, shapes)
    time, batches = _symbols(program)
    batches |= _counted(program)
    placeholders = [
        node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]

    def axis(shape: Any, symbols: frozenset[str | None]) -> int | None:
        return next((i for i, d in enumerate(shape) if not isinstance(d, int) and str(d) in symbols), None)

    once = frozenset({time})
    return Axes(tuple(axis(s, batches) for s in placeholders), tuple(axis(s, once) for s in placeholders))


def _symbols(program: torch.export.ExportedProgram) -> tuple[str | None, frozenset[str | None]]:
    """Name of the time symbol and names of the batch symbols; None for a size that is fixed.

    There are several of the latter where states are inputs: nothing ties the sizes of two inputs together.
    """

    def name(size: Any) -> str | None:
        return None if isinstance(size, int) else _single_symbol(size)

    recurrent = [n for n in program.graph.nodes if n.op == "call_function" and _target(n) in STATE_ARGS]
    # One that runs within each frame, over a fixed number of steps, does not know the sequence.
    recurrent.sort(key=lambda n: name(n.args[0].meta["val"].shape[0]) is None)
    for node in recurrent:
        shape = node.args[0].meta["val"].shape
        states = [node.args[i].meta["val"].shape[0] for i in STATE_ARGS[_target(node)]]
        return name(shape[0]), frozenset(map(name, [shape[1], *states]))
    for node in program.graph.nodes:
        if node.op == "call_function" and _target(node) in OVER_TIME:
            shape = node.args[0].meta["val"].shape
            if name(shape[2]) is not None:
                return name(shape[2]), frozenset({name(shape[0])})
    for node in program.graph.nodes:
        if node.op == "call_function" and _target(node) in ("irnn.attention", "irnn.matmul"):
            shape = node.args[0].meta["val"].shape
            if len(shape) > 2:  # [B, ..., T, features]; a product with weights [B, ..., 1, T]
                return name(shape[-2]) or name(shape[-1]), frozenset({name(shape[0])})
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs:
            shape = node.meta["val"].shape
            time = name(shape[1]) if len(shape) > 2 else None
            return time, frozenset({name(shape[0]) if shape else None})
    return None, frozenset()


def _counted(program: torch.export.ExportedProgram) -> frozenset[str | None]:
    """Symbols of the numbers of lengths: one length per sequence of a batch."""
    found = set()
    for node in program.graph.nodes:
        index = LENGTHS.get(_target(node)) if node.op == "call_function" else None
        if index is not None and node.args[index] is not None:
            size = node.args[index].meta["val"].shape[0]
            found.add(None if isinstance(size, int) else _single_symbol(size))
    return frozenset(found)


def _target(node: Any) -> str:
    return str(node.target).removesuffix(".default")


def _single_symbol(size: Any) -> str | None:
    """The one input symbol that a size depends on (a convolution before the RNN makes it an expression of it)."""
    symbols = sorted(str(s) for s in size.node.expr.free_symbols)
    return symbols[0] if len(symbols) == 1 else None
