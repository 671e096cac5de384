"""Recordings to mono samples at 16 kHz."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from irnn_tvm.errors import BuildError, InputError

SAMPLE_RATE = 16_000


def load(path: Path, speed: Fraction = Fraction(1)) -> NDArray[np.float32]:
    """Samples float32 [N] of an OGG Vorbis file (or another one that libsndfile reads), channels averaged.

    speed: 9/10 plays slower and lower, 11/10 faster and higher, as tape does: augmentation of training data.
    An empty recording gives an empty array. InputError when the file cannot be decoded.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the library that it binds is missing
        raise BuildError(
            f"decoding the recordings needs the package soundfile (irnn-tvm[examples]): {error}"
        ) from error
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path} cannot be decoded: {error}") from error
    mono = samples.mean(axis=1)
    ratio = Fraction(SAMPLE_RATE, rate) / speed
    if ratio != 1 and mono.size:
        mono = resample_poly(mono, ratio.numerator, ratio.denominator)
    return np.ascontiguousarray(mono, dtype=np.float32)
