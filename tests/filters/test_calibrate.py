"""Calibration measures: right on cases worked out by hand, and honest about noise."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from filters.calibrate import at_threshold, auc_with_interval


def test_auc_equals_scikit_learns_with_ties():
    random = np.random.default_rng(0)
    scores, labels = random.integers(0, 6, 200).astype(float), random.random(200) < 0.4
    assert auc_with_interval(list(scores), list(labels)).value == pytest.approx(roc_auc_score(labels, scores))


def test_shuffled_labels_give_a_half_within_the_interval():
    random = np.random.default_rng(1)
    auc = auc_with_interval(list(random.random(400)), [number % 2 == 0 for number in range(400)])
    assert auc.low < 0.5 < auc.high
    assert auc.high - auc.low < 0.15


def test_the_interval_holds_the_value_and_repeats_with_its_seed():
    random = np.random.default_rng(2)
    labels = [number < 50 for number in range(120)]
    scores = [random.normal(loc=float(label)) for label in labels]
    auc = auc_with_interval(scores, labels, seed=3)
    assert auc.low < auc.value < auc.high
    assert auc == auc_with_interval(scores, labels, seed=3)
    assert (auc.good, auc.bad) == (50, 70)


@pytest.mark.parametrize("labels", [[True, True], [False, False]])
def test_one_class_alone_is_refused(labels):
    with pytest.raises(ValueError, match="expected good and bad samples"):
        auc_with_interval([0.1, 0.2], labels)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="leave unreadable samples out"):
        auc_with_interval([0.1, float("nan")], [True, False])


def test_precision_and_recall_at_a_threshold():
    found = at_threshold([0.0, 2.0, 3.0, 4.0], [False, True, False, True], 3.0)
    assert (found.precision, found.recall, found.kept) == (0.5, 0.5, 2)
    assert at_threshold([0.0, 1.0], [False, True], 9.0).precision == 1.0
