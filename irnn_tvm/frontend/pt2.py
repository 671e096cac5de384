"""Saving and loading of integer programs as .pt2 files, with what the integers mean."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irnn_tvm.boundary import public, shortened
from irnn_tvm.errors import ProgramError
from irnn_tvm.frontend.model_files import other_format
from irnn_tvm.frontend.sizes import check_sizes, with_sizes

if TYPE_CHECKING:
    import torch

SPECS_FILE = "irnn_specs.json"


@public
def save_program(
    program: torch.export.ExportedProgram | Any,
    path: str | Path,
    specs: dict[str, Any] | None = None,
    *,
    batch: int | None = None,
    seq_len: int | None = None,
    max_seq_len: int | None = None,
) -> None:
    """Writes a .pt2 file (to a temporary name, then renamed).

    program: an IntegerModel, which is exported first with these sizes (`export_program`; batch 1 and a run-time length
    if not given), or an exported integer program, which has its sizes. specs: `specs_of` the model, kept beside the
    graph so that a library built from the file knows its scales. Raises InputError for sizes that the program cannot
    have, and ProgramError where the file cannot be written.
    """
    import torch

    check_sizes(batch=batch, seq_len=seq_len, max_seq_len=max_seq_len)
    if not isinstance(program, torch.export.ExportedProgram):
        from irnn_tvm.frontend.exporting import export_program

        specs = specs_of(program) | {"batch": batch or 1}
        program = export_program(program, batch=batch or 1, seq_len=seq_len, max_seq_len=max_seq_len)
    else:
        sizes = {"seq_len": seq_len, "max_seq_len": max_seq_len}
        program = with_sizes(program, specs or {}, "the program", batch=batch, **sizes)
    path = Path(path)
    if not path.parent.is_dir():
        raise ProgramError(f"{path} cannot be written: {path.parent} is not a directory")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.pt2")
    try:
        torch.export.save(program, temporary, extra_files={SPECS_FILE: json.dumps(specs or {})})
        temporary.replace(path)
    except OSError as error:
        raise ProgramError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


@public
def load_program(path: str | Path) -> tuple[torch.export.ExportedProgram, dict[str, Any]]:
    """Reads a .pt2 file. Raises ProgramError when it is missing, truncated or not an exported program."""
    import zipfile

    import torch

    import irnn_tvm.ops  # noqa: F401  the graph refers to torch.ops.irnn

    path = Path(path)
    if not path.is_file():
        raise ProgramError(f"{path} does not exist or is not a file")
    other = other_format(path)
    if other is not None:
        raise ProgramError(f"{path} is {other}")
    if not zipfile.is_zipfile(path):
        raise ProgramError(f"{path} is not a .pt2 file, or it is truncated")
    extra = {SPECS_FILE: ""}
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ProgramError(f"{path} is damaged: {damaged} does not match its checksum")
        program = torch.export.load(path, extra_files=extra)
    except ProgramError:
        raise
    except Exception as error:  # torch.export.load raises many types for damaged archives
        raise ProgramError(f"{path} cannot be read as an exported program: {shortened(error)}") from error
    text: Any = extra[SPECS_FILE]
    return program, json.loads(text) if text else {}


def specs_of(model: Any) -> dict[str, Any]:
    """Input and output specs of an IntegerModel as plain data."""
    return {
        "inputs": [asdict(s) for s in model.input_specs],
        "outputs": [asdict(s) for s in model.output_specs],
        "fixed_sizes": model.fixed_sizes(),
    }
