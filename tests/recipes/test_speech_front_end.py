"""Front end of the speech recipe, against formulas written out slowly."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech import audio
from irnn_tvm.examples.speech.features import (
    FeatureSettings,
    background,
    log_mel,
    mel_filters,
    normalize,
    stack,
)

SMALL = FeatureSettings(window=20, hop=8, fft=32, bands=4, low=100.0, high=7000.0)


def slow_log_mel(samples: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """The definition, one number at a time: DFT sums, triangles from their three corners."""
    emphasized = [float(samples[0])]
    for n in range(1, len(samples)):
        emphasized.append(float(np.float32(samples[n] - np.float32(settings.preemphasis) * samples[n - 1])))
    size, bins = settings.fft, settings.fft // 2 + 1
    low, high = (2595 * math.log10(1 + f / 700) for f in (settings.low, settings.high))
    corners = [
        700 * (10 ** ((low + (high - low) * i / (settings.bands + 1)) / 2595) - 1)
        for i in range(settings.bands + 2)
    ]
    rows = []
    for start in range(0, len(samples) - settings.window + 1, settings.hop):
        frame = [
            emphasized[start + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / settings.window))
            for n in range(settings.window)
        ]
        power = []
        for k in range(bins):
            real = sum(value * math.cos(2 * math.pi * k * n / size) for n, value in enumerate(frame))
            imaginary = sum(value * math.sin(2 * math.pi * k * n / size) for n, value in enumerate(frame))
            power.append(real**2 + imaginary**2)
        row = []
        for band in range(settings.bands):
            left, centre, right = corners[band : band + 3]
            total = 0.0
            for k in range(bins):
                f = k * 16_000 / size
                if left < f <= centre:
                    total += power[k] * (f - left) / (centre - left) * 2 / (right - left)
                elif centre < f < right:
                    total += power[k] * (right - f) / (right - centre) * 2 / (right - left)
            row.append(total)
        rows.append(row)
    floor = max(max(map(max, rows)) * 10 ** (-settings.dynamic_range / 10), 1e-10)
    return np.array([[math.log(max(value, floor)) for value in row] for row in rows])


def test_log_mel_is_its_definition() -> None:
    samples = np.random.default_rng(0).normal(size=101).astype(np.float32)
    got = log_mel(samples, SMALL)
    assert got.shape == (1 + (101 - 20) // 8, 4)
    np.testing.assert_allclose(got, slow_log_mel(samples, SMALL), rtol=1e-5, atol=1e-5)


def test_a_tone_is_in_its_band() -> None:
    settings = FeatureSettings()
    for frequency in (300.0, 1000.0, 4000.0):
        tone = np.sin(2 * np.pi * frequency * np.arange(1600) / 16_000).astype(np.float32)
        centre = mel_filters(settings).argmax(axis=1)[log_mel(tone, settings).mean(axis=0).argmax()]
        assert abs(centre * 16_000 / 512 - frequency) < 0.1 * frequency + 32


def test_silence_is_cut_off_below_the_loudest_band() -> None:
    samples = np.zeros(4000, np.float32)
    samples[:800] = np.random.default_rng(1).normal(size=800)
    features = log_mel(samples, FeatureSettings(dynamic_range=60.0))
    assert features.max() - features.min() == pytest.approx(6 * math.log(10), rel=1e-5)
    assert np.isfinite(log_mel(np.zeros(4000, np.float32), FeatureSettings())).all()


def test_recordings_shorter_than_a_window_are_refused() -> None:
    with pytest.raises(InputError, match="19 samples is shorter than a window of 20"):
        log_mel(np.zeros(19, np.float32), SMALL)


def test_normalized_bands() -> None:
    features = np.random.default_rng(2).normal(3, 5, (50, 4)).astype(np.float32)
    features[:, 1] = 7.0
    got = normalize(features)
    np.testing.assert_allclose(got.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(got.std(axis=0), [1, 0, 1, 1], atol=1e-5)
    features[7, 0] = 1e4  # an outlier of 7 standard deviations
    cut = normalize(features, limit=4.0)
    assert cut[7, 0] == 4.0
    assert normalize(features, limit=100.0)[7, 0] > 6.9
    np.testing.assert_array_equal(cut[:, 1:], got[:, 1:])


@pytest.mark.parametrize("frames", [1, 5, 6, 7, 24])
def test_stacked_frames_are_in_order_and_followed_by_background(frames: int) -> None:
    features = np.arange(frames * 2, dtype=np.float32).reshape(frames, 2)
    got = stack(features, factor=3, multiple=2)
    assert got.shape == (2 * -(-frames // 6), 6)
    flat = got.reshape(-1, 2)
    assert (flat[:frames] == features).all()
    assert (flat[frames:] == background(features)).all()


def test_recordings_become_mono_at_16_khz(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="soundfile (irnn-tvm[examples]) decodes recordings")
    time = np.arange(22_050) / 22_050
    tone = np.stack([np.sin(2 * np.pi * 440 * time), np.zeros_like(time)], axis=1)
    soundfile.write(tmp_path / "tone.ogg", tone, 22_050, format="OGG", subtype="VORBIS")
    samples = audio.load(tmp_path / "tone.ogg")
    assert abs(len(samples) - 16_000) < 200
    # Half of the left channel: the mean of both.
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(samples)) / 16_000)
    assert np.abs(samples - expected)[500:15_000].max() < 0.05
    slower = audio.load(tmp_path / "tone.ogg", Fraction(9, 10))
    assert len(slower) / len(samples) == pytest.approx(10 / 9, rel=1e-3)
    spectrum = np.abs(np.fft.rfft(slower[:16_000]))
    assert spectrum.argmax() == pytest.approx(396, abs=1)


def test_files_that_are_no_recordings_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="soundfile (irnn-tvm[examples]) decodes recordings")
    (tmp_path / "text.ogg").write_text("no sound")
    with pytest.raises(InputError, match=r"text\.ogg cannot be decoded"):
        audio.load(tmp_path / "text.ogg")
