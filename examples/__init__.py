"""Complete jobs on models that other people trained: each folder is one, with its own demo."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from irnn_tvm.quantization import IntegerModel

# Name in a shell -> the function that returns the quantized model.
EXAMPLES = {
    "g2p-encoder": "irnn_tvm.examples.g2p.integer:encoder",
    "g2p-decoder": "irnn_tvm.examples.g2p.integer:decoder",
    "textgenrnn": "irnn_tvm.examples.textgenrnn.demo:quantized",
}


def load_example(name: str) -> IntegerModel:
    """The quantized model of a name in EXAMPLES; downloads weights and calibration text on first use."""
    module, _, function = EXAMPLES[name].partition(":")
    model: IntegerModel = getattr(import_module(module), function)()
    return model
