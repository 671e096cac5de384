"""Everything in one directory: header, library or sources, self-test, a main.c."""

from __future__ import annotations

from .package import Files, Package


def files(package: Package) -> Files:
    """The library's own files, so that `irnn_tvm.runtime.load` opens the directory, too."""
    library = [package.archive] if package.archive else []
    parts = [package.header, *library, *package.sources, *package.selftest]
    own = [package.directory / str(file) for file in package.report["files"]["sources"]]
    found = package.within("", [*parts, *own])
    runner = package.report["files"].get("runner")
    if runner:
        found[str(runner)] = package.directory / str(runner)
    return found | {"main.c": package.main()}
