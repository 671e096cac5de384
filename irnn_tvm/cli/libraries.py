"""`irnn-tvm run`, `report` and `bench`: what is done with a built library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from irnn_tvm.cli.root import command
from irnn_tvm.cli.shown import kernel_table, pairs_table, report_table
from irnn_tvm.errors import InputError, LoadError
from irnn_tvm.terminal import show


@command(
    "irnn-tvm run out --input x.npy",
    "irnn-tvm run out --input x.npy --output y.npz",
    "irnn-tvm run out --input x.npy --output y.csv",
)
def run(
    directory: Annotated[Path, typer.Argument(help="What `build` wrote.")],
    input: Annotated[list[Path], typer.Option("--input", "-i", help=".npy file, once per input, in order.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="For the outputs: .npz, or .npy, .csv, .txt for one."),
    ] = None,
) -> None:
    """Run a built library on arrays, under QEMU when it is made for another machine.

    Integer arrays go in as they are; floating-point ones are quantized with the scale of report.json first. Outputs are
    integers; .csv and .txt have a row of the last axis per line.
    """
    from irnn_tvm.cli import arrays
    from irnn_tvm.tuning.measure import runnable

    library = runnable(directory)
    specs = library.report["inputs"]
    if len(input) != len(specs):
        raise InputError(f"{library.report['name']} has {len(specs)} inputs, {len(input)} files were given")
    names = [spec["name"] for spec in library.report["outputs"]]
    if output is not None:
        arrays.check_output(output, names)
    given = [arrays.as_integers(arrays.read(path), spec) for path, spec in zip(input, specs, strict=True)]
    results = library.run(*given)
    named = dict(zip(names, results if isinstance(results, tuple | list) else (results,), strict=True))
    for key, array in named.items():
        limits = f" min {array.min()} max {array.max()}" if array.size else ""
        typer.echo(f"{key}: {array.dtype}{list(array.shape)}{limits}")
    if output is not None:
        arrays.write(output, named)
        typer.echo(f"written to {output}")


@command("irnn-tvm report out", "irnn-tvm report out --json")
def report(
    directory: Annotated[Path, typer.Argument(help="What `build` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json.")] = False,
) -> None:
    """Show sizes, shapes and kernels of a built library."""
    content = _read_report(directory)
    if as_json:
        typer.echo(json.dumps(content, indent=2))
        return
    show(report_table(content))
    if content.get("kernels"):
        show(kernel_table(content["kernels"]))


@command(
    "irnn-tvm bench out",
    "irnn-tvm bench out --profile --steps 1",
    "irnn-tvm bench out --profile --model model.pt2 --json",
)
def bench(
    directory: Annotated[Path, typer.Argument(help="What `build` wrote.")],
    steps: Annotated[int, typer.Option(min=1, help="Sequence length of one call.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Kernels, bytes, MACs and roofline.")] = False,
    model: Annotated[
        Path | None, typer.Option(help="The .pt2 it was built from, for the share of elementwise work.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the roofline as a figure (.png, .svg, .pdf).")
    ] = None,
    tracker: Annotated[
        str | None, typer.Option("--rpc", help="host:port of an RPC tracker or server; see --key.")
    ] = None,
    key: Annotated[str, typer.Option(help="Key of the devices of the tracker, or of the server.")] = "",
    calls: Annotated[int, typer.Option(min=10, help="Calls to time on the device.")] = 200,
) -> None:
    """Measure a built library: wall-clock time where it runs here, else instructions per step in QEMU.

    With --rpc on a device: there its integers are compared with those of the library here or in QEMU, and latencies are
    given as percentiles.
    """
    if tracker is not None:
        from irnn_tvm.tuning.on_device import bench_library
        from irnn_tvm.tuning.preflight import rpc_at

        if profile or plot is not None:
            raise typer.BadParameter("--profile and --plot are for this machine, not for --rpc")
        result = bench_library(directory, rpc_at(tracker, key), steps, calls, model)
        if as_json:
            typer.echo(json.dumps(result))
        else:
            show(pairs_table(str(directory), result))
        return
    if key:
        raise typer.BadParameter("--key belongs to --rpc")
    if profile:
        _profile(directory, steps, as_json, model, plot)
        return
    if model is not None or plot is not None:
        raise typer.BadParameter("--model and --plot belong to --profile")
    from irnn_tvm.tuning import measure

    result = measure.library(measure.runnable(directory), steps=steps)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        show(pairs_table(str(directory), result))


def _profile(directory: Path, steps: int, as_json: bool, model: Path | None, plot: Path | None) -> None:
    from irnn_tvm import figures, profiling

    if plot is not None:
        figures.check(plot)
    result = profiling.profile(directory, steps=steps, model=model)
    if plot is not None:
        profiling.plot(result, plot)
    if as_json:
        typer.echo(json.dumps(result))
        return
    for table in profiling.tables(result):
        show(table)
    if plot is not None:
        typer.echo(f"written to {plot}")


def _read_report(directory: Path) -> dict[str, Any]:
    path = directory / "report.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LoadError(f"{directory} is not a built library: it has no report.json") from None
    except NotADirectoryError:
        raise LoadError(f"{directory} is a file; a built library is a directory with a report.json") from None
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise LoadError(f"{path} does not hold a JSON object")
    return content
