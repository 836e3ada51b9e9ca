"""Calibration: the area is scikit-learn's, the interval covers, the same scores give the same numbers."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from filters.calibrate import CalibrateError, auc, auc_with_interval, share_with_interval


@pytest.mark.parametrize("decimals", [1, 2, 17])
def test_the_area_is_scikit_learns_with_and_without_ties(decimals):
    random = np.random.default_rng(decimals)
    clean = random.normal(1, 1, 60).round(decimals)
    faulty = random.normal(0, 1, 45).round(decimals)
    expected = roc_auc_score([1] * 60 + [0] * 45, [*clean, *faulty])
    assert auc(clean, faulty) == pytest.approx(expected, abs=1e-12)


def test_shuffled_labels_give_a_half_and_an_interval_around_it():
    values = np.random.default_rng(0).normal(size=600)
    found = auc_with_interval(values[:300], values[300:])
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.12
    assert found.n == 600


def test_the_interval_covers_the_true_area_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    truth = 0.7602  # of two normal distributions one deviation apart
    found = [auc_with_interval(random.normal(1, 1, 60), random.normal(0, 1, 40), 300) for _ in range(100)]
    assert sum(each.low <= truth <= each.high for each in found) >= 88


def test_the_same_scores_give_the_same_interval_in_any_order():
    clean, faulty = [0.9, 0.7, 0.8, 0.4], [0.1, 0.5, 0.3]
    assert auc_with_interval(clean, faulty) == auc_with_interval(np.array(clean), faulty)


def test_many_scores_are_resampled_in_batches():
    random = np.random.default_rng(2)
    found = auc_with_interval(random.normal(1, 1, 20_000), random.normal(0, 1, 20_000), 40)
    assert found.low < 0.7602 < found.high


def test_memory_does_not_grow_with_scores_times_resamples():
    """A thousand resamples of 100,000 answers of yes or no would be 800 MB."""
    random = np.random.default_rng(4)
    clean, faulty = (random.integers(0, 2, 50_000) for _ in range(2))
    tracemalloc.start()
    try:
        auc_with_interval(clean, faulty)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_an_empty_side_is_an_error():
    with pytest.raises(CalibrateError, match="got 2 and 0"):
        auc([0.1, 0.2], [])
    with pytest.raises(CalibrateError, match="got 0"):
        share_with_interval(0, 0)


def test_all_or_none_of_a_few_is_not_certain():
    assert share_with_interval(5, 5).low < 0.6
    assert share_with_interval(0, 5).high > 0.4
