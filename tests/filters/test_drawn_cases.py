"""Which cases stand behind an evaluation's figures, and what is told of those that do not."""

import pytest

from evaluated_sets import case, graded, write_answers, write_drawn, write_evaluation
from filters.benchmarks import COM
from filters.drawn_cases import cases_lost
from filters.evaluated import read_evaluated
from filters.select import SelectConfig
from reported_line import finish
from shards.storage import Storage

COMPOSED = [case(n) for n in range(4)]


@pytest.fixture
def out(tmp_path):
    return Storage(str(tmp_path))


def evaluated(out, samples, rows, **drawn):
    of = write_drawn(out, samples, **drawn)
    return write_evaluation(out, of, write_answers(out, of, rows))


def selected(out, of, judged, **least):
    """What a selection keeps by a score."""
    chosen = out.child("kept-000000000000")
    SelectConfig(min_scores=least).make({"input": [of], "scores": [judged]}, chosen)
    parents = {"input": [of.manifest.directory]}
    return finish(chosen, {"name": "kept", "type": "select", "kind": "selection", "parents": parents})


def test_cases_that_were_not_drawn_are_told_and_in_no_mean(out):
    samples = [case(0), case(1), case(2, round_=1)]
    lost = ["case-002", "case-001-r1", "case-003", "case-003-r1", "case-003-r2"]
    step = evaluated(out, samples, graded(samples), rejected=lost)
    told = "3 of 4 cases (1 not drawn, 2 more pictures not drawn)"
    assert read_evaluated(step.storage).coverage.words == told
    assert told in step.manifest.stats["figures"]


def test_a_row_that_is_there_twice_is_one_case(out):
    lost = {"rejected": ["data.jsonl, line 9"], "reason": "duplicate_record"}
    step = evaluated(out, COMPOSED, graded(COMPOSED), **lost)
    assert read_evaluated(step.storage).coverage.words == "4 of 4 cases"


def test_what_another_step_rejected_was_no_case(out):
    step = evaluated(out, COMPOSED, graded(COMPOSED), rejected=["x-1"], type_="multi_candidate")
    assert read_evaluated(step.storage).coverage.words == "4 of 4 cases"


def test_a_key_that_ends_like_a_round_is_a_case_of_its_own():
    assert set(cases_lost(set(), ["fox-r1", "fox-r1-r1", "fox-r1-r2"])) == {"fox-r1"}
    assert cases_lost({"fox-r1", "hen"}, ["fox-r1-r2", "hen-r1"]) == ["fox-r1", "hen"]


def test_a_selection_is_evaluated_alone_and_the_rest_is_told(out):
    of = write_drawn(out, COMPOSED)
    rows = graded(COMPOSED)
    rows["consistency"][0]["expected"] = 0.0
    judged = write_answers(out, of, rows)
    kept = selected(out, of, judged, consistency=1)
    step = write_evaluation(out, kept, judged)
    assert read_evaluated(step.storage).figures.totals[COM].value == 10
    assert read_evaluated(step.storage).coverage.words == "3 of 4 cases (1 not selected)"


def test_the_best_of_several_rounds_are_not_shown_as_all_of_them(out):
    samples = [case(n, round_=round_) for n in range(3) for round_ in range(3)]
    of = write_drawn(out, samples, rejected=["case-000-r3"])
    rows = graded(samples)
    for number, row in enumerate(rows["consistency"]):
        row["expected"] = float(number % 3 + (number > 2))
    judged = write_answers(out, of, rows)
    kept = selected(out, of, judged, consistency=2)
    told = read_evaluated(write_evaluation(out, kept, judged).storage).coverage
    assert (told.pictures, told.unselected, told.unselected_pictures) == (5, 0, 4)
    assert told.words == "3 of 3 cases (1 more pictures not drawn, 4 more pictures not selected)"
