"""Exported programs: from an integer model to a .pt2 file and to Relax."""

from irnn_tvm.frontend.exporting import export_program
from irnn_tvm.frontend.pt2 import load_program, save_program, specs_of

__all__ = ["export_program", "load_program", "save_program", "specs_of"]
