"""Descriptions of a library's inputs and outputs, and the checks of the arrays that callers hand in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from irnn_tvm.errors import InputError, LoadError
from irnn_tvm.runtime import shapes

DTYPES = {name: np.dtype(name) for name in ("int8", "int16", "int32", "int64", "uint8")}


@dataclass(frozen=True)
class Tensor:
    """One input or output: `shape` entries are integers or expressions in T.

    scale and zero_point give the real value `scale * (q - zero_point)`; both are None for indices.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]
    scale: float | None
    zero_point: int | None

    @classmethod
    def from_report(cls, entry: Mapping[str, Any]) -> Tensor:
        """Reads one entry of `inputs` or `outputs` in report.json."""
        dtype = DTYPES.get(entry["dtype"])
        if dtype is None:
            raise LoadError(
                f"Tensor {entry['name']!r} has dtype {entry['dtype']!r}, known are {list(DTYPES)}."
            )
        dimensions = tuple(entry["shape"])
        for item in dimensions:
            if isinstance(item, str):
                shapes.parse(item)
        return cls(entry["name"], dtype, dimensions, entry.get("scale"), entry.get("zero_point"))

    def quantize(self, values: npt.ArrayLike) -> npt.NDArray[Any]:
        """floor(x / scale + 0.5) + zero_point in float64, saturated to dtype; same shape as `values`.

        Of a tensor that holds indices: the ids themselves, integers of any width, as dtype. InputError for
        not-a-number, and for ids that are no integers or do not fit.
        """
        if self.scale is None:
            return _ids(self, np.asarray(values))
        real = np.asarray(values, dtype=np.float64)
        scale, zero_point = self._affine()
        if np.isnan(real).any():
            raise InputError(f"{self.name!r}: not-a-number cannot be quantized.")
        limits = np.iinfo(self.dtype)
        return np.clip(np.floor(real / scale + 0.5) + zero_point, limits.min, limits.max).astype(self.dtype)

    def dequantize(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """scale * (q - zero_point) as float32, same shape; InputError for indices or a wrong dtype."""
        scale, zero_point = self._affine()
        array = np.asarray(values)
        if array.dtype != self.dtype:
            raise InputError(f"{self.name!r}: dequantize expects {self.dtype}, got {array.dtype}.")
        return (scale * (array.astype(np.float64) - zero_point)).astype(np.float32)

    def shape_text(self) -> str:
        """The shape as messages print it, for example (T, 1, 64)."""
        return (
            "(" + ", ".join(str(entry) for entry in self.shape) + ("," if len(self.shape) == 1 else "") + ")"
        )

    def _affine(self) -> tuple[float, int]:
        if self.scale is None or self.zero_point is None:
            raise InputError(f"{self.name!r} holds indices: it has no scale to quantize with.")
        return self.scale, self.zero_point


@dataclass(frozen=True)
class TimeRange:
    """Sequence lengths that a library accepts: minimum <= T <= maximum (None = unlimited), T % period in remainders."""

    minimum: int
    maximum: int | None
    period: int = 1
    remainders: tuple[int, ...] = (0,)

    @classmethod
    def from_report(cls, entry: Mapping[str, Any]) -> TimeRange:
        """Reads the entry `time` of report.json."""
        if not entry["dynamic"]:
            return cls(int(entry["fixed"]), int(entry["fixed"]))
        remainders = tuple(int(r) for r in entry.get("remainders", (0,)))
        return cls(int(entry.get("min") or 1), entry.get("max"), int(entry.get("period", 1)), remainders)

    def accepts(self, length: int) -> bool:
        """Whether a sequence of this length is accepted."""
        return (
            length >= self.minimum
            and (self.maximum is None or length <= self.maximum)
            and (self.period == 1 or length % self.period in self.remainders)
        )

    def text(self) -> str:
        """The rule in words, for example "T >= 4 and T % 4 == 0"."""
        if self.minimum == self.maximum:
            return f"T = {self.minimum}"
        least = f"T >= {self.minimum}"
        parts = [least if self.maximum is None else f"{self.minimum} <= T <= {self.maximum}"]
        if self.period > 1:
            some = " or ".join(str(r) for r in self.remainders)
            parts.append(f"T % {self.period} {'==' if len(self.remainders) == 1 else 'is'} {some}")
        return " and ".join(parts)

    def check(self, length: int) -> None:
        """InputError when a sequence of this length is not accepted."""
        if not self.accepts(length):
            raise InputError(f"The sequence has length T = {length}, the library accepts {self.text()}.")


def as_array(tensor: Tensor, value: Any) -> npt.NDArray[Any]:
    """The value as a C-contiguous NumPy array of the tensor's dtype, without a copy where it already is one.

    A view with strides is copied. int64 ids become int32, and lists of ids an array, where their values fit.
    Nothing else is converted: a wrong dtype is an InputError, not a cast.
    """
    if tensor.scale is None and isinstance(value, (list, tuple)):
        value = _from_list(tensor, value)
    if not hasattr(value, "__array__"):
        raise InputError(
            f"Input {tensor.name!r}: expected a {tensor.dtype} array, got {type(value).__name__}."
        )
    try:
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"Input {tensor.name!r} cannot be read as a NumPy array: {error}") from error
    if (
        tensor.scale is None
        and array.dtype != tensor.dtype
        and array.dtype in (DTYPES["int32"], DTYPES["int64"])
    ):
        array = _ids(tensor, array)
    if array.dtype != tensor.dtype:
        hint = ""
        if array.dtype.kind == "f" and tensor.scale is not None:
            hint = f" Quantize it first: lib.inputs[...].quantize(x) (scale {tensor.scale})."
        raise InputError(f"Input {tensor.name!r}: expected dtype {tensor.dtype}, got {array.dtype}.{hint}")
    return np.ascontiguousarray(array) if not array.flags.c_contiguous else array


def _ids(tensor: Tensor, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Ids of any integer type in the tensor's own."""
    if array.dtype.kind not in "iu":
        raise InputError(f"Input {tensor.name!r} takes ids, int32 or int64, got {array.dtype}.")
    limits = np.iinfo(tensor.dtype)
    if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
        raise InputError(f"Input {tensor.name!r} holds ids that {tensor.dtype} does not hold.")
    return array.astype(tensor.dtype)


def _from_list(tensor: Tensor, value: Sequence[Any]) -> Any:
    """A (nested) list of ids as an array; other lists as they are."""
    try:
        array = np.asarray(value)
    except ValueError:
        return value
    return _ids(tensor, array) if array.dtype.kind in "iu" else value


def sequence_length(tensors: Sequence[Tensor], arrays: Sequence[npt.NDArray[Any]], time: TimeRange) -> int:
    """T of a run call, after every input's shape has been checked; InputError names the input at fault."""
    length = time.minimum
    for tensor, array in zip(tensors, arrays):
        axis = shapes.time_axis(tensor.shape)
        if axis is not None and array.ndim == len(tensor.shape):
            length = int(array.shape[axis])
            break
    for tensor, array in zip(tensors, arrays):
        expected = shapes.shape(tensor.shape, length)
        if array.shape != expected:
            example = f" (here {expected})" if shapes.depends_on_length(tensor.shape) else ""
            ones = array.ndim == len(expected) and any(e == 1 < g for e, g in zip(expected, array.shape))
            hint = " A size of 1 is that of build(batch=...), or was 1 in the calibration." if ones else ""
            raise InputError(
                f"Input {tensor.name!r}: expected shape {tensor.shape_text()}{example}, got {array.shape}.{hint}"
            )
    time.check(length)
    return length


def output_array(tensor: Tensor, shape: tuple[int, ...], given: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """The array that the library writes: a new one, or the caller's own after it was checked."""
    if given is None:
        return np.empty(shape, tensor.dtype)
    if not isinstance(given, np.ndarray):
        raise InputError(f"out {tensor.name!r}: expected a NumPy array, got {type(given).__name__}.")
    if given.dtype != tensor.dtype or given.shape != shape:
        raise InputError(
            f"out {tensor.name!r}: expected {tensor.dtype} {shape}, got {given.dtype} {given.shape}."
        )
    if not (given.flags.c_contiguous and given.flags.writeable):
        raise InputError(f"out {tensor.name!r}: the array must be C-contiguous and writeable.")
    return given
