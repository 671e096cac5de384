"""Where the time of a built library goes: a roofline report (docs/profiling.md)."""

from irnn_tvm.profiling.built_library import profile
from irnn_tvm.profiling.figure import plot
from irnn_tvm.profiling.tables import tables

__all__ = ["plot", "profile", "tables"]
