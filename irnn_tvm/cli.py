"""The shell's door to the package: `irnn-tvm build | tune | run | report | bench | export | firmware | logs | targets`
and more; on devices `rpc-server` and `rpc-tracker`.

Everything heavy is imported inside the commands, so that `--help` answers at once. An IrnnError is one line
on stderr and exit code 2.
"""

from __future__ import annotations

import errno
import json
import tempfile
import traceback
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from irnn_tvm._version import __version__
from irnn_tvm.boundary import translate
from irnn_tvm.errors import InputError, InternalError, IrnnError, LoadError
from irnn_tvm.terminal import show
from irnn_tvm.tuning import commands

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table


# What typer says of a command line by itself.
CLICK = (typer.Exit, typer.Abort, *typer.BadParameter.__mro__[1:-3])


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    typer.echo(f"irnn-tvm: {category.__name__}: {message}", err=True)


def _traceback_file(own: IrnnError, error: Exception) -> str:
    """Where the traceback of a defect is kept; nothing for other errors."""
    if not isinstance(own, InternalError):
        return ""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="irnn-tvm-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError:
        return f"\n{text}"
    return f" The traceback is in {file.name}."


class _OneLineErrors(TyperGroup):
    """One line for every error, and a file with the traceback where it is a defect; warnings on one line, too."""

    def invoke(self, ctx: Any) -> Any:
        warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(error, CLICK) or getattr(error, "errno", None) == errno.EPIPE:
                raise
            own = error if isinstance(error, IrnnError) else translate(error, "the command")
            typer.echo(f"irnn-tvm: {type(own).__name__}: {own}{_traceback_file(own, error)}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    name="irnn-tvm",
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compiles PyTorch recurrent networks to integer-only libraries for ARM CPUs and Cortex-M.",
)


app.add_typer(commands.logs_app, name="logs")
app.command("rpc-server")(commands.rpc_server)
app.command("rpc-server-build")(commands.rpc_server_build)
app.command("rpc-tracker")(commands.rpc_tracker)


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
    sources: Annotated[
        bool,
        typer.Option("--sources", help="For a microcontroller: C99 sources instead of a static library."),
    ] = False,
    flash: Annotated[
        int | None, typer.Option(help="Refuse a library that needs more bytes of flash.")
    ] = None,
    ram: Annotated[int | None, typer.Option(help="Refuse a library that needs more bytes of RAM.")] = None,
) -> None:
    """Build a C-ABI library from an integer graph, or from a pretrained example."""
    import irnn_tvm

    source = _source(model, example, target)
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
        sources=sources,
        memory=irnn_tvm.Memory(flash=flash, ram=ram),
    )
    show(_report_table(library.report))
    typer.echo(f"written to {out}")


class RunnerKind(StrEnum):
    """Where candidates are measured (irnn_tvm.tuning.runners)."""

    local = "local"
    emulator = "emulator"
    rpc = "rpc"


@app.command()
def tune(
    model: Annotated[Path | None, typer.Argument(help="An integer RNN graph saved as .pt2.")] = None,
    example: Annotated[Example | None, typer.Option(help="A pretrained example instead of a file.")] = None,
    target: Annotated[str, typer.Option("--target", "-t", help="See `irnn-tvm targets`.")] = "host",
    trials: Annotated[int, typer.Option(min=1, help="Candidates to measure.")] = 256,
    seconds: Annotated[float | None, typer.Option(help="Stop earlier when they are over.")] = None,
    tracker: Annotated[str | None, typer.Option(help="host:port of an RPC tracker.")] = None,
    key: Annotated[str, typer.Option(help="Key by which devices registered there.")] = "",
    server: Annotated[str | None, typer.Option(help="host:port of one RPC server.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Devices of the tracker to use at a time.")] = 1,
    timeout: Annotated[float | None, typer.Option(help="Seconds for a measurement.")] = None,
    runner: Annotated[
        RunnerKind | None, typer.Option(help="Default: devices if given, else this machine, else QEMU.")
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="For a board: builds, flashes and reads what lies in {folder}.")
    ] = None,
    board: Annotated[str, typer.Option(help="The board's name in the records.")] = "board",
    logs: Annotated[Path | None, typer.Option(help="Folder of logs; default: the user's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the latest unfinished job.")] = False,
    job: Annotated[str | None, typer.Option(help="Go on with the job of this id.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that build candidates.")] = None,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    batch: Annotated[int, typer.Option(help="Sequences per call.")] = 1,
    max_seq_len: Annotated[int | None, typer.Option(help="Longest sequence of one call.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the best over the trials to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Search for faster kernels of a model; `build` takes what was found."""
    from dataclasses import asdict

    import irnn_tvm
    from irnn_tvm.tuning.tables import result_table

    source = _source(model, example, target)
    result = irnn_tvm.tune(
        source,
        target,
        trials=trials,
        rpc=_rpc(tracker, key, server, devices, timeout),
        runner=None if runner is None else runner.value,
        command=command,
        board=board,
        logs=logs,
        seconds=seconds,
        resume=job or resume,
        batch=batch,
        max_seq_len=max_seq_len,
        workers=workers,
        timeout=timeout,
        seed=seed,
        progress=not as_json,
    )
    if as_json:
        typer.echo(json.dumps(asdict(result) | {"logs": str(result.logs)}))
    else:
        show(result_table(result))
    if plot is not None:
        from irnn_tvm.tuning import figure, records

        figure.plot(records.read(result.logs), plot, result.target)


def _source(model: Path | None, example: Example | None, target: str) -> Any:
    """The model that a command is about. A misspelt target is refused before minutes of work."""
    from irnn_tvm.targets import get

    if (model is None) == (example is None):
        raise typer.BadParameter("give either a .pt2 file or --example")
    get(target)
    if example is None:
        return model
    from irnn_tvm.examples import load_example

    return load_example(example.value)


def _rpc(tracker: str | None, key: str, server: str | None, devices: int, timeout: float | None) -> Any:
    """An RPC of options; None where there are none."""
    import irnn_tvm

    if tracker is None and server is None:
        return None
    more = {} if timeout is None else {"session_timeout": timeout}
    return irnn_tvm.RPC(tracker=tracker, key=key, server=server, devices=devices, **more)


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
    show(_report_table(content))
    if content.get("kernels"):
        show(_kernel_table(content["kernels"]))


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
    tracker: Annotated[
        str | None, typer.Option("--rpc", help="host:port of an RPC tracker (with --key) or server.")
    ] = None,
    key: Annotated[str, typer.Option(help="Key by which devices registered at the tracker.")] = "",
    calls: Annotated[int, typer.Option(min=10, help="Calls to time on the device.")] = 200,
) -> None:
    """Measure a built library: wall-clock time where it runs here, else instructions per step in QEMU.

    With --rpc on a device: there its integers are compared with those of the library here or in QEMU, and latencies are
    given as percentiles.
    """
    if tracker is not None:
        from irnn_tvm.tuning.on_device import bench_library

        result = bench_library(directory, _rpc(tracker if key else None, key, None if key else tracker, 1, None),
                               steps, calls, model)  # fmt: skip
        if as_json:
            typer.echo(json.dumps(result))
        else:
            show(_pairs_table(str(directory), result))
        return
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
        show(_pairs_table(str(directory), result))


def _profile(directory: Path, steps: int, as_json: bool, model: Path | None, plot: Path | None) -> None:
    from irnn_tvm import profiling

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


class Layout(StrEnum):
    """For what build system a library is laid out (irnn_tvm.runtime.layouts)."""

    plain = "plain"
    cmake = "cmake"
    arduino = "arduino"
    platformio = "platformio"
    zephyr = "zephyr"
    cmsis_pack = "cmsis-pack"


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(help="What `build` wrote.")],
    out: Annotated[Path, typer.Argument(help="Directory to write.")],
    layout: Annotated[Layout, typer.Option("--layout", "-l", help="For what build system.")] = Layout.plain,
) -> None:
    """Lay a library out for a firmware project, with a minimal program and a self-test."""
    from irnn_tvm.runtime import load

    written = load(directory).export(out, layout.value)
    for path in sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file()):
        typer.echo(path)


@app.command()
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
        show(_pairs_table(f"{part}, bytes", result.pop(part)))
    show(_pairs_table(str(result.pop("library")), result))
    for name, values in outputs.items():
        typer.echo(f"{name}: {' '.join(str(v) for v in values)}")


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
    show(table)


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
        show(table)
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
        show(g2p.table(result))


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
