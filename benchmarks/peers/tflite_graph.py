"""Writes .tflite files with the schema that LiteRT's package ships: no converter is needed for graphs this small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

VERSION = 3  # of the file format


@dataclass(frozen=True)
class Affine:
    """real = scale * (q - zero_point); several scales: one for each row."""

    scale: tuple[float, ...]
    zero_point: int = 0

    def quantize(self, values: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
        limits = np.iinfo(dtype)
        scale = np.asarray(self.scale)
        if len(self.scale) > 1:
            scale = scale[:, None]
        quantized = np.rint(values / scale) + self.zero_point
        return np.clip(quantized, limits.min, limits.max).astype(dtype)


class Graph:
    """One graph in the making. Tensors are numbers; NONE stands for an input that an operator does without."""

    NONE = -1

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self._types = {
            np.dtype(np.float32): schema.TensorType.FLOAT32,
            np.dtype(np.int32): schema.TensorType.INT32,
            np.dtype(np.int16): schema.TensorType.INT16,
            np.dtype(np.int8): schema.TensorType.INT8,
        }
        self._graph = schema.SubGraphT(name="main", tensors=[], operators=[], inputs=[], outputs=[])
        self._buffers = [schema.BufferT()]  # the first one is empty by definition
        self._codes: dict[tuple[int, int], int] = {}

    def tensor(
        self,
        shape: Sequence[int],
        dtype: Any = np.float32,
        affine: Affine | None = None,
        variable: bool = False,
    ) -> int:
        """A tensor that operators write; variable: one that keeps its value until the next call."""
        made = self.schema.TensorT(
            name=f"t{len(self._graph.tensors)}",
            shape=list(shape),
            type=self._types[np.dtype(dtype)],
            isVariable=variable,
        )
        if affine is not None:
            made.quantization = self.schema.QuantizationParametersT(
                scale=list(affine.scale), zeroPoint=[affine.zero_point] * len(affine.scale)
            )
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def constant(self, values: npt.NDArray[Any], affine: Affine | None = None) -> int:
        number = self.tensor(values.shape, values.dtype, affine)
        self._graph.tensors[number].buffer = len(self._buffers)
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(self.schema.BufferT(data=data))
        return number

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        version: int = 1,
        intermediates: Sequence[int] = (),
        options: str = "",
        **values: Any,
    ) -> None:
        """name: of BuiltinOperator; options: of BuiltinOptions, for example AddOptions, with its values."""
        code = getattr(self.schema.BuiltinOperator, name)
        made = self.schema.OperatorT(
            opcodeIndex=self._codes.setdefault((code, version), len(self._codes)),
            inputs=list(inputs),
            outputs=list(outputs),
            intermediates=list(intermediates) or None,
        )
        if options:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            made.builtinOptions = getattr(self.schema, f"{options}T")(**values)
        self._graph.operators.append(made)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file."""
        import flatbuffers

        self._graph.inputs, self._graph.outputs = list(inputs), list(outputs)
        codes = [
            # Readers take the larger one of the two codes; the narrow one came first and has 127 values.
            self.schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version)
            for code, version in self._codes
        ]
        model = self.schema.ModelT(
            version=VERSION, operatorCodes=codes, subgraphs=[self._graph], buffers=self._buffers
        )
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
