"""The front end: log-mel energies of short windows, normalized per recording, several frames stacked to one step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech.audio import SAMPLE_RATE

Array = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureSettings:
    """window, hop: samples (25 and 10 ms). bands: mel filters between low and high Hz. dynamic_range: dB below the
    loudest band of a recording at which energies are cut off, so that digital silence is no outlier. limit: of
    normalized features, in standard deviations: a few outliers would take the integers' resolution from all others."""

    window: int = 400
    hop: int = 160
    fft: int = 512
    bands: int = 40
    low: float = 60.0
    high: float = 7600.0
    preemphasis: float = 0.97
    dynamic_range: float = 80.0
    limit: float = 4.0


def log_mel(samples: Array, settings: FeatureSettings) -> Array:
    """Samples [N] -> natural logarithms of mel energies float32 [frames, bands], frames = 1 + (N - window) // hop.

    Pre-emphasis x[n] - a x[n-1], Hann window, power spectrum, triangular filters of area 1 per Hz that are equally
    spaced on the scale mel = 2595 log10(1 + f / 700). InputError for fewer samples than a window.
    """
    if samples.size < settings.window:
        raise InputError(
            f"a recording of {samples.size} samples is shorter than a window of {settings.window}"
        )
    emphasized = np.append(samples[:1], samples[1:] - settings.preemphasis * samples[:-1]).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(emphasized, settings.window)[:: settings.hop]
    spectrum = np.fft.rfft(frames * _hann(settings.window), settings.fft, axis=1)
    energies = (spectrum.real**2 + spectrum.imag**2) @ mel_filters(settings).T
    floor = max(float(energies.max()) * 10 ** (-settings.dynamic_range / 10), 1e-10)
    return np.log(np.maximum(energies, floor)).astype(np.float32)


@lru_cache(maxsize=8)
def mel_filters(settings: FeatureSettings) -> NDArray[np.float64]:
    """Weights [bands, fft // 2 + 1] of the triangular filters."""
    mels = np.linspace(_mel(settings.low), _mel(settings.high), settings.bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = np.arange(settings.fft // 2 + 1) * SAMPLE_RATE / settings.fft
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (frequencies - left) / (centre - left)
    falling = (right - frequencies) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling)) * 2 / (right - left)


def normalize(features: Array, limit: float = FeatureSettings.limit) -> Array:
    """Mean 0 and variance 1 per band over the recording's frames, cut off at +-limit; a constant band becomes 0."""
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread < 1e-5, 1.0, spread)
    return np.clip(scaled, -limit, limit).astype(np.float32)


def background(features: Array) -> Array:
    """The level [bands] that stands for silence after the end: what 95 % of the frames exceed, band by band."""
    return np.percentile(features, 5, axis=0).astype(np.float32)


def stack(features: Array, factor: int, multiple: int) -> Array:
    """[frames, bands] -> [T, factor * bands]: `factor` frames make a step, T is a multiple of `multiple`.

    Background is appended. Recordings of one T make batches without masks: what is trained, quantized and run in a
    library are the same sequences.
    """
    steps = -(-len(features) // factor)
    frames = -(-steps // multiple) * multiple * factor
    padded = np.empty((frames, features.shape[1]), np.float32)
    padded[: len(features)] = features
    padded[len(features) :] = background(features)
    return padded.reshape(frames // factor, factor * features.shape[1])


def _mel(frequency: float) -> float:
    return float(2595 * np.log10(1 + frequency / 700))


@lru_cache(maxsize=8)
def _hann(size: int) -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
