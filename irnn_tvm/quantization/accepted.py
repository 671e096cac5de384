"""What is taken as a float model, and a sentence of its own for everything else that people try."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantizeBase, ObserverBase
from torch.optim.swa_utils import AveragedModel

from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.quantization.integer_model import IntegerModel

OTHER_FRAMEWORKS = {
    "onnx": "an ONNX model: its weights have to be copied into a torch.nn.Module first (README)",
    "onnxruntime": "an ONNX session: the weights have to be copied into a torch.nn.Module first",
    "keras": "a Keras model: its weights have to be copied into a torch.nn.Module first",
    "tf_keras": "a Keras model: its weights have to be copied into a torch.nn.Module first",
    "tensorflow": "a TensorFlow model: its weights have to be copied into a torch.nn.Module first",
    "flax": "a Flax model: its weights have to be copied into a torch.nn.Module first",
    "jax": "a JAX function: its weights have to be copied into a torch.nn.Module first",
    "sklearn": "a scikit-learn estimator, not a torch.nn.Module",
}
WANTED = "not a torch.nn.Module"


def float_module(model: Any, wrappers: tuple[type[nn.Module], ...] = ()) -> nn.Module:
    """The float module itself, without what torch.compile, DataParallel and AveragedModel put around it.

    wrappers: types that the caller refuses by itself. Raises UnsupportedModuleError for everything that is not a
    float module, saying what it is and what to do.
    """
    while isinstance(model, nn.Module) and not isinstance(model, wrappers):
        if is_compiled(model):
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
            model = model.module
        else:
            break
    if not isinstance(model, nn.Module):
        raise UnsupportedModuleError(f"the model is {_what(model)}")
    if isinstance(model, IntegerModel):
        raise UnsupportedModuleError(
            "the model is an IntegerModel: it is quantized already, and has no float weights left; irnn_tvm.build "
            "takes it as it is"
        )
    if isinstance(model, wrappers):
        return model
    for name, module in model.named_modules():
        _check_part(name, module)
    return model


def is_compiled(module: Any) -> bool:
    """Whether torch.compile made this module around another one."""
    return isinstance(module, nn.Module) and "_orig_mod" in module._modules


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Without what `module.compile()` left in the modules: they are traced, not called."""
    compiled = {m: m._compiled_call_impl for m in model.modules() if m._compiled_call_impl is not None}
    for module in compiled:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, kept in compiled.items():
            module._compiled_call_impl = kept


def _check_part(name: str, module: nn.Module) -> None:
    kind = type(module)
    what = f"layer {name!r}" if name else "the model"
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedModuleError(
            f"{what} is a torch.jit module ({kind.__name__}), whose Python code is gone: give the nn.Module that was "
            "scripted or traced, with its weights (load_state_dict takes those of the torch.jit module)"
        )
    if name and is_compiled(module):
        raise UnsupportedModuleError(
            f"{what} was made by torch.compile: quantize the model before compiling parts of it, or put back "
            f"{name}._orig_mod"
        )
    if isinstance(module, IntegerModel):
        raise UnsupportedModuleError(f"{what} is an IntegerModel, which cannot be a part of a float model")
    if kind.__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")):
        raise UnsupportedModuleError(
            f"{what} is quantized already, by PyTorch ({kind.__module__}.{kind.__name__}): give the float model that "
            "it was made from; irnn_tvm.quantize does the whole quantization itself"
        )
    if isinstance(module, ObserverBase | FakeQuantizeBase) or "torch.ao.nn.qat" in kind.__module__:
        raise UnsupportedModuleError(
            f"{what} ({kind.__name__}) belongs to PyTorch's own quantization: give the float model before "
            "torch.ao.quantization.prepare; irnn_tvm.quantize observes by itself, irnn_tvm.prepare_qat trains"
        )
    for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if isinstance(tensor, Tensor) and tensor.is_quantized:
            raise UnsupportedModuleError(
                f"the tensor {key!r} of {what} is quantized already ({tensor.dtype}): give the float model"
            )


def _what(model: Any) -> str:
    """What something is that is no module, and what to do."""
    kind = type(model)
    framework = kind.__module__.split(".")[0]
    if isinstance(model, str | Path):
        return _file(Path(model))
    if isinstance(model, torch.export.ExportedProgram):
        return "a torch.export.ExportedProgram: quantization needs the nn.Module that was exported, with its code"
    if isinstance(model, type):
        if issubclass(model, nn.Module):
            return f"the class {model.__name__}, {WANTED}: make one first, {model.__name__}(...), with trained weights"
        return f"the class {model.__name__}, {WANTED}"
    if isinstance(model, torch.jit.ScriptFunction):
        return f"a torch.jit function, {WANTED}: give the nn.Module that was scripted or traced"
    if framework in OTHER_FRAMEWORKS:
        return OTHER_FRAMEWORKS[framework]
    if isinstance(model, dict):
        if model and all(isinstance(v, Tensor) for v in model.values()):
            return f"a state dict, {WANTED}: make the model and give it to model.load_state_dict(...) first"
        keys = ", ".join(repr(k) for k in list(model)[:4])
        return (
            f"a dict ({keys} ...), {WANTED}: a checkpoint holds the weights; load them into the model first"
        )
    if inspect.isroutine(model):
        name = getattr(model, "__name__", kind.__name__)
        return f"the function {name}, {WANTED}: call it in the forward of a module that owns its weights"
    if isinstance(model, list | tuple):
        return f"a {kind.__name__}, {WANTED}: nn.Sequential(*layers) makes a module of layers"
    return f"a {kind.__name__}, {WANTED}"


def _file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in (".pt", ".pth", ".ckpt", ".bin", ".safetensors"):
        return f"the path {path.name}, {WANTED}: load the weights into the model (load_state_dict) and give the model"
    if suffix == ".pt2":
        return (
            f"the path {path.name}, {WANTED}: an exported program cannot be quantized; irnn_tvm.build takes the .pt2 "
            "file of an integer model"
        )
    if suffix in (".onnx", ".h5", ".hdf5", ".keras", ".tflite", ".pb"):
        return (
            f"the path {path.name}, {WANTED}: models of other frameworks are not read; copy the weights into a "
            "torch.nn.Module"
        )
    return f"the path {path.name}, {WANTED}"
