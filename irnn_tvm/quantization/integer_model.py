"""IntegerModel: the quantized network as a torch module that computes on integers only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

import irnn_tvm.ops  # noqa: F401  registers torch.ops.irnn, also when a saved model is loaded
from irnn_tvm.errors import InputError
from irnn_tvm.quantization.inputs import flatten_tensors
from irnn_tvm.quantization.quality import Quality
from irnn_tvm.quantization.report import ReportRow, print_rows


@dataclass(frozen=True)
class TensorSpec:
    """What an input or output of an integer model means: real = scale * (q - zero_point).

    dtype: "int8", "int16", or "int32"/"int64" for indices, which have neither scale nor zero point (is_index)
    but may have a limit: ids are in [0, limit). example_shape: its shape in the first calibration batch.
    """

    name: str
    dtype: str
    scale: float | None
    zero_point: int | None
    is_index: bool
    example_shape: tuple[int, ...]
    limit: int | None = None

    @property
    def bits(self) -> int:
        return int(self.dtype.removeprefix("int"))


class IntegerModel(nn.Module):
    """Takes and returns integer tensors; its graph calls torch.ops.irnn.* and moves data, nothing else.

    graph_module: the torch.fx.GraphModule, whose forward has one named argument per input.
    input_specs, output_specs: one TensorSpec per tensor, in order (nested structures are flattened).
    stream_states: attributes of the float model that held the state of a recurrent layer from call to call; a stream
    of the library holds it. report: one ReportRow per quantized tensor. quality: how close
    the outputs are to the float model's on the calibration data. calibration_example: integer inputs, for
    torch.export.
    """

    def __init__(
        self,
        graph_module: fx.GraphModule,
        input_specs: list[TensorSpec],
        output_specs: list[TensorSpec],
        calibration_example: tuple[Tensor, ...],
        name: str,
    ) -> None:
        super().__init__()
        self.graph_module = graph_module
        self.input_specs = input_specs
        self.output_specs = output_specs
        self.calibration_example = calibration_example
        self.name = name
        self.report: list[ReportRow] = []
        self.quality: Quality | None = None
        self.stream_states: tuple[str, ...] = ()

    def forward(self, *inputs: Any) -> Any:
        """Integer tensors in, in the order of input_specs (states may be grouped as in the float model: (x,
        (h, c))).

        Returns integers in the structure that the float model returns. Raises InputError for another number
        of inputs, dtype, rank, an empty tensor or ids outside of their table, and for sizes that do not fit the model.
        """
        tensors = flatten_tensors(inputs)
        if torch.compiler.is_compiling():
            return self.graph_module(*tensors)
        self._check(tensors)
        try:
            # Not by calling it: torch would print a traceback of generated code beside the exception.
            return self.graph_module.forward(*tensors)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError, ValueError, InputError) as error:
            given = ", ".join(
                f"{spec.name}: {tuple(tensor.shape)}, the calibration had {spec.example_shape}"
                for spec, tensor in zip(self.input_specs, tensors, strict=True)
            )
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{self.name} does not take these sizes ({given}): {reason}") from error

    def _check(self, tensors: list[Tensor]) -> None:
        if len(tensors) != len(self.input_specs):
            names = ", ".join(spec.name for spec in self.input_specs)
            raise InputError(
                f"{self.name} takes {len(self.input_specs)} inputs ({names}), got {len(tensors)}"
            )
        for spec, tensor in zip(self.input_specs, tensors, strict=True):
            dtype = str(tensor.dtype).removeprefix("torch.")
            allowed = ("int32", "int64") if spec.is_index else (spec.dtype,)
            if dtype not in allowed:
                raise InputError(f"input {spec.name!r} is {dtype}, expected {' or '.join(allowed)}")
            check_values(spec, tensor)

    def quantize_inputs(self, *floats: Any) -> tuple[Tensor, ...]:
        """Float tensors (and ids) to the integers that forward takes, flattened.

        Raises InputError for a wrong number, rank or dtype, NaN or infinity, empty tensors, ids out of range.
        """
        tensors = flatten_tensors(floats)
        if len(tensors) != len(self.input_specs):
            names = ", ".join(spec.name for spec in self.input_specs)
            raise InputError(
                f"{self.name} takes {len(self.input_specs)} inputs ({names}), got {len(tensors)}"
            )
        result = []
        for spec, tensor in zip(self.input_specs, tensors, strict=True):
            if spec.is_index:
                if tensor.dtype not in (torch.int32, torch.int64):
                    raise InputError(f"input {spec.name!r} takes ids, int32 or int64, got {tensor.dtype}")
                check_values(spec, tensor)
                result.append(tensor)
                continue
            check_values(spec, tensor)
            if not tensor.is_floating_point():
                raise InputError(f"input {spec.name!r} is {tensor.dtype}, expected a float tensor")
            if not bool(torch.isfinite(tensor).all()):
                raise InputError(f"input {spec.name!r} holds NaN or infinity")
            result.append(torch.ops.irnn.quantize(tensor, spec.scale, spec.zero_point, spec.bits))
        return tuple(result)

    def dequantize_outputs(self, outputs: Any) -> Any:
        """Integer outputs to float32, in the same structure; ids pass through."""
        specs = iter(self.output_specs)

        def convert(value: Any) -> Any:
            if isinstance(value, Tensor):
                spec = next(specs)
                return (
                    value if spec.is_index else torch.ops.irnn.dequantize(value, spec.scale, spec.zero_point)
                )
            if isinstance(value, dict):
                return {key: convert(element) for key, element in value.items()}
            if isinstance(value, tuple | list):
                return type(value)(convert(element) for element in value)
            return value

        return convert(outputs)

    def float_forward(self, *floats: Any) -> Any:
        """dequantize_outputs(forward(quantize_inputs(...))): what the float model's forward approximates."""
        return self.dequantize_outputs(self(*self.quantize_inputs(*floats)))

    def print_report(self) -> None:
        """Prints the report as a table."""
        print_rows(self.name, self.report)
        if self.stream_states:
            names = ", ".join(map(repr, self.stream_states))
            print(f"The model keeps {names} from call to call: it is the state of the library's stream.")
        for note in self.fixed_sizes():
            print(f"{note[0].upper()}{note[1:]}.")

    def fixed_sizes(self) -> list[str]:
        """Sizes of inputs that no library can change, in words: torch.export takes a size of 1 for a fixed one."""
        notes = []
        for spec in self.input_specs:
            axes = [str(axis) for axis, size in enumerate(spec.example_shape) if size == 1]
            if axes and len(spec.example_shape) > 1:
                notes.append(
                    f"input {spec.name!r} was {spec.example_shape} in the first calibration batch: a size of 1 (axis "
                    f"{', '.join(axes)}) is fixed, be it the batch or the sequence length; calibrate with at least 2 "
                    "where it is to vary"
                )
        return notes


def check_values(spec: TensorSpec, tensor: Tensor) -> None:
    """Raises InputError for a tensor of another rank, with a size of 0, or with ids outside of [0, limit)."""
    if tensor.dim() != len(spec.example_shape):
        raise InputError(
            f"input {spec.name!r} has {tensor.dim()} dimensions, expected {len(spec.example_shape)} "
            f"(the calibration had shape {spec.example_shape})"
        )
    if tensor.numel() == 0:
        raise InputError(f"input {spec.name!r} has shape {tuple(tensor.shape)}: a size of 0 is not supported")
    if spec.limit is not None:
        low, high = int(tensor.min()), int(tensor.max())
        if low < 0 or high >= spec.limit:
            raise InputError(
                f"input {spec.name!r} holds index {low if low < 0 else high}, outside 0..{spec.limit - 1}"
            )
