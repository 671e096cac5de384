"""How a library is laid out for the build system of a firmware. One file per layout; `names()` lists them.

A layout says which files go where: copies of what the build wrote, and texts. Needs nothing but the standard library.
"""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from irnn_tvm.errors import LoadError
from irnn_tvm.runtime.export import staged

from . import arduino, cmake, cmsis_pack, plain, platformio, zephyr
from .package import Files, Package

LAYOUTS: Mapping[str, Callable[[Package], Files]] = MappingProxyType(
    {
        "plain": plain.files,
        "cmake": cmake.files,
        "arduino": arduino.files,
        "platformio": platformio.files,
        "zephyr": zephyr.files,
        "cmsis-pack": cmsis_pack.files,
    }
)


def names() -> tuple[str, ...]:
    """The names of all layouts."""
    return tuple(LAYOUTS)


def write(package: Package, layout: str, destination: Path) -> Path:
    """Writes a package into a directory, all or nothing; an earlier export or an empty directory is replaced.

    LoadError for an unknown layout, for a library that no firmware can take (a shared one), and where the place holds
    something else.
    """
    if layout not in LAYOUTS:
        close = difflib.get_close_matches(str(layout), LAYOUTS, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise LoadError(f"Unknown layout {layout!r}.{hint} Layouts: {', '.join(LAYOUTS)}.")
    if package.kind == "shared":
        raise LoadError(
            f"{package.name} for {package.target} is a shared library; layouts are for firmware: build it for a "
            "microcontroller, or for target c."
        )
    found = LAYOUTS[layout](package)
    with staged(destination) as staging:
        for place, content in {**found, "report.json": package.directory / "report.json"}.items():
            path = staging / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_text(content, encoding="utf-8")
    return destination
