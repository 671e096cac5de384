"""From an integer model to a library: passes, memory plan, kernels, C, linking."""

from irnn_tvm.compiler.build_library import build
from irnn_tvm.compiler.memory import Memory

__all__ = ["Memory", "build"]
