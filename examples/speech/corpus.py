"""The corpus on disk: recordings and scripts out of the pinned packages, features computed once.

Fish Fillets - Next Generation is free software under the GNU GPL, version 2, its voices included: they serve here as
training data and are not part of this project, which downloads them on first use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from irnn_tvm.examples.download import cache_dir
from irnn_tvm.examples.speech import audio, debian
from irnn_tvm.examples.speech.dialogs import Clip, Manifest, read_manifest
from irnn_tvm.examples.speech.features import Array, FeatureSettings, log_mel, normalize

VERSION = "1.0.1-1.1"
PACKAGES = {
    "scripts": debian.DebianPackage(
        name="fillets-ng-data",
        version=VERSION,
        filename="fillets-ng-data_1.0.1-1.1_all.deb",
        sha256="25de89afd8b1adf7bcace8290248a6a22c89cd42300317e69000e162c032cf84",
        licence="GPL-2",
    ),
    "nl": debian.DebianPackage(
        name="fillets-ng-data-nl",
        version=VERSION,
        filename="fillets-ng-data-nl_1.0.1-1.1_all.deb",
        sha256="afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10",
        licence="GPL-2",
    ),
    "cs": debian.DebianPackage(
        name="fillets-ng-data-cs",
        version=VERSION,
        filename="fillets-ng-data-cs_1.0.1-1.1_all.deb",
        sha256="3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14",
        licence="GPL-2",
    ),
}
GAME = "usr/share/games/fillets-ng"
SPEEDS = (Fraction(1), Fraction(9, 10), Fraction(11, 10))
# Levels that no training clip comes from: of the 80 levels in alphabetical order every tenth, from two places on.
# Texts of "share" are spoken in any level and are training data.
SHARED_LEVEL = "share"
_VALID_OFFSET, _TEST_OFFSET, _EVERY = 4, 9, 10
_WANTED = re.compile(rf"{GAME}/(sound/.+/(nl|cs)/[^/]+\.ogg|script/[^/]+/[^/]*dialogs_(nl|cs)\.lua)")


@dataclass(frozen=True)
class Recording:
    """A clip with its normalized features float32 [frames, bands], one array per entry of the speeds asked for."""

    clip: Clip
    features: tuple[Array, ...]


def unpack() -> Path:
    """The game's folder with `sound` and `script` of both languages in the cache; unpacked on first use."""
    root = cache_dir() / f"fillets-ng-{VERSION}"
    if not root.exists():
        archives = [debian.fetch(package) for package in PACKAGES.values()]
        with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
            for archive in archives:
                debian.extract(archive, Path(scratch), lambda name: _WANTED.fullmatch(name) is not None)
            os.replace(Path(scratch) / GAME, root)
    return root


def split_levels(clips: Sequence[Clip]) -> dict[str, set[str]]:
    """{"train" | "valid" | "test": levels}, the same for every language because all levels are counted."""
    levels = sorted({clip.level for clip in clips} - {SHARED_LEVEL})
    valid, test = set(levels[_VALID_OFFSET::_EVERY]), set(levels[_TEST_OFFSET::_EVERY])
    return {"train": (set(levels) | {SHARED_LEVEL}) - valid - test, "valid": valid, "test": test}


def load(
    languages: Sequence[str],
    speeds: Sequence[Fraction] = SPEEDS,
    settings: FeatureSettings | None = None,
    advance: Callable[[float], None] = lambda share: None,
) -> tuple[dict[str, list[Recording]], dict[str, int]]:
    """({"train" | "valid" | "test": recordings in the order of their keys}, counts by reason).

    Features of speeds beside 1 are for training alone. advance: called with the share of the features that is
    ready. Recordings shorter than a window are left out and counted as "no sound".
    """
    settings = settings or FeatureSettings()
    root = unpack()
    everything = read_manifest(root, ("nl", "cs"))
    levels = split_levels(everything.clips)
    manifest = Manifest(everything.clips, read_manifest(root, languages).counts)
    tables = []
    for number, speed in enumerate(speeds):
        for place, language in enumerate(languages):
            tables.append((speed, _features(root, manifest, language, speed, settings)))
            advance((number * len(languages) + place + 1) / (len(speeds) * len(languages)))
    split: dict[str, list[Recording]] = {name: [] for name in levels}
    for clip in manifest.clips:
        if clip.language not in languages:
            continue
        found = [table[clip.key] for _, table in tables if clip.key in table]
        if len(found) < len(speeds):
            manifest.counts["no sound"] = manifest.counts.get("no sound", 0) + 1
            continue
        (part,) = (name for name, members in levels.items() if clip.level in members)
        split[part].append(Recording(clip, tuple(found) if part == "train" else (found[0],)))
    return split, manifest.counts


def _features(
    root: Path, manifest: Manifest, language: str, speed: Fraction, settings: FeatureSettings
) -> dict[str, Array]:
    """{key: features} of one language; read from the cache, where one array holds all clips one after another."""
    clips = [clip for clip in manifest.clips if clip.language == language]
    identity = json.dumps([VERSION, asdict(settings), [clip.key for clip in clips]])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    stem = cache_dir() / "speech-features" / f"{language}-speed{100 * speed}-{digest}"
    frames_path, data_path = stem.with_suffix(".json"), stem.with_suffix(".npy")
    if not frames_path.exists():
        stem.parent.mkdir(parents=True, exist_ok=True)
        jobs = [(root / clip.path, speed, settings) for clip in clips]
        with ProcessPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            arrays = list(pool.map(_one, jobs, chunksize=32))
        frames = {clip.key: len(array) for clip, array in zip(clips, arrays, strict=True)}
        with tempfile.TemporaryDirectory(dir=stem.parent) as scratch:
            np.save(Path(scratch) / "data.npy", np.concatenate(arrays).astype(np.float16))
            (Path(scratch) / "frames.json").write_text(json.dumps(frames))
            os.replace(Path(scratch) / "data.npy", data_path)
            os.replace(Path(scratch) / "frames.json", frames_path)
    frames = json.loads(frames_path.read_text())
    data = np.load(data_path).astype(np.float32)
    ends = np.cumsum(list(frames.values()))
    parts = np.split(data, ends[:-1])
    return {key: part for key, part in zip(frames, parts, strict=True) if len(part)}


def _one(job: tuple[Path, Fraction, FeatureSettings]) -> Array:
    path, speed, settings = job
    samples = audio.load(path, speed)
    if samples.size < settings.window:
        return np.empty((0, settings.bands), np.float32)
    return normalize(log_mel(samples, settings), settings.limit)
