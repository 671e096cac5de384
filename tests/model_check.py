"""What is asked of a random model: every stage gives the same numbers as the stage before, or refuses with a reason."""

from __future__ import annotations

import copy
import linecache
import math
import re
import signal
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import IntegerModel, IrnnError, Library, QuantConfig
from irnn_tvm.compiler.compile_sources import compile_c_library
from irnn_tvm.quantization.integer_model import TensorSpec
from irnn_tvm.runtime import shapes

CALLS = ((3, 8), (2, 11), (4, 8))  # batch and length of each calibration batch
LENGTHS = (1, 2, 3, 8, 13)  # lengths that libraries run
LIMIT_SECONDS = 300
USER_LINE = re.compile(r"\.py:\d+")


def example(description: str, batch: int, length: int, generator: torch.Generator) -> Tensor:
    """An input of a program ("B T 6": floats; "ids 20 B T": ids below 20; "lengths T B": lengths of 1 to T)."""
    words, sizes = description.split(), {"B": batch, "T": length}
    kind = words[0] if words[0] in ("ids", "lengths") else "floats"
    shape = [sizes[word] if word in sizes else int(word) for word in words[0 if kind == "floats" else 2 :]]
    if kind == "ids":
        return torch.randint(0, int(words[1]), shape, generator=generator)
    if kind == "lengths":
        return torch.randint(1, sizes.get(words[1], length) + 1, shape, generator=generator)
    return torch.randn(shape, generator=generator)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Weights as large as those of a trained network: products keep the size of what they read."""
    for name, parameter in sorted(module.named_parameters()):
        with torch.no_grad():
            noise = torch.randn(parameter.shape, generator=generator)
            last = name.rsplit(".", 1)[-1]
            if "parametrizations" in name:
                continue  # what a parametrization keeps beside the weight belongs to the weight
            if parameter.dim() > 1:
                parameter.copy_(noise / math.sqrt(max(parameter[0].numel(), 1)))
            elif "norm" in last or (last == "weight" and parameter.dim() == 1):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(0.3 * noise)
    for name, buffer in sorted(module.named_buffers()):
        if name.endswith("running_mean"):
            buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))


class Failure(AssertionError):
    """A model of which a stage gave something else, changed the model, or failed without a typed error."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass(frozen=True)
class Outcome:
    """stage: "quantize", "build host", ... where the model was refused, "equal" where nothing refused it. reason: the
    refusal. sqnr_db: the smallest of the outputs; None where it was not reached."""

    stage: str
    reason: str = ""
    error: str = ""
    sqnr_db: float | None = None


class Sample:
    """A loaded model file: `make()` gives the model, `call(batch, length, seed)` arguments for it."""

    def __init__(self, path: Path, source: str) -> None:
        self.module = types.ModuleType(path.stem)
        self.module.__file__ = str(path)
        linecache.cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
        exec(compile(source, str(path), "exec"), self.module.__dict__)
        self.inputs: dict[str, str] = self.module.INPUTS
        self.length: int | None = self.module.LENGTH
        # A state that the module keeps has the batch of the call before.
        self.calls = ((3, 8), (3, 11), (3, 8)) if vars(self.module).get("ONE_BATCH") else CALLS

    def make(self) -> nn.Module:
        """The model in eval mode, with weights that depend on nothing but its text."""
        torch.manual_seed(0)
        model: nn.Module = self.module.Model()
        initialise(model, torch.Generator().manual_seed(1))
        return model.eval()

    def call(self, batch: int, length: int, seed: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        return tuple(example(text, batch, self.length or length, generator) for text in self.inputs.values())

    @property
    def lengths(self) -> tuple[int, ...]:
        return LENGTHS if self.length is None else (self.length,)


def check(
    path: Path, source: str, targets: tuple[str, ...] = (), config: QuantConfig | None = None
) -> Outcome:
    """Takes a model through quantize and the builds for `targets`; Failure says what is wrong.

    The model's own calls, its integers, and libraries for several lengths and as streams are compared; refusals that
    are IrnnErrors, but for an InternalError, are an Outcome.
    """
    with time_limit(LIMIT_SECONDS):
        sample = Sample(path, source)
        try:
            integer, lowest = _quantize(sample, config or QuantConfig())
        except IrnnError as error:
            return _refusal("quantize", error)
        for target in targets:
            try:
                _compare_library(sample, integer, target)
            except IrnnError as error:
                return _refusal(f"build {target}", error, lowest)
    return Outcome("equal", sqnr_db=lowest)


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Failure when the block takes longer."""

    def stop(*_: Any) -> None:
        raise Failure("hang", f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _refusal(stage: str, error: IrnnError, sqnr_db: float | None = None) -> Outcome:
    if type(error).__name__ == "InternalError":
        raise Failure(f"internal error in {stage}", str(error)) from error
    if "code of yours" in str(error):
        raise Failure(f"an error of ours blamed on the user in {stage}", str(error)) from error
    if "_Proxy" in str(error) or "Proxy(" in str(error):
        raise Failure("a proxy in a message", str(error)) from error
    return Outcome(stage, str(error), type(error).__name__, sqnr_db)


def _guarded(stage: str, action: Callable[[], Any]) -> Any:
    """The action's result; whatever it raises that is not an IrnnError is a Failure."""
    try:
        return action()
    except (IrnnError, Failure):
        raise
    except Exception as error:
        raise Failure(f"raw error in {stage}", f"{type(error).__name__}: {error}") from error


def _quantize(sample: Sample, config: QuantConfig) -> tuple[IntegerModel, float]:
    """The integer model, and the smallest SQNR of its outputs in dB."""
    model = sample.make()
    before = _fingerprint(model)
    batches = [sample.call(batch, length, seed) for seed, (batch, length) in enumerate(sample.calls)]
    copies = copy.deepcopy(batches)
    try:
        integer: IntegerModel = _guarded("quantize", lambda: irnn_tvm.quantize(model, batches, config))
    finally:
        difference = _difference(before, _fingerprint(model))
        if difference:
            raise Failure("the user's model is changed", difference)
        for batch, own in zip(batches, copies, strict=True):
            if not all(torch.equal(a, b) for a, b in zip(batch, own, strict=True)):
                raise Failure("the calibration data is changed", "a tensor of a batch is overwritten")
    lowest = math.inf
    for seed, (batch, length) in enumerate(sample.calls):
        call = sample.call(batch, length, seed)
        with torch.no_grad():
            expected = sample.make()(*copy.deepcopy(call))
        found = _guarded("float_forward", lambda call=call: integer.float_forward(*call))
        if structure(expected) != structure(found):
            raise Failure("another structure", f"{structure(found)} for {structure(expected)}")
        for exact, ours in zip(tensors(expected), tensors(found), strict=True):
            lowest = min(lowest, sqnr(exact, ours))
    return integer, lowest


def _compare_library(sample: Sample, integer: IntegerModel, target: str) -> None:
    """Library against reference: whole sequences of several lengths, twice, and step by step."""
    batch = 2
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        library: Library = _guarded(
            f"build {target}", lambda: irnn_tvm.build(integer, target, out=out, batch=batch, max_seq_len=32)
        )
        if target == "c":
            library = _guarded("compile c", lambda: compile_c_library(out))
        ran = 0
        for length in sample.lengths:
            ran += _run_once(sample, integer, library, target, length)
        if not ran:
            raise Failure(f"{target} runs for no length", f"{library.time}")
        if library.streamable and library.time.maximum != library.time.minimum:
            _stream(sample, integer, library, target)


def _inputs_for(sample: Sample, integer: IntegerModel, library: Library, length: int) -> tuple[Tensor, ...]:
    """Integer inputs of the shapes that the library says it takes for T = length."""
    generator = torch.Generator().manual_seed(77 + length)
    found = []
    for tensor, text, spec in zip(library.inputs, sample.inputs.values(), integer.input_specs, strict=True):
        shape = shapes.shape(tensor.shape, length)
        sizes = " ".join(map(str, shape))
        words = text.split()
        kind = " ".join(words[:2]) + " " if words[0] in ("ids", "lengths") else ""
        real = example(kind + sizes, 0, min(length, sample.length or length), generator)
        integers = real.to(torch.int32) if spec.is_index else spec_quantized(spec, real)
        found.append(integers.contiguous())
    return tuple(found)


def spec_quantized(spec: TensorSpec, real: Tensor) -> Tensor:
    return torch.ops.irnn.quantize(real, spec.scale, spec.zero_point, spec.bits)


def _reference(integer: IntegerModel, inputs: tuple[Tensor, ...]) -> list[np.ndarray] | None:
    """Integers of the reference; None for sizes that it does not take."""
    try:
        with torch.no_grad():
            return [t.numpy() for t in tensors(integer(*inputs))]
    except Exception:
        return None


def _run_once(sample: Sample, integer: IntegerModel, library: Library, target: str, length: int) -> bool:
    """True when the library ran and gave the reference's integers; False when it refused the length."""
    inputs = _inputs_for(sample, integer, library, length)
    expected = _reference(integer, inputs)
    try:
        found = _guarded(f"run {target}", lambda: as_tuple(library.run(*(x.numpy() for x in inputs))))
    except irnn_tvm.InputError:
        return False
    if expected is None:
        raise Failure(f"{target} runs for a length that the reference refuses", f"T = {length}")
    _same(expected, found, f"{target} differs from the reference", f"T = {length}")
    return True


def _stream(sample: Sample, integer: IntegerModel, library: Library, target: str) -> None:
    """Two steps and a piece of a stream give what a run of the whole sequence gives."""
    length = 7
    inputs = [x.numpy() for x in _inputs_for(sample, integer, library, length)]
    try:
        expected = as_tuple(library.run(*inputs))
    except irnn_tvm.InputError:
        return
    axes = [_time_axis(t.shape) for t in library.inputs]
    stream = library.stream()
    pieces = []
    for start, stop in ((0, 1), (1, 2), (2, 7)):
        part = [
            np.ascontiguousarray(x.take(range(start, stop), axis) if axis is not None else x)
            for x, axis in zip(inputs, axes, strict=True)
        ]
        action = (
            (lambda part=part: stream.step(*part))
            if stop - start == 1
            else (lambda part=part: stream.run(*part))
        )
        pieces.append(as_tuple(_guarded(f"stream {target}", action)))
    found = []
    for number, tensor in enumerate(library.outputs):
        axis = _time_axis(tensor.shape)
        parts = [piece[number] for piece in pieces]
        found.append(parts[-1] if axis is None else np.concatenate(parts, axis))
    _same(list(expected), tuple(found), f"a stream of {target} differs from a run", f"T = {length}")


def _time_axis(shape: tuple[int | str, ...]) -> int | None:
    return next((i for i, size in enumerate(shape) if size == "T"), None)


def _same(expected: list[np.ndarray], found: tuple[np.ndarray, ...], kind: str, text: str) -> None:
    if len(expected) != len(found):
        raise Failure(kind, f"{text}: {len(found)} outputs for {len(expected)}")
    for number, (a, b) in enumerate(zip(expected, found, strict=True)):
        if a.shape != b.shape or not np.array_equal(a, b):
            share = float(np.mean(a != b)) if a.shape == b.shape else 1.0
            raise Failure(
                kind, f"{text}, output {number}: {b.shape} for {a.shape}, {share:.0%} of the integers differ"
            )


def as_tuple(result: Any) -> tuple[np.ndarray, ...]:
    return result if isinstance(result, tuple) else (result,)


def tensors(values: Any) -> list[Tensor]:
    """All tensors of a nested result, in order."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    return [t for element in values or () for t in tensors(element)]


def structure(values: Any) -> Any:
    """The nesting and shapes of a result."""
    if isinstance(values, Tensor):
        return tuple(values.shape)
    if isinstance(values, dict):
        return {key: structure(value) for key, value in values.items()}
    if isinstance(values, tuple | list):
        return type(values).__name__, [structure(value) for value in values]
    return values


def sqnr(exact: Tensor, noisy: Tensor) -> float:
    """Signal to quantization noise in dB, infinite for equal tensors, and for zeros that are nearly zeros."""
    if not bool(exact.any()) and bool(noisy.abs().max() < 0.01):
        return math.inf
    signal_power, noise = exact.double().square().sum(), (exact.double() - noisy.double()).square().sum()
    return math.inf if noise == 0 else float(10 * torch.log10(signal_power / noise))


def _fingerprint(model: nn.Module) -> dict[str, Any]:
    """Everything of a model that a user could look at: tensors, attributes, modes and hooks of every module."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            found[f"{name}.{attribute}"] = _snapshot(value)
    return found


def _snapshot(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, nn.Module):
        return id(value)
    if isinstance(value, dict):
        return {str(key): _snapshot(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [_snapshot(element) for element in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return type(value).__name__, id(value)


def _difference(before: Any, after: Any, where: str = "") -> str:
    """Where two fingerprints differ, empty where they do not."""
    if type(before) is not type(after):
        return f"{where} was {type(before).__name__} and is {type(after).__name__}"
    if isinstance(before, Tensor):
        same = before.shape == after.shape and torch.equal(before, after)
        return "" if same else f"{where} has other values"
    if isinstance(before, dict):
        if before.keys() != after.keys():
            return f"{where} has other keys: {sorted(before.keys() ^ after.keys())}"
        return next((d for k in before if (d := _difference(before[k], after[k], f"{where}.{k}"))), "")
    if isinstance(before, list):
        if len(before) != len(after):
            return f"{where} has {len(after)} elements instead of {len(before)}"
        pairs = enumerate(zip(before, after, strict=True))
        return next((d for i, (a, b) in pairs if (d := _difference(a, b, f"{where}[{i}]"))), "")
    return "" if before == after else f"{where} was {before!r} and is {after!r}"
