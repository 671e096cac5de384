"""`irnn-tvm logs ...`: looks at tuning logs, merges and prunes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from irnn_tvm.cli.root import app, command
from irnn_tvm.errors import InputError
from irnn_tvm.terminal import show

logs_app = typer.Typer(name="logs", no_args_is_help=True, help="Look at tuning logs, merge and prune them.")
app.add_typer(logs_app)
_LOGS_HELP = "Folder of logs, one folder per target in it; default: the user's."


@command(
    "irnn-tvm logs show logs", "irnn-tvm logs show --shipped --target arm --json", name="show", group=logs_app
)
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


@command("irnn-tvm logs plot logs --target cortex-m4 --out tuning.png", name="plot", group=logs_app)
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


@command("irnn-tvm logs merge logs others --out both", name="merge", group=logs_app)
def logs_merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of logs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; may be one of them.")],
) -> None:
    """Put the logs of several folders into one, without doubles."""
    from irnn_tvm.tuning import edit

    typer.echo(f"{edit.merge(folders, out):,} records in {out}")


@command("irnn-tvm logs prune logs --keep 3", name="prune", group=logs_app)
def logs_prune(
    folder: Annotated[Path | None, typer.Argument(help=_LOGS_HELP)] = None,
    keep: Annotated[int, typer.Option(min=0, help="Fastest ones to keep, besides the default.")] = 3,
) -> None:
    """Keep the fastest records of every task."""
    from irnn_tvm.tuning import edit
    from irnn_tvm.tuning import logs as logs_of

    before, after = edit.prune(folder or logs_of.user_folder(), keep)
    typer.echo(f"{after:,} of {before:,} records are left")


@command("irnn-tvm logs export exported --logs logs", name="export", group=logs_app)
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
