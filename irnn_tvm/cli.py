"""The shell's door to the package: `irnn-tvm build | run | report | bench | targets | pwl | demo`.

Everything heavy is imported inside the commands, so that `--help` answers at once. An IrnnError is one line
on stderr and exit code 2.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from irnn_tvm._version import __version__
from irnn_tvm.errors import InputError, IrnnError, LoadError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table


class _OneLineErrors(TyperGroup):
    """Turns the package's own errors into one line; anything else is a defect and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except IrnnError as error:
            typer.echo(f"irnn-tvm: {type(error).__name__}: {error}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    name="irnn-tvm",
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compiles PyTorch recurrent networks to integer-only libraries for ARM CPUs and Cortex-M.",
)


class Example(StrEnum):
    """Pretrained models that build from one name."""

    g2p_encoder = "g2p-encoder"
    g2p_decoder = "g2p-decoder"
    textgenrnn = "textgenrnn"


class Function(StrEnum):
    """Functions of the piecewise-linear study (irnn_tvm.pwl.FUNCTIONS)."""

    sigmoid = "sigmoid"
    tanh = "tanh"
    exp = "exp"
    rsqrt = "rsqrt"
    gelu = "gelu"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def build(
    model: Annotated[Path | None, typer.Argument(help="An integer RNN graph saved as .pt2.")] = None,
    example: Annotated[Example | None, typer.Option(help="A pretrained example instead of a file.")] = None,
    target: Annotated[str, typer.Option("--target", "-t", help="See `irnn-tvm targets`.")] = "host",
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory to write.")] = Path("out"),
    name: Annotated[str | None, typer.Option(help="Name of the library, a lower-case C identifier.")] = None,
    batch: Annotated[int, typer.Option(help="Sequences per call.")] = 1,
    max_seq_len: Annotated[int | None, typer.Option(help="Longest sequence of one call.")] = None,
    threads: Annotated[int, typer.Option(help="Threads that share the work of large products.")] = 1,
) -> None:
    """Build a C-ABI library from an integer graph, or from a pretrained example."""
    import irnn_tvm
    from irnn_tvm.targets import get

    if (model is None) == (example is None):
        raise typer.BadParameter("give either a .pt2 file or --example")
    get(target)  # a misspelt target is refused before minutes of work
    source: Any = model
    if example is not None:
        from irnn_tvm.examples import load_example

        source = load_example(example.value)
    default_name = (example.value if example is not None else str(model.stem if model else "model")).replace(
        "-", "_"
    )
    library = irnn_tvm.build(
        source,
        target=target,
        out=out,
        name=name or default_name,
        batch=batch,
        max_seq_len=max_seq_len,
        threads=threads,
    )
    _print(_report_table(library.report))
    typer.echo(f"written to {out}")


@app.command()
def run(
    directory: Annotated[Path, typer.Argument(help="What `build` wrote.")],
    input: Annotated[list[Path], typer.Option("--input", "-i", help=".npy file, once per input, in order.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help=".npz file for the outputs.")] = None,
) -> None:
    """Run a built library on arrays, under QEMU when it is made for another machine.

    Integer arrays go in as they are; floating-point ones are quantized with the scale of report.json first.
    """
    import numpy as np

    from irnn_tvm.tuning.measure import runnable

    library = runnable(directory)
    specs = library.report["inputs"]
    if len(input) != len(specs):
        raise InputError(f"{library.report['name']} has {len(specs)} inputs, {len(input)} files were given")
    arrays = [_as_integers(_load_array(path), spec) for path, spec in zip(input, specs, strict=True)]
    results = library.run(*arrays)
    outputs = results if isinstance(results, tuple | list) else (results,)
    named = {spec["name"]: array for spec, array in zip(library.report["outputs"], outputs, strict=True)}
    for key, array in named.items():
        typer.echo(f"{key}: {array.dtype}{list(array.shape)} min {array.min()} max {array.max()}")
    if output is not None:
        np.savez(output, allow_pickle=False, **named)
        typer.echo(f"written to {output}")


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="What `build` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json.")] = False,
) -> None:
    """Show sizes, shapes and kernels of a built library."""
    content = _read_report(directory)
    if as_json:
        typer.echo(json.dumps(content, indent=2))
        return
    _print(_report_table(content))
    if content.get("kernels"):
        _print(_kernel_table(content["kernels"]))


@app.command()
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
) -> None:
    """Measure a built library: wall-clock time where it runs here, else instructions per step in QEMU."""
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
        _print(_pairs_table(str(directory), result))


def _profile(directory: Path, steps: int, as_json: bool, model: Path | None, plot: Path | None) -> None:
    from irnn_tvm import profiling

    result = profiling.profile(directory, steps=steps, model=model)
    if plot is not None:
        profiling.plot(result, plot)
    if as_json:
        typer.echo(json.dumps(result))
        return
    for table in profiling.tables(result):
        _print(table)
    if plot is not None:
        typer.echo(f"written to {plot}")


@app.command()
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
    _print(table)


@app.command()
def pwl(
    function: Annotated[Function, typer.Option("--function", "-f", help="What to approximate.")],
    pieces: Annotated[int, typer.Option("--pieces", "-p", help="Pieces of the table.")] = 32,
    bits: Annotated[int, typer.Option(help="Bits of input and output, 8 or 16.")] = 16,
    limit: Annotated[
        float | None, typer.Option("--range", help="Inputs in -RANGE..RANGE instead of the usual ones.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a figure: curve, knots, error (.png, .svg, .pdf).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit a piecewise-linear table to a function; show it, and its error beside other tables' in output LSBs."""
    from irnn_tvm import pwl as study

    content = study.describe(function.value, pieces, bits, limit)
    if plot is not None:
        fn, (inp, out) = study.FUNCTIONS[function].fn, study.FUNCTIONS[function].grids(bits, limit)
        study.plot(content.table, fn, inp, out, plot, f"{function}, {bits} bits")
    if as_json:
        typer.echo(json.dumps(content.summary))
        return
    for table in study.tables(content):
        _print(table)
    if plot is not None:
        typer.echo(f"written to {plot}")


@app.command()
def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    words: Annotated[int, typer.Option(min=1, help="Number of words to pronounce.")] = 3000,
    most_frequent: Annotated[
        int, typer.Option(min=1, help="Take them from this many frequent words.")
    ] = 20_000,
    host_only: Annotated[bool, typer.Option("--host-only", help="Leave the Cortex-M7 out.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep the built libraries and the firmware here.")] = None,
) -> None:
    """Turn English words into phonemes with integers alone, on this machine and on an emulated Cortex-M7."""
    from irnn_tvm.examples.g2p import demo as g2p

    result = g2p.run(words=words, most_frequent=most_frequent, host_only=host_only, keep=keep)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(g2p.table(result))


def _read_report(directory: Path) -> dict[str, Any]:
    path = directory / "report.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LoadError(f"{directory} is not a built library: it has no report.json") from None
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise LoadError(f"{path} does not hold a JSON object")
    return content


def _load_array(path: Path) -> np.ndarray:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a .npy file: {error}") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays, one .npy file per input is expected")
    return array


def _as_integers(array: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """Quantizes a floating-point array with the scale and zero point of its input; integers pass through."""
    import numpy as np

    if array.dtype.kind != "f":
        return array
    if spec["scale"] is None:
        raise InputError(f"input {spec['name']} takes indices ({spec['dtype']}), not {array.dtype}")
    if not np.isfinite(array).all():
        raise InputError(f"input {spec['name']} holds values that are not finite")
    limits = np.iinfo(spec["dtype"])
    steps = np.floor(array.astype(np.float64) / spec["scale"] + 0.5) + spec["zero_point"]
    return np.clip(steps, limits.min, limits.max).astype(spec["dtype"])


def _print(table: Table) -> None:
    from rich.console import Console

    # A pipe has no width of its own; 80 columns would cut cells that a log is read for.
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _pairs_table(title: str, pairs: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("", "", title=title, show_header=False)
    for key, value in pairs.items():
        table.add_row(key.replace("_", " "), _text(value))
    return table


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _report_table(content: dict[str, Any]) -> Table:
    pairs: dict[str, Any] = {key: content[key] for key in ("target", "kind") if key in content}
    for kind in ("inputs", "outputs"):
        for spec in content.get(kind, []):
            shape = ", ".join(str(extent) for extent in spec["shape"])
            scale = (
                ""
                if spec.get("scale") is None
                else f" scale {spec['scale']:.6g} zero point {spec['zero_point']}"
            )
            pairs[f"{kind[:-1]} {spec['name']}"] = f"{spec['dtype']}[{shape}]{scale}"
    for key in ("flash_bytes", "state_bytes", "arena_bytes", "stack_bytes", "macs_per_step", "streamable"):
        if content.get(key) is not None:
            pairs[key] = content[key]
    return _pairs_table(content.get("name", "library"), pairs)


def _kernel_table(kernels: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    columns = list(dict.fromkeys(key for kernel in kernels for key in kernel))
    table = Table(*(column.replace("_", " ") for column in columns), title="kernels")
    for kernel in kernels:
        table.add_row(
            *(f"{v:,}" if isinstance(v, int) else str(v) for v in (kernel.get(c, "") for c in columns))
        )
    return table


if __name__ == "__main__":
    app()
