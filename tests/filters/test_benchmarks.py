"""Benchmark figures: the published formulas, their intervals, and the difference of two evaluations."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.benchmarks import (
    COM,
    COMPOSITION,
    DIS,
    DISTINCTION,
    MEASURES,
    OVERALL,
    SHOWN,
    Cases,
    Picture,
    average_rounds,
    composition,
    distinction,
    figures,
    paired,
)

RESAMPLES = 200
GRADES = st.floats(0, 10, allow_nan=False)
FLAGS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6)


def picture(case, subtask="one", number=0, **scores):
    return Picture(key=f"{case}-{number}", case=case, subtask=subtask, scores=scores)


@st.composite
def drawn_pictures(draw):
    """Pictures of one to four subtasks, one to three rounds a case, some without an answer."""
    found = []
    for subtask in range(draw(st.integers(1, 4))):
        is_distinction = draw(st.booleans())
        for case in range(draw(st.integers(1, 6))):
            for number in range(draw(st.integers(1, 3))):
                scores = {COMPOSITION: draw(GRADES)} if draw(st.integers(0, 9)) else {}
                scores |= {SHOWN: draw(GRADES)} if is_distinction and draw(st.integers(0, 9)) else {}
                found.append(picture(f"c{subtask}-{case}", f"s{subtask}", number, **scores))
    return found


def made(pictures, seed=0):
    return figures(average_rounds(pictures), RESAMPLES, seed)


def every_figure(found):
    yield from found.totals.items()
    for name, held in found.subtasks.items():
        yield from ((f"{name}/{measure}", figure) for measure, figure in held.items())


def test_the_figures_are_the_published_formulas_on_numbers_worked_out_by_hand():
    pictures = [
        picture("a", "composition_single", composition=composition(9, 4)),  # 6
        picture("b", "composition_single", composition=composition(10, 10)),  # 10
        picture("c", "composition_multi", composition=composition(4, 1)),  # 2
        picture("d", "distinction_single_cross", composition=6.0, **distinction([True], [True])),  # 10
        picture("e", "distinction_single_cross", composition=8.0, **distinction([True], [False])),  # 0
        picture("f", "distinction_multi_cross", composition=3.0, distinction=9.0),
    ]
    found = made(pictures)
    means = {name: held[COMPOSITION].value for name, held in found.subtasks.items()}
    assert means == {
        "composition_multi": 2.0,
        "composition_single": 8.0,
        "distinction_multi_cross": 3.0,
        "distinction_single_cross": 7.0,
    }
    values = {name: figure.value for name, figure in found.totals.items()}
    assert values == {COM: (2 + 8 + 3 + 7) / 4, DIS: (9 + 5) / 2, OVERALL: (5 + 7) / 2}
    assert {name: figure.n for name, figure in found.totals.items()} == {COM: 6, DIS: 3, OVERALL: 6}


def test_no_interval_is_known_where_a_subtask_has_one_case():
    alone = [picture("a", "one", composition=2.0), picture("b", "two", composition=9.0, distinction=5.0)]
    found = made([*alone, picture("c", "two", composition=3.0), picture("d", "three", composition=1.0)])
    assert {name: figure.has_interval for name, figure in found.totals.items()} == dict.fromkeys(
        (COM, DIS, OVERALL), False
    )
    held = {name: figures[COMPOSITION].has_interval for name, figures in found.subtasks.items()}
    assert held == {"one": False, "two": True, "three": False}
    twice = [picture(f"{p.case}-too", p.subtask, **p.scores) for p in alone]
    assert all(figure.has_interval for figure in made([*alone, *twice]).totals.values())
    undecided = [*alone, *twice[:1], picture("e", "two", composition=4.0)]
    assert {n: f.has_interval for n, f in made(undecided).totals.items()} == {
        COM: True,
        DIS: False,
        OVERALL: False,
    }


def test_a_case_that_says_something_else_is_no_pair():
    old, same = picture("a", composition=2.0), picture("b", composition=2.0)
    new = [
        replace(old, content="another", scores={COMPOSITION: 9.0}),
        replace(same, scores={COMPOSITION: 3.0}),
    ]
    pairs = paired(average_rounds([old, same]), average_rounds(new))
    assert (pairs.places, pairs.values[COMPOSITION].tolist()) == ([("one", "b")], [1.0])


def test_what_no_case_was_asked_is_not_measured_and_not_0():
    found = made([picture("a", composition=5.0)])
    assert set(found.totals) == {COM}
    assert set(found.subtasks["one"]) == {COMPOSITION}
    assert made([]).totals == {}


def test_a_case_counts_once_however_many_rounds_it_has():
    few = [picture("a", composition=2.0), picture("b", composition=8.0)]
    many = [*few, *(picture("b", number=n, composition=8.0) for n in (1, 2))]
    assert made(many).totals[COM].value == made(few).totals[COM].value == 5.0


@given(FLAGS)
def test_distinction_scores_are_those_of_the_confusion_counts(flags):
    targets, shown = zip(*flags, strict=True)
    found = distinction(targets, shown)
    assert set(found) == set(DISTINCTION)
    assert all(0 <= value <= 10 for value in found.values())
    hits, yes, right = sum(t and s for t, s in flags), sum(shown), sum(targets)
    assert found["accuracy"] == pytest.approx(10 * sum(t == s for t, s in flags) / len(flags))
    if yes:
        assert found["precision"] == pytest.approx(10 * hits / yes)
    if right:
        assert found["recall"] == pytest.approx(10 * hits / right)
    if hits:
        p, r = found["precision"], found["recall"]
        assert found["f1"] == pytest.approx(2 * p * r / (p + r))
    assert found[SHOWN] == pytest.approx((found["accuracy"] + found["f1"]) / 2)
    assert (found[SHOWN] == 10) == (targets == shown)


@given(FLAGS)
def test_the_order_of_candidates_changes_no_distinction_score(flags):
    targets, shown = zip(*flags, strict=True)
    back = distinction(targets[::-1], shown[::-1])
    assert back == pytest.approx(distinction(targets, shown))


@given(drawn_pictures(), st.randoms(use_true_random=False))
def test_the_order_of_pictures_changes_nothing(pictures, random):
    shuffled = list(pictures)
    random.shuffle(shuffled)
    assert dict(every_figure(made(shuffled))) == dict(every_figure(made(pictures)))


@given(drawn_pictures())
def test_an_interval_contains_its_figure_and_stays_on_the_scale(pictures):
    for name, figure in every_figure(made(pictures)):
        assert 0 <= figure.low <= figure.value <= figure.high <= 10 + 1e-9, name


@given(drawn_pictures(), GRADES)
def test_a_subtask_s_cases_move_no_other_subtask(pictures, grade):
    before = made(pictures)
    moved = [
        replace(p, scores=dict.fromkeys(p.scores, grade)) if p.subtask == "s0" else p
        for p in [*pictures, picture("new", "s0", composition=1.0)]
    ]
    after = made(moved)
    assert {n: h for n, h in after.subtasks.items() if n != "s0"} == {
        n: h for n, h in before.subtasks.items() if n != "s0"
    }


@given(drawn_pictures())
def test_the_difference_of_an_evaluation_with_itself_is_exactly_0(pictures):
    cases = average_rounds(pictures)
    found = figures(paired(cases, cases), RESAMPLES)
    assert set(found.totals) == set(made(pictures).totals)
    assert all((f.value, f.low, f.high) == (0, 0, 0) for _, f in every_figure(found))


@given(drawn_pictures())
def test_a_difference_is_that_of_the_figures_where_both_have_all_cases(pictures):
    first = average_rounds(pictures)
    second = replace(first, values={m: first.values[m] * 0.5 + 1 for m in MEASURES})
    found = figures(paired(first, second), RESAMPLES)
    one, two = figures(first, RESAMPLES), figures(second, RESAMPLES)
    for name, figure in found.totals.items():
        assert figure.value == pytest.approx(two.totals[name].value - one.totals[name].value, abs=1e-9)


def test_only_cases_of_both_are_compared_each_in_its_own_subtask():
    first = average_rounds([picture("a", composition=1.0), picture("b", composition=2.0)])
    second = average_rounds(
        [picture("b", composition=5.0), picture("c", composition=9.0), picture("a", "two", composition=9.0)]
    )
    both = paired(first, second)
    assert both.places == [("one", "b")]
    assert both.values[COMPOSITION].tolist() == [3.0]
    assert both.count(SHOWN) == 0


def test_pairs_tell_a_difference_that_the_spread_of_cases_hides():
    random = np.random.default_rng(3)
    grades = random.uniform(1, 9, 60)
    first = average_rounds([picture(f"c{n:02d}", composition=g) for n, g in enumerate(grades)])
    better = average_rounds([picture(f"c{n:02d}", composition=g + 0.3) for n, g in enumerate(grades)])
    alone = [figures(cases, 1000).totals[COM] for cases in (first, better)]
    assert alone[0].high > alone[1].low
    found = figures(paired(first, better), 1000).totals[COM]
    assert found.low > 0.29
    assert found.value == pytest.approx(0.3)


def test_an_interval_is_as_wide_as_the_normal_one_and_narrows_with_the_root_of_the_cases():
    random = np.random.default_rng(5)
    widths = {}
    for count in (100, 400):
        values = random.normal(5, 1.5, count)
        found = made_of(values)
        widths[count] = found.high - found.low
        assert widths[count] == pytest.approx(2 * 1.96 * values.std() / math.sqrt(count), rel=0.12)
    assert widths[100] / widths[400] == pytest.approx(2, rel=0.2)


def made_of(values):
    pictures = [picture(f"c{n:03d}", composition=float(v)) for n, v in enumerate(values)]
    return figures(average_rounds(pictures), 2000).totals[COM]


def test_an_interval_holds_the_true_value_as_often_as_it_says():
    random = np.random.default_rng(7)
    sizes = {"one": 40, "two": 90, "three": 60}
    places = [(name, f"c{n:02d}") for name, size in sizes.items() for n in range(size)]
    holds = 0
    for trial in range(300):
        values = {m: np.full(len(places), np.nan) for m in MEASURES}
        values[COMPOSITION] = 10 * random.beta(4, 2, len(places))
        found = figures(Cases(places=places, contents=[""] * len(places), values=values), 300, trial).totals[
            COM
        ]
        holds += found.low <= 10 * 4 / 6 <= found.high
    assert 0.91 <= holds / 300 <= 0.98


def test_the_seed_decides_the_intervals_and_nothing_else():
    pictures = [picture(f"c{n}", composition=float(n % 7)) for n in range(20)]
    one, two = made(pictures, 1).totals[COM], made(pictures, 2).totals[COM]
    assert one == made(pictures, 1).totals[COM]
    assert one.value == two.value
    assert (one.low, one.high) != (two.low, two.high)


def test_a_large_set_is_resampled_in_parts_to_the_same_figures(monkeypatch):
    pictures = [picture(f"c{n:03d}", composition=float(n % 11)) for n in range(90)]
    whole = made(pictures)
    monkeypatch.setattr("filters.benchmarks.CELLS", 900)
    for (name, one), (_, two) in zip(every_figure(whole), every_figure(made(pictures)), strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high)), name
