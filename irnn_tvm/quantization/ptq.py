"""Post-training quantization, end to end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from irnn_tvm.boundary import public
from irnn_tvm.errors import CalibrationError, QuantizationError
from irnn_tvm.quantization.accepted import float_module, uncompiled
from irnn_tvm.quantization.agreement import capture_checked
from irnn_tvm.quantization.calibrate import calibrate, refine
from irnn_tvm.quantization.config import QuantConfig
from irnn_tvm.quantization.effective_weights import effective_weights
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.inputs import Batch, flatten_tensors, read_calibration
from irnn_tvm.quantization.integer_model import IntegerModel, TensorSpec
from irnn_tvm.quantization.measure import measure
from irnn_tvm.quantization.planner import Planner, check_leaf, slots_of
from irnn_tvm.quantization.progress import Progress
from irnn_tvm.quantization.slots import Index, Slot


@public
def quantize(
    model: nn.Module,
    calibration: Iterable[Any],
    config: QuantConfig | None = None,
    *,
    progress: bool | None = None,
) -> IntegerModel:
    """Turns a trained float model into one that computes on integers only.

    model: any nn.Module whose leaves are supported layers; it is not modified. Wrappers (torch.compile, DataParallel,
    AveragedModel) are looked through. calibration: batches of real
    inputs, each a tensor, a tuple of forward's positional arguments or a dict of its keyword arguments.
    config: widths and observers, QuantConfig() by default. progress: what is being done, on stderr after two seconds;
    None: where that is a terminal.

    Raises CalibrationError (no data, NaN or infinity in data or weights, a tensor that is constant 0),
    InputError (data that the model does not accept), UnsupportedModuleError (what is no float module; a layer,
    function or control flow without an integer version), QuantizationError (a setting),
    AccumulatorOverflowError (a row that could leave 32 bits).
    """
    config = QuantConfig() if config is None else config
    if not isinstance(config, QuantConfig):
        raise QuantizationError(f"config is a {type(config).__name__}, not a QuantConfig")
    model = float_module(model)
    with Progress(progress) as shown, evaluation_mode(model), uncompiled(model), torch.no_grad():
        shown.stage("comparing the captured network with the model")
        layout, batches = read_calibration(model, calibration)
        _check_weights(model)
        captured = capture_checked(model, layout, batches, check_leaf)
        with effective_weights(model):
            planner = Planner(captured, config)
            calibrate(planner, shown.each(batches, "calibrating"))
            refine(planner, shown.each(batches, "calibrating the rounding of weights"))
            shown.stage("rounding weights")
            emitter = emit_graph(planner)
            integer = assemble(planner, emitter, batches[0])
            shown.stage("measuring the integer network")
            integer.report = measure(planner, emitter, integer, batches)
        integer.eval()
    return integer


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside, every module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _check_weights(model: nn.Module) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CalibrationError(f"weight {name!r} of the model holds NaN or infinity")


def emit_graph(planner: Planner) -> Emitter:
    """The integer graph of a planned model whose ranges are known."""
    emitter = Emitter()
    for node in planner.captured.graph.nodes:
        with planner.at(node):
            if node.op == "output":
                emitter.output(node.args[0])
            elif node.op == "placeholder":
                emitter.placeholder(node)
            else:
                emitter.env[node] = planner.ops[node].emit(emitter)
    emitter.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    emitter.graph.lint()
    return emitter


def assemble(planner: Planner, emitter: Emitter, batch: Batch) -> IntegerModel:
    """The integer model of an emitted graph; batch: an example of its inputs."""
    graph_module = fx.GraphModule(emitter.root, emitter.graph, "IntegerGraph")
    device = batch.tensors[0].device
    graph_module = graph_module.to(device).eval()
    names = planner.captured.layout.names
    specs = [_spec(n, s, t) for n, s, t in zip(names, planner.inputs, batch.tensors, strict=True)]
    model = IntegerModel(graph_module, specs, [], (), planner.captured.model_name)
    model.stream_states = tuple(planner.captured.kept)
    model.calibration_example = model.quantize_inputs(*batch.tensors)
    outputs = flatten_tensors(graph_module(*model.calibration_example))
    slots = slots_of(planner.value(planner.captured.output))
    many = len(slots) > 1
    model.output_specs = [
        _spec(f"output_{i}" if many else "output", slot, tensor)
        for i, (slot, tensor) in enumerate(zip(slots, outputs, strict=True))
    ]
    return model


def _spec(name: str, slot: Slot | Index, example: Tensor) -> TensorSpec:
    shape = tuple(example.shape)
    if isinstance(slot, Index):
        return TensorSpec(
            name, str(example.dtype).removeprefix("torch."), None, None, True, shape, slot.limit
        )
    q = slot.qparams
    return TensorSpec(name, f"int{q.bits}", q.scale, q.zero_point, False, shape)
