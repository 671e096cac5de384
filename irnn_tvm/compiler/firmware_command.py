"""What `irnn-tvm firmware` does: build or load, link, run, count."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

from irnn_tvm.compiler import firmware_image
from irnn_tvm.compiler.names import clean_name
from irnn_tvm.errors import InputError
from irnn_tvm.runtime import Library, load
from irnn_tvm.tuning import measure
from irnn_tvm.tuning.instruction_count import count_instructions

DEFAULT_TARGET = "cortex-m4"
SHOWN = 16  # values of an output


def run(
    source: Path | None, example: str | None, target: str | None, board: str | None, out: Path | None
) -> dict[str, Any]:
    """Sizes in bytes, instructions, and the first values of every output for the inputs that `bench` takes.

    source: directory of a library, or a .pt2 file that is built for the target (default: cortex-m4); example: instead,
    the pretrained model that is built. out: where the image is kept. Raises InputError for a library of another target
    than the one asked for, and what build, link and the emulator do.
    """
    with tempfile.TemporaryDirectory(prefix="irnn-firmware-") as folder:
        if source is not None and not source.is_file():
            library = load(source)
            if target not in (None, library.target):
                raise InputError(
                    f"{source} was built for {library.target}, not for {target}: leave --target out, or give the "
                    "model's .pt2 file"
                )
        else:
            library = _built(source, example, target or DEFAULT_TARGET, Path(folder) / "library")
        image = firmware_image.link(library, out or Path(folder) / "firmware.elf", board)
        firmware_image.run(image)
        steps = library.time.minimum
        inputs = measure.example_inputs(library, steps)
        results = library.run(*inputs)
        arrays = results if isinstance(results, tuple) else (results,)
        kind: Literal["step", "run"] = "step" if library.streamable else "run"
        count = round(count_instructions(library, kind, inputs, 20))
        return {
            "library": f"{library.name} for {library.target}",
            "board": image.emulator.machine,
            "self_test": "passed",
            "instructions_per_step" if library.streamable else f"instructions_of_{steps}_steps": count,
            "emulator": library.where.removeprefix("emulated: "),
            "stack_bytes_measured": library.stack_bytes,
            "stack_bytes_bound": library.report["stack_bytes"],
            "flash": image.flash,
            "ram": image.ram,
            "outputs": {
                tensor.name: [int(v) for v in array.ravel()[:SHOWN]]
                for tensor, array in zip(library.outputs, arrays, strict=True)
            },
        }


def _built(graph: Path | None, example: str | None, target: str, folder: Path) -> Library:
    import irnn_tvm
    from irnn_tvm.examples import load_example

    if graph is not None:
        return irnn_tvm.build(graph, target, out=folder, name=clean_name(graph.stem))
    return irnn_tvm.build(load_example(str(example)), target, out=folder, name=clean_name(str(example)))
