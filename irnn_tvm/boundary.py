"""The border of the public API: whatever goes wrong inside, what leaves it is an IrnnError of a class that fits.

Python 3.9 and the standard library alone: it is part of the runtime package.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from irnn_tvm.errors import InputError, InternalError, IrnnError, ResourceError

Call = TypeVar("Call", bound=Callable[..., Any])

_AT = "_irnn_at"  # attribute of an exception: layer and source line that were worked on when it was raised
_PLACES = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "the permission is missing",
    errno.EPERM: "the permission is missing",
    errno.EROFS: "the file system is read-only",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.ENOMEM: "there is not enough memory",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a part of the path is not a directory",
    errno.EISDIR: "it is a directory",
    errno.ENOENT: "it does not exist",
}


def public(call: Call) -> Call:
    """A function of the public API: IrnnError, KeyboardInterrupt and SystemExit pass, anything else becomes one."""

    @functools.wraps(call)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except (IrnnError, Warning):  # a warning is raised where the user has warnings be errors
            raise
        except Exception as error:
            _let_wrong_arguments_through(error)
            raise translate(error, call.__qualname__) from error

    return guarded  # type: ignore[return-value]


@contextlib.contextmanager
def working_on(layer: str, place: str | None) -> Iterator[None]:
    """Inside, errors learn what was worked on: an IrnnError gets the user's source line, others keep both for later.

    layer: what messages call it. place: "model.py:12: y = x + 1", None where there is no such line.
    """
    try:
        yield
    except IrnnError as error:
        if not hasattr(error, _AT):
            setattr(error, _AT, (layer, place))
            if place and place not in str(error):
                error.args = (f"{error} [{place}]", *error.args[1:])
        raise
    except Exception as error:
        if not hasattr(error, _AT):
            with contextlib.suppress(AttributeError):  # exceptions of C extensions may have no attributes
                setattr(error, _AT, (layer, place))
        raise


def translate(error: Exception, call: str) -> IrnnError:
    """The IrnnError for an error that left `call`: of memory or files, of the user's own code, or a defect of ours."""
    layer, place = getattr(error, _AT, ("", None))
    where = f" at {layer!r}" if layer else ""
    where += f" [{place}]" if place else ""
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return ResourceError(f"{call} ran out of memory{where}: {shortened(error)}")
    if isinstance(error, OSError) and error.errno in _PLACES:
        name = f"{error.filename}: " if error.filename else ""
        return ResourceError(f"{call} failed: {name}{_PLACES[error.errno]}")
    line = _users_line(error)
    if line is not None:
        return InputError(
            f"{call} ran code of yours, which raised {type(error).__name__}: {shortened(error)} [{line}]"
        )
    return InternalError(
        f"{call} failed{where}: {type(error).__name__}: {shortened(error)}. This is a defect of irnn_tvm: please "
        "report it with the traceback above, the model's code and the shapes of the calibration data"
    )


def shortened(error: BaseException | str, limit: int = 200) -> str:
    """The first line of a message that says something, at most `limit` characters of it."""
    lines = [line.strip() for line in str(error).splitlines()]
    noise = ("Traceback", "File ", "[bt]", "Stack trace", "!", "----")
    useful = [line for line in lines if line and not line.startswith(noise)] or ["(no message)"]
    text = useful[0]
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _let_wrong_arguments_through(error: Exception) -> None:
    """A call that does not fit the function's signature is Python's to explain."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, TypeError) and len(frames) == 1:
        raise error


def _is_ours(filename: str) -> bool:
    """Whether a file belongs to this package: errors that pass through TVM come with frames that know no module."""
    loaded = [module for name, module in sys.modules.items() if name.split(".")[0] == "irnn_tvm"]
    folders = {str(Path(file).parent) for file in (getattr(m, "__file__", None) for m in loaded) if file}
    return str(Path(filename).parent) in folders


def _users_line(error: Exception) -> str | None:
    """The line of the user's code that raised, or that called the library that did; None where it was ours."""
    paths = sysconfig.get_paths()
    libraries = tuple(paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))
    walked = list(traceback.walk_tb(error.__traceback__))
    lines = traceback.extract_tb(error.__traceback__)
    for (frame, _), line in reversed(list(zip(walked, lines))):
        if str(frame.f_globals.get("__name__", "")).split(".")[0] == "irnn_tvm" or _is_ours(line.filename):
            return None
        if not line.filename.startswith((*libraries, "<")) and "site-packages" not in line.filename:
            return f"{Path(line.filename).name}:{line.lineno}: {line.line}"
    return None
