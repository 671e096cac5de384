"""`irnn-tvm build` and `irnn-tvm tune`: what is done with a model."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from irnn_tvm.cli.root import command
from irnn_tvm.cli.shown import report_table
from irnn_tvm.terminal import show


class Example(StrEnum):
    """Pretrained models that build from one name."""

    g2p_encoder = "g2p-encoder"
    g2p_decoder = "g2p-decoder"
    textgenrnn = "textgenrnn"


class RunnerKind(StrEnum):
    """Where candidates are measured (irnn_tvm.tuning.runners)."""

    local = "local"
    emulator = "emulator"
    rpc = "rpc"
    command = "command"


# What several commands ask for.
Model = Annotated[Path | None, typer.Argument(help="An integer RNN graph saved as .pt2.")]
Pretrained = Annotated[Example | None, typer.Option(help="A pretrained example instead of a file.")]
TargetName = Annotated[str, typer.Option("--target", "-t", help="See `irnn-tvm targets`.")]
Batch = Annotated[
    int | None, typer.Option(min=1, help="Sequences per call; default: 1. A .pt2 file has its own.")
]
SeqLen = Annotated[
    int | None, typer.Option(min=1, help="Fixes the length of sequences; default: a run-time value.")
]
MaxSeqLen = Annotated[int | None, typer.Option(min=1, help="Longest sequence of one call.")]


@command(
    "irnn-tvm build model.pt2 --target host --out out",
    "irnn-tvm build model.pt2 --target cortex-m4 --out m4 --flash 60000 --ram 4000",
    "irnn-tvm build model.pt2 --target c --out sources --seq-len 20",
    "irnn-tvm build model.pt2 --target cortex-m4 --out m4 --placement .ext_flash",
)
def build(
    model: Model = None,
    example: Pretrained = None,
    target: TargetName = "host",
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory to write.")] = Path("out"),
    name: Annotated[str | None, typer.Option(help="Name of the library, a lower-case C identifier.")] = None,
    batch: Batch = None,
    seq_len: SeqLen = None,
    max_seq_len: MaxSeqLen = None,
    threads: Annotated[int, typer.Option(help="Threads that share the work of large products.")] = 1,
    sources: Annotated[
        bool,
        typer.Option("--sources", help="For a microcontroller: C99 sources instead of a static library."),
    ] = False,
    flash: Annotated[
        int | None, typer.Option(min=0, help="Refuse a library that needs more bytes of flash.")
    ] = None,
    ram: Annotated[
        int | None, typer.Option(min=0, help="Refuse a library that needs more bytes of RAM.")
    ] = None,
    placement: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[KERNEL=]SECTION",
            help="Linker section of all constants, or of those that a kernel reads; may be repeated.",
        ),
    ] = None,
    stream_weights: Annotated[
        str | None,
        typer.Option(
            metavar="SECTION", help="Section of weights that NAME_fetch brings before they are read."
        ),
    ] = None,
    tuning_logs: Annotated[
        Path | None, typer.Option(help="Folder of logs of `tune`; default: the user's and those that ship.")
    ] = None,
    default_kernels: Annotated[
        bool, typer.Option("--default-kernels", help="Take no tuning logs at all.")
    ] = False,
) -> None:
    """Build a C-ABI library from an integer graph, or from a pretrained example."""
    import irnn_tvm
    from irnn_tvm.compiler.names import clean_name

    if default_kernels and tuning_logs is not None:
        raise typer.BadParameter("give either --tuning-logs or --default-kernels")
    places = _placement(placement or [])
    source = model_source(model, example, target)
    library = irnn_tvm.build(
        source,
        target=target,
        out=out,
        name=name or clean_name(example.value if example is not None else str(model and model.stem)),
        batch=batch,
        seq_len=seq_len,
        max_seq_len=max_seq_len,
        threads=threads,
        sources=sources,
        memory=irnn_tvm.Memory(flash=flash, ram=ram),
        placement=places,
        stream_weights=stream_weights,
        tuning_logs=False if default_kernels else tuning_logs,
    )
    show(report_table(library.report))
    typer.echo(f"written to {out}")


@command(
    "irnn-tvm tune model.pt2 --trials 8 --logs logs",
    "irnn-tvm tune model.pt2 --target cortex-m4 --trials 4 --logs logs --json",
    "irnn-tvm tune model.pt2 --trials 8 --logs logs --resume",
)
def tune(
    model: Model = None,
    example: Pretrained = None,
    target: TargetName = "host",
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Candidates to measure; default: 256, or as many as the resumed job has."),
    ] = None,
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
    batch: Batch = None,
    seq_len: SeqLen = None,
    max_seq_len: MaxSeqLen = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the best over the trials to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Search for faster kernels of a model; `build` takes what was found."""
    from dataclasses import asdict

    import irnn_tvm
    from irnn_tvm import figures
    from irnn_tvm.tuning.tables import result_table

    if tracker is None and server is None and (key or devices != 1):
        raise typer.BadParameter("--key and --devices belong to --tracker (and --key to --server)")
    if plot is not None:
        figures.check(plot)
    source = model_source(model, example, target)
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
        seq_len=seq_len,
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


def model_source(model: Path | None, example: Example | None, target: str) -> Any:
    """The model that a command is about. A misspelt target is refused before minutes of work."""
    from irnn_tvm.targets import get

    if (model is None) == (example is None):
        raise typer.BadParameter("give either a .pt2 file or --example")
    get(target)
    if example is None:
        return model
    from irnn_tvm.examples import load_example

    return load_example(example.value)


def _placement(texts: list[str]) -> dict[str, str] | None:
    """What `build` takes of ["gru_step=.fast", ".ext_flash"]."""
    places: dict[str, str] = {}
    for text in texts:
        kernel, equals, section = text.rpartition("=")
        kernel = kernel if equals else "*"
        if kernel in places:
            raise typer.BadParameter(f"--placement names two sections of {kernel!r}")
        places[kernel] = section
    return places or None


def _rpc(tracker: str | None, key: str, server: str | None, devices: int, timeout: float | None) -> Any:
    """An RPC of options; None where there are none."""
    import irnn_tvm

    if tracker is None and server is None:
        return None
    more = {} if timeout is None else {"session_timeout": timeout}
    return irnn_tvm.RPC(tracker=tracker, key=key, server=server, devices=devices, **more)
