"""Pinned Debian packages as archives of data: downloaded by the system's apt, checked, read without installing.

`apt-get download` needs no root and leaves the system as it is. The archive is read here (an `ar` file that holds a
tar file), so that dpkg is not needed, and files that lie in the cache already need no apt either.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from irnn_tvm.errors import BuildError
from irnn_tvm.examples.download import cache_dir

_MAGIC = b"!<arch>\n"
_HEADER = 60


@dataclass(frozen=True)
class DebianPackage:
    """One `.deb`: `name=version` is what apt is asked for, `sha256` what the file must be."""

    name: str
    version: str
    filename: str
    sha256: str
    licence: str


def fetch(package: DebianPackage) -> Path:
    """Path of the `.deb` in the cache, downloaded on first use. BuildError when the pinned one cannot be had."""
    path = cache_dir() / package.filename
    if path.exists() and _digest(path) == package.sha256:
        return path
    apt = shutil.which("apt-get")
    by_hand = f"; put {package.filename} (SHA-256 {package.sha256}) into {path.parent} yourself to go on"
    if apt is None:
        raise BuildError(
            f"cannot download the Debian package {package.name}: there is no apt-get here{by_hand}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        command = [apt, "-qq", "download", f"{package.name}={package.version}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        got = sorted(Path(scratch).glob("*.deb"))
        if done.returncode != 0 or len(got) != 1:
            lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("W:")]
            reason = lines[-1] if lines else f"apt-get ended with {done.returncode}"
            raise BuildError(f"cannot download {package.name}={package.version}: {reason}{by_hand}")
        if _digest(got[0]) != package.sha256:
            raise BuildError(
                f"{package.name}={package.version} of this system's apt sources is not the pinned file: SHA-256 "
                f"{_digest(got[0])}, expected {package.sha256}{by_hand}"
            )
        got[0].replace(path)
    return path


def extract(archive: Path, into: Path, wanted: Callable[[str], bool]) -> int:
    """Unpacks the plain files whose path in the package (`usr/share/...`) is wanted. Returns how many.

    Owners and modes are not kept; a path that leads out of `into` is refused. BuildError for a damaged archive.
    """
    count = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(_data_member(archive))) as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if not member.isfile() or not wanted(name):
                    continue
                if name.startswith("/") or ".." in Path(name).parts:
                    raise BuildError(f"{archive.name} holds the path {member.name!r}, which leads out of it")
                stream = tar.extractfile(member)
                assert stream is not None
                target = into / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(stream.read())
                count += 1
    except (tarfile.TarError, EOFError, lzma.LZMAError) as error:
        raise BuildError(f"{archive.name} is damaged: {error}") from error
    return count


def _data_member(archive: Path) -> bytes:
    """The `data.tar.*` of a `.deb`: an ar file is a magic line, then headers of 60 bytes before each member."""
    raw = archive.read_bytes()
    position = len(_MAGIC)
    if raw[:position] != _MAGIC:
        raise BuildError(f"{archive.name} is not a Debian package")
    while position + _HEADER <= len(raw):
        header = raw[position : position + _HEADER]
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        size = int(header[48:58])
        position += _HEADER
        if position + size > len(raw):
            raise BuildError(f"{archive.name} is damaged: it ends inside of {name}")
        if name.startswith("data.tar"):
            return raw[position : position + size]
        position += size + size % 2
    raise BuildError(f"{archive.name} holds no data.tar")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
