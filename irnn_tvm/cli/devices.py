"""`irnn-tvm rpc-server`, `rpc-server-build` and `rpc-tracker`: what serves measurements on devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irnn_tvm.cli.root import command


@command(
    "irnn-tvm rpc-server --port 9091",
    "irnn-tvm rpc-server --tracker 127.0.0.1:9190 --key here",
    name="rpc-server",
)
def rpc_server(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets the network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any.")] = 9090,
    tracker: Annotated[str | None, typer.Option(help="host:port of a tracker to register at.")] = None,
    key: Annotated[str, typer.Option(help="What kind of device this is, for the tracker.")] = "",
    custom_address: Annotated[
        str | None, typer.Option(help="What the tracker tells clients to connect to.")
    ] = None,
) -> None:
    """Let others measure on this device. Whoever can connect may run code as you."""
    from irnn_tvm.tuning.device.server import serve

    serve(host, port, tracker, key, custom_address)


@command("irnn-tvm rpc-server-build --target armv7 --out rpc-server", name="rpc-server-build")
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


@command("irnn-tvm rpc-tracker --port 9190", name="rpc-tracker")
def rpc_tracker(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets the network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any.")] = 9190,
) -> None:
    """Keep a list of devices, and hand them out."""
    from irnn_tvm.tuning.device.tracker import track

    track(host, port)
