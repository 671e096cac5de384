"""`irnn-tvm logs ...`, `rpc-server`, `rpc-server-build` and `rpc-tracker`. What is heavy is imported inside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from irnn_tvm.errors import InputError
from irnn_tvm.terminal import show

logs_app = typer.Typer(no_args_is_help=True, help="Look at tuning logs, merge and prune them.")
_LOGS_HELP = "Folder of logs, one folder per target in it; default: the user's."


@logs_app.command("show")
def logs_show(
    folder: Annotated[Path | None, typer.Argument(help=_LOGS_HELP)] = None,
    target: Annotated[str | None, typer.Option("--target", "-t", help="Of one target.")] = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="Those of the package.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per task.")] = False,
) -> None:
    """Show what was measured, and what build takes of it."""
    from irnn_tvm.tuning import edit, records
    from irnn_tvm.tuning import logs as logs_of
    from irnn_tvm.tuning.tables import records_table

    root = folder or (logs_of.shipped_folder() if shipped else logs_of.user_folder())
    names = edit.targets_in(root)
    if target is not None and target not in names:
        raise InputError(f"{root} has no logs of {target!r}; it has: {', '.join(names) or 'none'}")
    for name in [target] if target else names:
        found = records.read(root / name)
        if not as_json:
            show(records_table(name, found))
            continue
        for (task, how), group in records.groups(found).items():
            default, winner = records.default_of(group), records.ranked(group)[0]
            typer.echo(
                json.dumps(
                    {
                        "target": name,
                        "task": task,
                        "metric": how[0],
                        "device": how[1],
                        "cpu": how[2],
                        "versions": winner.versions,
                        "trials": len(group),
                        "default": default.value,
                        "best": winner.value,
                        "choice": json.loads(winner.choice.text()),
                    }
                )
            )


@logs_app.command("plot")
def logs_plot(
    folder: Annotated[Path | None, typer.Argument(help=_LOGS_HELP)] = None,
    target: Annotated[str | None, typer.Option("--target", "-t", help="Which of several.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .png, .svg or .pdf.")] = Path(
        "tuning.png"
    ),
) -> None:
    """Draw how much faster than the default the best was after each trial."""
    from irnn_tvm.tuning import edit, records
    from irnn_tvm.tuning import logs as logs_of
    from irnn_tvm.tuning.figure import plot

    root = folder or logs_of.user_folder()
    names = edit.targets_in(root)
    if target is None and len(names) == 1:
        target = names[0]
    if target not in names:
        asked = "give --target" if target is None else f"there are none of {target!r}"
        raise InputError(f"{root} has logs of: {', '.join(names) or 'nothing'}; {asked}")
    plot(records.read(root / target), out, target)
    typer.echo(f"written to {out}")


@logs_app.command("merge")
def logs_merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of logs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; may be one of them.")],
) -> None:
    """Put the logs of several folders into one, without doubles."""
    from irnn_tvm.tuning import edit

    typer.echo(f"{edit.merge(folders, out):,} records in {out}")


@logs_app.command("prune")
def logs_prune(
    folder: Annotated[Path | None, typer.Argument(help=_LOGS_HELP)] = None,
    keep: Annotated[int, typer.Option(min=0, help="Fastest ones to keep, besides the default.")] = 3,
) -> None:
    """Keep the fastest records of every task."""
    from irnn_tvm.tuning import edit
    from irnn_tvm.tuning import logs as logs_of

    before, after = edit.prune(folder or logs_of.user_folder(), keep)
    typer.echo(f"{after:,} of {before:,} records are left")


@logs_app.command("export")
def logs_export(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    folder: Annotated[Path | None, typer.Option("--logs", help=_LOGS_HELP)] = None,
    keep: Annotated[int, typer.Option(min=0, help="Fastest ones to keep, besides the default.")] = 1,
) -> None:
    """Write what others need to build the same libraries."""
    from irnn_tvm.tuning import edit
    from irnn_tvm.tuning import logs as logs_of

    edit.merge([folder or logs_of.user_folder()], out)
    _, after = edit.prune(out, keep)
    typer.echo(f"{after:,} records in {out}")


def rpc_server(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets the network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any.")] = 9090,
    tracker: Annotated[str | None, typer.Option(help="host:port of a tracker to register at.")] = None,
    key: Annotated[str, typer.Option(help="What kind of device this is, for the tracker.")] = "",
    custom_address: Annotated[
        str | None, typer.Option(help="What the tracker tells clients to connect to.")
    ] = None,
) -> None:
    """Let others measure on this device. Whoever can connect may run code as you."""
    from irnn_tvm.tuning.device.server import serve

    serve(host, port, tracker, key, custom_address)


def rpc_server_build(
    target: Annotated[str, typer.Option("--target", "-t", help="armv7, or arm and its like for AArch64.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Program to write.")],
    cxx: Annotated[
        str | None,
        typer.Option(help="C++17 compiler for the device, with its options, in the place of zig's clang."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Files compiled at a time; default: all cores.")
    ] = None,
) -> None:
    """Build a server in C++ for devices without Python, such as 32-bit ARM. Takes minutes the first time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from irnn_tvm.tuning.native_server.build import build_server

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("compiling", total=None)
        build_server(
            target,
            out,
            cxx,
            jobs,
            lambda done, of, name: bar.update(task, completed=done, total=of, description=name),
        )
    typer.echo(f"{out}: {out.stat().st_size:,} bytes. On the device: ./{out.name} --help")


def rpc_tracker(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets the network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 9190,
) -> None:
    """Keep a list of devices, and hand them out."""
    from irnn_tvm.tuning.device.tracker import track

    track(host, port)
