"""How a judge agrees with right answers: figures that are known, and labels that are none."""

import numpy as np
import pytest

from filters.agreement import (
    _kappas,
    agreement,
    confusions,
    expected_calibration_error,
    kappa,
    read_labels,
    retest,
    thresholds,
)
from filters.calibrate import CalibrateError
from filters.rubrics import load_questions

QUESTIONS = load_questions()


def row(key, yes, status="ok"):
    read = status == "ok"
    return {
        "key": key,
        "reference": -1,
        "candidate": -1,
        "probabilities": [1 - yes, yes] if read else [],
        "mode": float(yes > 0.5) if read else None,
        "expected": yes if read else None,
        "status": status,
    }


def right(values):
    return {(f"s{number}", -1, -1): value for number, value in enumerate(values)}


def test_a_judge_that_is_always_right_agrees_fully():
    truth = [0.0, 1.0] * 20
    found = agreement(QUESTIONS["copy_paste"], [row(f"s{n}", v) for n, v in enumerate(truth)], right(truth))
    assert (found.n, found.good, found.unread) == (40, 20, 0)
    assert found.auc.value == found.kappa.value == 1
    assert found.calibration_error.value == 0
    (at,) = found.confusions
    assert (at.good_kept, at.bad_kept, at.good_rejected, at.bad_rejected) == (20, 0, 0, 20)


def test_a_judge_that_guesses_agrees_by_chance_and_its_interval_says_so():
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 200).astype(float)
    rows = [row(f"s{n}", float(p)) for n, p in enumerate(random.random(200))]
    found = agreement(QUESTIONS["copy_paste"], rows, right(truth))
    assert found.auc.low < 0.5 < found.auc.high
    assert found.kappa.low < 0 < found.kappa.high


def test_unread_answers_are_counted_and_are_in_no_figure():
    rows = [row("s0", 1.0), row("s1", 0.0), row("s2", 0.0, status="unreadable")]
    found = agreement(QUESTIONS["copy_paste"], rows, right([1.0, 0.0, 1.0]))
    assert (found.n, found.unread) == (2, 1)
    assert found.auc.value == 1, "one of each kind is enough"


def test_one_kind_only_has_no_auc_and_no_kappa():
    found = agreement(QUESTIONS["copy_paste"], [row("s0", 1.0), row("s1", 0.9)], right([1.0, 1.0]))
    assert found.auc is None
    assert found.kappa is None


def test_rows_without_a_right_answer_are_an_error():
    with pytest.raises(CalibrateError, match="copy_paste: expected answers with a right one"):
        agreement(QUESTIONS["copy_paste"], [row("other", 1.0)], right([1.0]))


def test_grades_that_are_near_agree_more_than_grades_that_are_far():
    truth = np.array([0.0, 1, 2, 3, 4] * 4)
    assert kappa(truth, np.clip(truth + 1, 0, 4), range(5)) > kappa(truth, 4 - truth, range(5))


@pytest.mark.parametrize("labels", [2, 5])
def test_resampled_kappas_are_scikit_learns(labels):
    random = np.random.default_rng(2)
    truth, mode = random.integers(0, labels, (2, 300)).astype(float)
    counts = np.histogram2d(truth, mode, bins=np.arange(labels + 1) - 0.5)[0].astype(int)
    assert _kappas(counts[None])[0] == pytest.approx(kappa(truth, mode, range(labels)))


def test_a_judge_that_is_too_sure_is_badly_calibrated():
    sure = np.full(100, 0.95)
    assert expected_calibration_error(sure, np.repeat([1.0, 0.0], 50)) == pytest.approx(0.45)
    assert expected_calibration_error(np.array([0.1, 0.9]), np.array([1.0, 0.0])) == pytest.approx(0.9)
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0


def test_a_retest_tells_how_far_two_askings_are_apart():
    lost = row("s3", 0.0, status="unreadable")
    first = [row("s0", 0.9), row("s1", 0.6), row("s2", 0.1), lost, row("s4", 1.0), row("once", 0.3)]
    again = [row("s0", 0.8), row("s1", 0.4), row("s2", 0.1), row("s3", 1.0), lost | {"key": "s4"}]
    with pytest.raises(CalibrateError, match="expected answers that could be read both times, got none"):
        retest(first, [lost, row("new", 0.5)])
    found = retest(first, again)
    assert (found.n, found.same_mode) == (3, pytest.approx(2 / 3))
    assert found.mean_difference == pytest.approx(0.1)
    assert found.largest_difference == pytest.approx(0.2)


def test_labels_are_read_with_and_without_a_place(tmp_path):
    path = tmp_path / "labels.csv"
    lines = ("a,consistency,3,,", "b,presence,yes,0,", "c,target_shows,no,1,0")
    path.write_text("\n".join(["key,question,label,reference,candidate", *lines]))
    assert read_labels(path, QUESTIONS) == {
        "consistency": {("a", -1, -1): 3},
        "presence": {("b", 0, -1): 1},
        "target_shows": {("c", 1, 0): 0},
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,consistency,5", r"line 2: consistency: expected a label of 0, 1, 2, 3, 4, got '5'"),
        ("a,beauty,5", "line 2: expected key,question,label with a question of consistency"),
        (",consistency,3", "line 2: expected key,question,label"),
        ("a,presence,yes", "line 2: presence: expected a reference, from 0, and no candidate, got -1 and -1"),
        (
            "a,consistency,3\n\na,consistency,4",
            "line 4: consistency: expected the label that an earlier line",
        ),
        ("a\udcff,consistency,3", "expected a CSV of key,question,label in UTF-8, got 'utf-8' codec"),
    ],
)
def test_a_label_that_is_none_is_named_with_its_line(tmp_path, line, message):
    path = tmp_path / "labels.csv"
    path.write_bytes(f"key,question,label\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(CalibrateError, match=message):
        read_labels(path, QUESTIONS)


def test_a_place_that_is_no_number_or_too_deep_is_named_with_its_line(tmp_path):
    path = tmp_path / "labels.csv"
    head = "key,question,label,reference,candidate"
    for line, told in (
        ("a,presence,yes,one,", "line 2: expected reference and candidate as numbers"),
        ("a,presence,yes,0,0", "presence: expected a reference, from 0, and no candidate, got 0 and 0"),
        ("a,target_shows,yes,0,", "expected a reference and a candidate, from 0, got 0 and -1"),
        ("a,consistency,3,0,", "expected no reference and no candidate, got 0 and -1"),
    ):
        path.write_text(f"{head}\n{line}\n")
        with pytest.raises(CalibrateError, match=told):
            read_labels(path, QUESTIONS)


def test_labels_of_a_spreadsheet_are_read_and_said_twice_count_once(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("\ufeffkey,question,label\na,consistency,3\na,consistency,3\n", encoding="utf-8")
    assert read_labels(path, QUESTIONS) == {"consistency": {("a", -1, -1): 3}}


def test_labels_that_are_not_there_are_named(tmp_path):
    with pytest.raises(CalibrateError, match=r"labels\.csv: expected a CSV of key,question,label"):
        read_labels(tmp_path / "labels.csv", QUESTIONS)


def test_thresholds_are_those_that_an_unsure_judge_can_reach():
    truth = [0.0, 1.0] * 5
    rows = [row(f"s{n}", 0.1 + 0.8 * value) for n, value in enumerate(truth)]
    (at,) = agreement(QUESTIONS["copy_paste"], rows, right(truth)).confusions
    assert (at.threshold, at.good_kept, at.bad_rejected) == (0.5, 5, 5)
    (edge,) = confusions(np.array([0.5, 0.5]), np.array([True, False]), [0.5])
    assert (edge.good_kept, edge.bad_kept) == (1, 1), "the threshold itself is kept, as `select` keeps it"
    assert thresholds([0, 1, 2, 3, 4]) == [0.5, 1, 1.5, 2, 2.5, 3, 3.5]
