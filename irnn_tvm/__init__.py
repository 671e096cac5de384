"""Compiles recurrent PyTorch networks to integer-only libraries for ARM CPUs and Cortex-M.

The public names live in the packages of the stages (`irnn_tvm.quantization`, `irnn_tvm.compiler`,
`irnn_tvm.runtime`) and are looked up here on first use: importing `irnn_tvm` alone loads neither PyTorch nor
TVM, so that `irnn_tvm.runtime` works on a device that has NumPy and nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from irnn_tvm._version import __version__
from irnn_tvm.errors import (
    AccumulatorOverflowError,
    BuildError,
    CalibrationError,
    EmulatorError,
    InputError,
    InternalError,
    IrnnError,
    LoadError,
    MemoryBudgetError,
    ProgramError,
    QualityWarning,
    QuantizationError,
    ResourceError,
    ToolNotFoundError,
    TrainingError,
    TuningError,
    UnknownTargetError,
    UnsupportedModuleError,
)

if TYPE_CHECKING:
    from irnn_tvm.compiler import Memory, build
    from irnn_tvm.frontend import export_program, load_program, save_program
    from irnn_tvm.quantization import IntegerModel, QuantConfig, quantize
    from irnn_tvm.runtime import Library, Stream, load
    from irnn_tvm.targets import TARGETS
    from irnn_tvm.training import QatConfig, QatModel, convert, prepare_qat
    from irnn_tvm.tuning.rpc import RPC
    from irnn_tvm.tuning.tune import TuningResult, tune

_HOME = {
    "build": "irnn_tvm.compiler",
    "Memory": "irnn_tvm.compiler",
    "export_program": "irnn_tvm.frontend",
    "load_program": "irnn_tvm.frontend",
    "save_program": "irnn_tvm.frontend",
    "quantize": "irnn_tvm.quantization",
    "QuantConfig": "irnn_tvm.quantization",
    "IntegerModel": "irnn_tvm.quantization",
    "QatConfig": "irnn_tvm.training",
    "QatModel": "irnn_tvm.training",
    "convert": "irnn_tvm.training",
    "prepare_qat": "irnn_tvm.training",
    "Library": "irnn_tvm.runtime",
    "Stream": "irnn_tvm.runtime",
    "load": "irnn_tvm.runtime",
    "TARGETS": "irnn_tvm.targets",
    "RPC": "irnn_tvm.tuning.rpc",
    "tune": "irnn_tvm.tuning.tune",
    "TuningResult": "irnn_tvm.tuning.tune",
}

# Stages that users reach as attributes, e.g. irnn_tvm.nn.GRU.
_MODULES = frozenset(
    {"compiler", "frontend", "nn", "ops", "pwl", "quantization", "runtime", "targets", "training", "tuning"}
)

__all__ = [
    "RPC",
    "TARGETS",
    "AccumulatorOverflowError",
    "BuildError",
    "CalibrationError",
    "EmulatorError",
    "InputError",
    "IntegerModel",
    "InternalError",
    "IrnnError",
    "Library",
    "LoadError",
    "Memory",
    "MemoryBudgetError",
    "ProgramError",
    "QatConfig",
    "QatModel",
    "QualityWarning",
    "QuantConfig",
    "QuantizationError",
    "ResourceError",
    "Stream",
    "ToolNotFoundError",
    "TrainingError",
    "TuningError",
    "TuningResult",
    "UnknownTargetError",
    "UnsupportedModuleError",
    "__version__",
    "build",
    "convert",
    "export_program",
    "load",
    "load_program",
    "prepare_qat",
    "quantize",
    "save_program",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Imports the stage that defines a public name, the first time that somebody asks for it."""
    home = f"irnn_tvm.{name}" if name in _MODULES else _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        stage = import_module(home)
    except ModuleNotFoundError as error:
        # Of irnn-tvm-runtime alone, the package has the runtime and nothing else.
        if error.name is None or not f"{home}.".startswith(f"{error.name}."):
            raise
        message = f"irnn_tvm.{name} is not in irnn-tvm-runtime: install irnn-tvm"
        raise ModuleNotFoundError(message, name=error.name) from None
    if name in _MODULES:
        return stage
    value = getattr(stage, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
