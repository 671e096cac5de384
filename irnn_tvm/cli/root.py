"""The command `irnn-tvm` itself: how its parts are declared, and how it ends when something is wrong."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from irnn_tvm._version import __version__
from irnn_tvm.boundary import translate
from irnn_tvm.errors import InternalError, IrnnError

Callback = TypeVar("Callback", bound=Callable[..., Any])

# Command (with its group, if it has one) -> lines that run as they stand, in this order, in a folder with model.pt2,
# x.npy and a library in out/. They are the last part of --help.
EXAMPLES: dict[str, tuple[str, ...]] = {}
INTERRUPTED = 130
_ORDER = ("build", "run", "report", "bench", "tune", "logs", "export", "firmware", "targets", "pwl", "demo")


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
    """One line for every error, and a file with the traceback where it is a defect; warnings on one line, too. Exit
    codes: 2 for errors, 130 after Ctrl-C, 1 where nobody reads the output any more."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of a model's way, for --help."""
        known = super().list_commands(ctx)
        return [name for name in _ORDER if name in known] + [name for name in known if name not in _ORDER]

    def main(self, *arguments: Any, **options: Any) -> Any:
        """A wrong command line is one line, too: what is wrong, and where help is."""
        alone = options.pop("standalone_mode", True)
        options["standalone_mode"] = False
        if not alone:
            return super().main(*arguments, **options)
        try:
            code = super().main(*arguments, **options)
        except Exception as error:
            describe = getattr(
                error, "format_message", None
            )  # Typer's errors of usage: their class is private
            if describe is None:
                raise
            if type(error).__name__ == "NoArgsIsHelpError":
                typer.echo(describe(), err=True)
            else:
                context = getattr(error, "ctx", None)
                where = context.command_path if context else "irnn-tvm"
                said = " ".join(describe().replace("Value error, ", "").split()).rstrip(".")
                typer.echo(f"irnn-tvm: {said} (see {where} --help)", err=True)
            sys.exit(2)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        warnings.showwarning = _show_warning
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # What is left in the buffer would fail once more when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("irnn-tvm: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if isinstance(error, CLICK):
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


def command(
    *examples: str, name: str | None = None, group: typer.Typer = app
) -> Callable[[Callback], Callback]:
    """Declares a function as a command of a group. examples: command lines that run as they stand (`EXAMPLES`)."""

    def declare(function: Callback) -> Callback:
        own = name or function.__name__
        parent = "" if group is app else f"{group.info.name} "
        EXAMPLES[parent + own] = examples
        text = "\n\n".join(["Examples:", *examples])
        declared = group.command(own, epilog=text)(function)
        return declared

    return declare


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
