"""`irnn-tvm firmware`, `irnn-tvm export` and `irnn-tvm targets`: ways to a device."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from irnn_tvm.cli.models import Example
from irnn_tvm.cli.root import command
from irnn_tvm.cli.shown import pairs_table
from irnn_tvm.terminal import show


class Layout(StrEnum):
    """For what build system a library is laid out (irnn_tvm.runtime.layouts)."""

    plain = "plain"
    cmake = "cmake"
    arduino = "arduino"
    platformio = "platformio"
    zephyr = "zephyr"
    cmsis_pack = "cmsis-pack"


@command(
    "irnn-tvm export out copied",
    "irnn-tvm build model.pt2 --target cortex-m4 --out firmware --name net",
    "irnn-tvm export firmware project --layout cmake",
)
def export(
    directory: Annotated[Path, typer.Argument(help="What `build` wrote.")],
    out: Annotated[Path, typer.Argument(help="Directory to write.")],
    layout: Annotated[
        Layout | None,
        typer.Option(
            "--layout", "-l", help="For what build system; default: plain, a shared library as it is."
        ),
    ] = None,
) -> None:
    """Lay a library out for a firmware project, with a minimal program and a self-test; copy a shared library."""
    from irnn_tvm.runtime import load

    library = load(directory)
    default = None if library.report["kind"] == "shared" else Layout.plain.value
    written = library.export(out, default if layout is None else layout.value)
    for path in sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file()):
        typer.echo(path)


@command(
    "irnn-tvm firmware model.pt2 --target cortex-m4 --out net.elf",
    "irnn-tvm build model.pt2 --target cortex-m4 --out firmware --name net",
    "irnn-tvm firmware firmware --json",
)
def firmware(
    model: Annotated[
        Path | None,
        typer.Argument(help="A .pt2 file, or a directory that `build` wrote for a microcontroller."),
    ] = None,
    example: Annotated[Example | None, typer.Option(help="Build a pretrained example instead.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="What to build for; default: cortex-m4.")
    ] = None,
    board: Annotated[str | None, typer.Option(help="An emulated board; default: the target's.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to keep the image (.elf).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Link a firmware with a library, run its self-test on an emulated board, and show what it takes."""
    from irnn_tvm.compiler import firmware_command

    if (model is None) == (example is None):
        raise typer.BadParameter("give either a .pt2 file, a built directory or --example")
    result = firmware_command.run(model, None if example is None else example.value, target, board, out)
    if as_json:
        typer.echo(json.dumps(result))
        return
    outputs = result.pop("outputs")
    for part in ("flash", "ram"):
        show(pairs_table(f"{part}, bytes", result.pop(part)))
    show(pairs_table(str(result.pop("library")), result))
    for name, values in outputs.items():
        typer.echo(f"{name}: {' '.join(str(v) for v in values)}")


@command("irnn-tvm targets")
def targets() -> None:
    """List the targets."""
    from rich.table import Table

    from irnn_tvm.targets import TARGETS

    table = Table("target", "what it is", "output", "runs here")
    outputs = {"shared": ".so + .h", "archive": ".a + .h", "sources": ".c + .h"}
    for target in TARGETS.values():
        ways = ["after a C compiler"] if target.kind == "sources" else []
        ways += ["natively"] if target.runs_natively else []
        ways += [f"under {target.emulator.qemu}"] if target.emulator else []
        where = ", ".join(ways) or "no"
        table.add_row(target.name, target.description, outputs[target.kind], where)
    show(table)
