"""Observers propose the range that their name promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from irnn_tvm.quantization.observers import (
    OBSERVERS,
    Histogram,
    MinMaxObserver,
    MovingAverageObserver,
    MseObserver,
    PercentileObserver,
)


def test_min_max() -> None:
    observer = MinMaxObserver()
    assert observer.empty
    for batch in ([1.0, -2.0], [0.5], [3.0]):
        observer.update(torch.tensor(batch))
    assert observer.range() == (-2.0, 3.0)
    assert not observer.empty


def test_moving_average() -> None:
    observer = MovingAverageObserver(momentum=0.25)
    observer.update(torch.tensor([-1.0, 1.0]))
    observer.update(torch.tensor([-2.0, 5.0]))
    assert observer.range() == (-1.25, 2.0)
    assert (observer.low, observer.high) == (-2.0, 5.0)


def test_percentile_drops_outliers() -> None:
    observer = PercentileObserver(percentile=99.0)
    values = torch.linspace(-1, 1, 10_001)
    observer.update(torch.cat((values, torch.tensor([100.0]))))
    low, high = observer.range()
    assert -1.0 <= low < -0.9
    assert 0.9 < high < 1.1
    everything = PercentileObserver(percentile=100.0)
    everything.update(values)
    assert everything.range() == (-1.0, 1.0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_mse_clips_a_rare_outlier_but_not_uniform_data(symmetric: bool) -> None:
    uniform = MseObserver(8, symmetric)
    uniform.update(torch.linspace(-1, 1, 4001))
    low, high = uniform.range()
    assert low < -0.95
    assert high > 0.95
    heavy = MseObserver(8, symmetric)
    heavy.update(torch.cat((torch.linspace(-1, 1, 1_000_001), torch.tensor([4.0]))))
    low, high = heavy.range()
    assert high < 3.0
    assert not symmetric or low == -high


@pytest.mark.parametrize("name", sorted(OBSERVERS))
def test_empty_batches_are_ignored(name: str) -> None:
    observer = OBSERVERS[name]()
    observer.update(torch.empty(0, 3))
    assert observer.empty
    observer.update(torch.zeros(3))
    assert observer.range() == (0.0, 0.0)
    observer.update(torch.tensor([0.5]))
    assert observer.high == 0.5


def test_histogram_keeps_all_values_while_its_range_grows() -> None:
    histogram = Histogram()
    histogram.update(torch.zeros(7))
    for scale in (0.01, 1.0, 30.0, 0.1):
        histogram.update(scale * torch.randn(1000))
    assert histogram.total == 4007
    assert histogram.limit in (64.0, 128.0)
    assert histogram.edges()[0] == -histogram.limit
    once = Histogram()
    torch.manual_seed(1)
    data = torch.randn(5000)
    once.update(data * 40)
    assert abs(once.quantile(0.5)) < 2.0
    assert once.share_outside(-1e9, 1e9) == 0.0
    assert abs(once.share_outside(-40.0, 40.0) - 0.317) < 0.03


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-3, 1.0, 7.0, 1e30])
def test_histogram_counts_as_numpy_does(scale: float) -> None:
    torch.manual_seed(0)
    edges = scale * torch.tensor([0.0, -0.0, 1.0, -1.0, 4.0, -4.0, 3.0])
    batches = [torch.randn(500) * scale, edges, torch.randn(500, dtype=torch.float64) * scale]
    histogram = Histogram()
    for batch in batches:
        histogram.update(batch)
    limits = (-histogram.limit, histogram.limit)
    values = np.concatenate([batch.double().numpy() for batch in batches])
    expected, _ = np.histogram(values, bins=histogram.counts.size, range=limits)
    assert (histogram.counts == expected).all()


def test_histogram_on_an_integer_grid_counts_saturated_values_at_the_ends() -> None:
    histogram = Histogram()
    histogram.update(torch.tensor([-50.0, 0.3, 0.3, 50.0, 50.0]))
    grid = histogram.on_grid(scale=0.1, zero_point=0, bits=8)
    assert grid.shape == (256,)
    assert np.isclose(grid.sum(), 5.0)
    assert grid[0] == 1.0
    assert grid[-1] == 2.0
