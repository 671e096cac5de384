"""Debian packages as archives of data, and the real recordings where the system's apt has them."""

import hashlib
import io
import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from irnn_tvm.errors import BuildError
from irnn_tvm.examples.download import cache_dir
from irnn_tvm.examples.speech import corpus, debian
from irnn_tvm.examples.speech.dialogs import read_manifest
from irnn_tvm.examples.speech.text import LANGUAGES


def deb(members: dict[str, bytes], data_name: str = "data.tar.xz") -> bytes:
    """A `.deb` by hand: an odd first member, so that the padding of ar files is met."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    archive = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0"), (data_name, packed.getvalue())):
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        archive += content + b"\n" * (len(content) % 2)
    return archive


def package(content: bytes, name: str = "voices") -> debian.DebianPackage:
    return debian.DebianPackage(name, "1.0", f"{name}.deb", hashlib.sha256(content).hexdigest(), "GPL-2")


def test_wanted_files_are_extracted(tmp_path: Path) -> None:
    (tmp_path / "voices.deb").write_bytes(deb({"./usr/a.ogg": b"sound", "./usr/b.png": b"picture"}))
    count = debian.extract(tmp_path / "voices.deb", tmp_path / "out", lambda name: name.endswith(".ogg"))
    assert count == 1
    files = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert files == [tmp_path / "out/usr/a.ogg"]
    assert files[0].read_bytes() == b"sound"


@pytest.mark.parametrize("name", ["../outside.ogg", "/absolute.ogg", "./usr/../../outside.ogg"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "voices.deb").write_bytes(deb({name: b"sound"}))
    with pytest.raises(BuildError, match="leads out"):
        debian.extract(tmp_path / "voices.deb", tmp_path / "deep/out", lambda name: True)
    assert [p.name for p in tmp_path.rglob("*.ogg")] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not an archive", "is not a Debian package"),
        (deb({}, "control.tar.xz"), r"holds no data\.tar"),
        (deb({"a": b"x" * 5000})[:-40], "it ends inside of data.tar.xz"),
        (deb({"a": b"x" * 5000}).replace(b"\xfd7zXZ\x00", b"\xfd7zXZ\x01"), "is damaged"),
    ],
)
def test_damaged_archives_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "voices.deb").write_bytes(content)
    with pytest.raises(BuildError, match=message):
        debian.extract(tmp_path / "voices.deb", tmp_path / "out", lambda name: True)


def fake_apt(folder: Path, script: str) -> None:
    folder.mkdir()
    (folder / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "apt-get").chmod(0o755)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IRNN_TVM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_package_is_downloaded_once_and_checked(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = deb({"./usr/a.ogg": b"sound"})
    (tmp_path / "source.deb").write_bytes(content)
    calls = tmp_path / "calls"
    fake_apt(tmp_path / "bin", f'echo "$@" >>{calls}; cp {tmp_path}/source.deb voices_1.0_all.deb')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    wanted = package(content)
    assert debian.fetch(wanted) == debian.fetch(wanted) == cache / "voices.deb"
    assert calls.read_text().splitlines() == ["-qq download voices=1.0"]
    # A damaged file is replaced, another file than the pinned one refused.
    (cache / "voices.deb").write_bytes(b"half")
    assert debian.fetch(wanted).read_bytes() == content
    (cache / "voices.deb").unlink()
    (tmp_path / "source.deb").write_bytes(b"something else")
    with pytest.raises(BuildError, match="is not the pinned file"):
        debian.fetch(wanted)
    assert list(cache.iterdir()) == []


def test_without_the_package_or_apt_the_reason_and_the_way_out_are_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = package(b"x")
    fake_apt(
        tmp_path / "bin", 'echo "W: a warning" >&2; echo "E: Unable to locate package voices" >&2; exit 100'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(BuildError, match=r"voices=1\.0: E: Unable to locate.*put voices\.deb"):
        debian.fetch(wanted)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(BuildError, match="there is no apt-get here"):
        debian.fetch(wanted)


@pytest.fixture(scope="module")
def game() -> Path:
    """The unpacked recordings; skips where neither the cache nor apt has the pinned packages."""
    try:
        for pinned in corpus.PACKAGES.values():
            debian.fetch(pinned)
    except BuildError as error:
        pytest.skip(str(error))
    return corpus.unpack()


@pytest.mark.network
@pytest.mark.exhaustive
def test_pinned_packages_hold_the_corpus(game: Path) -> None:
    manifest = read_manifest(game, LANGUAGES)
    assert manifest.counts == {
        "recordings": 3498,
        "clips": 3398,
        "clips nl": 1606,
        "clips cs": 1792,
        "no transcript": 4,
        "empty transcript": 54,
        "not spelled out": 42,
    }
    split = corpus.split_levels(manifest.clips)
    held_out = {
        part: Counter(clip.language for clip in manifest.clips if clip.level in split[part])
        for part in ("valid", "test")
    }
    assert held_out == {"valid": {"nl": 164, "cs": 181}, "test": {"nl": 153, "cs": 171}}
    assert game.is_relative_to(cache_dir())
    texts = {clip.key: clip.text for clip in manifest.clips}
    assert texts["nl/airplane/let-m-divna"] == "wat is dit voor raar schip"
    assert texts["cs/airplane/let-m-divna"] == "co je to za divnou loď"
