"""The report's benchmarks: the figures of the files, differences case by case, cases to look at."""

import pytest

from evaluated_sets import case, graded, seen, write_answers, write_drawn, write_evaluation
from filters.benchmark_section import pick
from filters.benchmarks import Picture, average_rounds, figures
from filters.evaluated import Coverage, Evaluated, read_evaluated
from filters.lineage import LineageError
from reported_line import page_of
from shards.storage import Storage

TASKS = ("composition_single", "distinction_single_cross")


@pytest.fixture
def out(tmp_path):
    return Storage(str(tmp_path))


def scored(out, name, following, shown, count=6, judge="j1", rejected=()):
    samples = [case(n, TASKS[n % 2]) for n in range(count)]
    rows = graded(samples, following, 4.0)
    for number, row in enumerate(rows["consistency"]):
        row["expected"] = 4.0 - number / 10
    rows["target_shows"] = [row for s in samples for row in seen([s], *shown[: len(s.subjects[0])])]
    of = write_drawn(out, samples, name=f"{name}_drawn", rejected=rejected)
    return write_evaluation(out, of, write_answers(out, of, rows, f"{name}_judged", judge), name=name)


def cell(step, total):
    figure = read_evaluated(step.storage).figures.totals[total]
    return f"{figure.value:.2f}{figure.low:.2f}–{figure.high:.2f}"


def row(page, first, heads="Evaluation"):
    """The row of a table whose first heading is `heads`."""
    at = next(n for n, row in enumerate(page.rows) if row[0] == heads)
    rows = [[" ".join(cell.split()) for cell in row] for row in page.rows[at + 1 :]]
    return next(row for row in rows if row[0].startswith(first))


def test_the_page_has_the_figures_of_the_files(out):
    step = scored(out, "tuned", 3.0, (True, True), rejected=["case-900"])
    page = page_of([step])
    heads = next(row for row in page.rows if row[0] == "Evaluation")
    assert heads[1:] == ["Overall", "COM", "DIS", "composition", "distinction"]
    assert page.rows[page.rows.index(heads) + 1] == [
        "composition single",
        "distinction single cross",
        "distinction single cross",
    ]
    found = row(page, "tuned")
    assert found[0] == "tuned6 of 7 cases (1 not drawn); subtasks: 2 in COM, 1 in DIS"
    assert found[1] == cell(step, "Overall")
    assert found[2] == cell(step, "COM")
    assert found[3] == f"{cell(step, 'DIS')}n = 3"
    subtasks = read_evaluated(step.storage).figures.subtasks
    measured = [(task, "composition") for task in TASKS] + [(TASKS[1], "distinction")]
    assert found[4:] == [
        f"{figure.value:.2f}{figure.low:.2f}–{figure.high:.2f}n = 3"
        for figure in (subtasks[task][measure] for task, measure in measured)
    ]
    assert "do not compare with published tables" in page.text
    overall = read_evaluated(step.storage).figures.totals["Overall"]
    assert f"Overall, tuned {overall.value:.2f}" in page.text


def test_what_was_not_measured_is_said_and_is_no_0(out):
    samples = [case(n) for n in range(4)]
    of = write_drawn(out, samples)
    page = page_of([write_evaluation(out, of, write_answers(out, of, graded(samples)))])
    assert row(page, "scored")[1:4] == ["not measured", "10.0010.00–10.00", "not measured"]
    assert "COM, scored 10.00" in page.text


def test_each_evaluation_stands_against_the_first_over_the_cases_of_both(out):
    base = scored(out, "base", 2.0, (True, False))
    tuned = scored(out, "tuned", 3.0, (True, True), count=4)
    page = page_of([tuned, base])
    label, *cells = row(page, "tuned − base", "Difference")
    assert label == "tuned − base4 cases of both"
    one, two = (read_evaluated(step.storage).figures.totals for step in (base, tuned))
    assert cells[2].startswith(f"{two['DIS'].value - one['DIS'].value:+.2f}")
    marked = [a["class"] for tag, a in page.tags if tag == "b" and a.get("class") in ("good", "bad")]
    assert "good" in marked
    assert "bad" in marked


def test_a_page_s_base_is_the_evaluation_it_names(out):
    steps = [scored(out, name, 2.0, (True, False)) for name in ("first", "second", "third")]
    page = page_of(steps, base="second")
    heads = [row[0] for row in page.rows if " − " in row[0]]
    assert [head.partition("6 cases")[0] for head in heads] == ["first − second", "third − second"]
    with pytest.raises(LineageError, match=r"base: expected a step .*\(first, second, third\), got 'fourth'"):
        page_of(steps, base="fourth")


def test_another_judge_is_told_and_not_compared(out):
    base = scored(out, "base", 2.0, (True, False))
    tuned = scored(out, "tuned", 3.0, (True, False), judge="j2")
    page = page_of([base, tuned])
    assert "not compared: another judge or wording of prompt following" in page.text


def test_cases_to_look_at_show_what_was_drawn_and_how_it_scored(out):
    page = page_of([scored(out, "tuned", 3.0, (True, True), count=12)], gallery=4)
    assert [a["data-of"] for tag, a in page.tags if a.get("class") == "gallery"] == [
        "Worst: tuned",
        "Middling: tuned",
        "Best: tuned",
    ]
    assert "prompt following 7.50" in page.text
    assert "shows its candidates yes · yes" in page.text
    assert sum(a.get("class") == "card" for _, a in page.tags) == 6
    assert page.text.count("drawn “Put") == 6


def test_a_set_that_was_evaluated_is_shown_once(out):
    page = page_of([scored(out, "tuned", 3.0, (True, True))])
    sections = [a["aria-labelledby"] for tag, a in page.tags if tag == "section"]
    assert [name for name in sections if name.startswith(("set", "benchmark"))] == ["benchmark-1"]
    judged = page.text.partition("The judge against the injected truth")[2].partition("Benchmark:")[0]
    assert "composition" not in judged.replace("composition_single", "")


def made(scores):
    pictures = [
        Picture(key=f"c{n:03d}", case=f"c{n:03d}", subtask="one", scores={"composition": s})
        for n, s in enumerate(scores)
    ]
    return Evaluated(
        by="task",
        asked={},
        resamples=100,
        seed=0,
        coverage=Coverage(cases=len(scores), scored=len(scores)),
        figures=figures(average_rounds(pictures), 100),
        pictures=pictures,
    )


def test_looks_are_of_the_tenths_they_say_and_no_case_is_in_two():
    looks = {name: (shown, size) for name, shown, size in pick(made([n / 30 for n in range(300)]), 3)}
    places = {name: [int(p.key[1:]) for p in shown] for name, (shown, _) in looks.items()}
    assert all(size == 30 for _, size in looks.values())
    assert all(n < 30 for n in places["Worst"])
    assert all(135 <= n < 165 for n in places["Middling"])
    assert all(n >= 270 for n in places["Best"])
    assert places["Worst"] != [0, 1, 2]
    for few in (1, 2, 5, 7):
        shown = [p.key for _, found, _ in pick(made(list(range(few))), 3) for p in found]
        assert len(shown) == len(set(shown)) == few
