"""Exception classes: every refusal of irnn_tvm is one of these; it names the thing, the reason, what is supported."""


class IrnnError(Exception):
    """Base class of every error that irnn_tvm raises on purpose."""


class CalibrationError(IrnnError):
    """Calibration data is empty, not finite, or leaves a tensor with a constant value (scale 0)."""


class QuantizationError(IrnnError):
    """A quantization setting is out of range or contradicts the model."""


class TrainingError(IrnnError):
    """Quantization-aware training diverged, or a step of it was taken out of order."""


class UnsupportedModuleError(IrnnError):
    """The model holds a leaf module, function or argument that has no integer version."""


class UnknownTargetError(IrnnError):
    """No target of this name; the message suggests the nearest."""


class ToolNotFoundError(IrnnError):
    """A compiler or an emulator that this operation needs is not installed."""


class InputError(IrnnError):
    """A tensor handed to an integer model or a built library has the wrong shape, dtype, length or range."""


class AccumulatorOverflowError(IrnnError):
    """An integer accumulator could leave its 32- or 64-bit range for some input."""


class ProgramError(IrnnError):
    """An exported program (.pt2) is missing, truncated or not an integer RNN graph."""


class BuildError(IrnnError):
    """The compiler pipeline refused a model or a tool that it ran failed."""


class MemoryBudgetError(BuildError):
    """A library needs more flash or RAM than the budget that it was built for."""


class LoadError(IrnnError):
    """A library directory is missing, incomplete or made for another ABI version."""


class EmulatorError(IrnnError):
    """The emulator ended with an error or its program reported one."""


class TuningError(IrnnError):
    """Tuning cannot start or go on: a device, a log or a setting is not what it has to be."""


class ResourceError(IrnnError):
    """Memory, disk space or a permission that an operation needs is not there; nothing is wrong with the model."""


class InternalError(IrnnError):
    """Something failed that should not: a defect of irnn_tvm. The original error is its __cause__."""


class QualityWarning(UserWarning):
    """The integer model is further from the float model on the calibration data than it should be."""
