"""`evaluate` on made sets: figures of the tables alone, every case accounted for."""

import hashlib
import json
import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

from evaluated_sets import PAIR, case, graded, seen, write_answers, write_drawn, write_evaluation
from filters.benchmarks import COM, DIS, OVERALL
from filters.checks import SCENE
from filters.comparison import comparisons, sides, signed_words
from filters.evaluate import EvaluateConfig, EvaluateError
from filters.evaluated import FILE, RESULT, EvaluatedError, read_evaluated
from filters.scored import SelectError
from filters.select import SelectConfig
from shards.manifest import verify
from shards.sample import Candidate, canonical_json
from shards.selection import read_selection
from shards.storage import Storage
from shards.tables import read_table
from tiny_samples import picture

COMPOSED = [case(n) for n in range(4)]
DISTINCT = [case(n, "distinction_single_cross") for n in range(10, 14)]


@pytest.fixture
def out(tmp_path):
    return Storage(str(tmp_path))


def evaluated(out, samples, rows, rejected=(), type_="draw", **settings):
    of = write_drawn(out, samples, rejected=rejected, type_=type_)
    return write_evaluation(out, of, write_answers(out, of, rows), **settings)


def values(step):
    return {name: figure.value for name, figure in read_evaluated(step.storage).figures.totals.items()}


def test_answers_of_0_to_4_are_scores_of_0_to_10(out):
    rows = graded(COMPOSED, following=3.6, consistency=1.6)
    step = evaluated(out, COMPOSED, rows)
    table = read_table(step.storage, "composition").to_pylist()
    assert [row["key"] for row in table] == [sample.key for sample in COMPOSED]
    assert {(row["expected"], row["status"], row["label_mass"]) for row in table} == {(6.0, "ok", 0.875)}
    assert values(step) == {COM: 6.0}
    assert step.manifest.stats["figures"] == (
        "COM 6.00 (6.00–6.00), DIS not measured, Overall not measured; 4 of 4 cases; subtasks: 1 in COM"
    )


def test_both_halves_are_of_all_subtasks_and_of_those_that_list_other_candidates(out):
    samples = [*COMPOSED, *DISTINCT]
    rows = graded(COMPOSED, 4, 4)
    for question, found in graded(DISTINCT, 2.5, 2.5).items():
        rows[question] += found
    rows["target_shows"] = [*seen(COMPOSED, True), *seen(DISTINCT, True, True)]
    step = evaluated(out, samples, rows)
    right = 10 * (0.5 + 2 / 3) / 2
    assert values(step) == pytest.approx({COM: (10 + 6.25) / 2, DIS: right, OVERALL: (8.125 + right) / 2})
    keys = read_table(step.storage, "distinction").column("key").to_pylist()
    assert keys == [sample.key for sample in DISTINCT]
    found = read_evaluated(step.storage)
    assert found.figures.subtasks["distinction_single_cross"]["recall"].value == 10
    assert {p.shown for p in found.pictures} == {(), (True, True)}


def test_a_figure_says_of_how_many_subtasks_it_is(out):
    samples = [case(0), case(1, "composition_multi"), *DISTINCT]
    rows = graded(samples) | {"target_shows": seen(DISTINCT, True, False)}
    rows["consistency"][1] |= {"status": "error", "expected": None, "mode": None}
    step = evaluated(out, samples, rows, tolerate_unreadable=0.2)
    told = read_evaluated(step.storage).behind
    assert told == "5 of 6 cases (1 unreadable); subtasks: 2 in COM, 1 in DIS"
    assert step.manifest.stats["figures"].endswith(told)


def test_the_directory_holds_what_its_manifest_says(out):
    step = evaluated(out, COMPOSED, graded(COMPOSED))
    verify(step.storage, step.manifest, out.child("stamps"))
    assert {FILE, RESULT, "scores/composition.parquet"} == set(step.manifest.files)
    step.manifest.books.check("scored")
    assert step.manifest.books.made == 4


def test_the_same_tables_make_the_same_bytes(tmp_path):
    texts = []
    for name in ("one", "two"):
        out = Storage(str(tmp_path / name))
        step = evaluated(out, COMPOSED, graded(COMPOSED))
        texts.append((step.storage.read(RESULT), step.storage.read(FILE)))
    assert texts[0] == texts[1]
    held = {"value": 10.0, "low": 10.0, "high": 10.0, "n": 4, "fewest": 4}
    assert json.loads(texts[0][0])["totals"] == {"COM": held}


def test_a_change_of_what_is_computed_asks_for_a_new_version(out):
    rows = graded([*COMPOSED, *DISTINCT])
    for number, row in enumerate(rows["consistency"]):
        row["expected"] = 4 * (number * 5 % 8) / 8
    rows["target_shows"] = [
        row for number, s in enumerate(DISTINCT) for row in seen([s], number % 2 == 0, number > 1)
    ]
    step = evaluated(out, [*COMPOSED, *DISTINCT], rows)
    held = json.loads(step.storage.read(RESULT))
    contents = [picture.content for picture in read_evaluated(step.storage).pictures]
    digest = hashlib.sha256(canonical_json([held["totals"], held["subtasks"], contents])).hexdigest()
    assert (EvaluateConfig.VERSION, digest[:16]) == (2, "8c3f0560b4f2dfa2")


def test_the_order_of_the_samples_in_their_shards_changes_no_byte(tmp_path):
    texts = set()
    for name, order in (("one", 1), ("two", -1)):
        out = Storage(str(tmp_path / name))
        step = evaluated(out, COMPOSED[::order], graded(COMPOSED))
        tables = step.storage.read("scores/composition.parquet")
        texts.add((step.storage.read(RESULT), step.storage.read(FILE), tables))
    assert len(texts) == 1


def test_rounds_of_a_case_are_averaged_first(out):
    samples = [case(0), case(1), case(1, round_=1), case(1, round_=2)]
    rows = graded(samples, following=4, consistency=4)
    for row in rows["consistency"][1:]:
        row["expected"] = 1.0  # a score of 5
    step = evaluated(out, samples, rows)
    assert values(step)[COM] == pytest.approx((10 + 5) / 2)
    assert read_evaluated(step.storage).coverage.words == "2 of 2 cases"


def test_subtasks_are_cases_where_that_is_asked(out):
    samples = [case(n, "composition_multi", case="animal" if n % 2 else "object") for n in range(4)]
    rows = graded(samples)
    for number in (1, 3):
        rows["consistency"][number]["expected"] = 0.0
    found = read_evaluated(evaluated(out, samples, rows, by="case").storage)
    assert {name: held["composition"].value for name, held in found.figures.subtasks.items()} == {
        "animal": 0,
        "object": 10,
    }
    assert found.figures.totals[COM].value == 5


def test_a_scene_is_no_candidate_whoever_was_asked_about_it(out):
    place = (Candidate(name="beach", category=SCENE),)
    samples = [case(0, "distinction_multi_cross", subjects=(PAIR, place))]
    rows = graded(samples)
    told = {}
    for name, shown in (("all", (True, False, False)), ("verified", (True, False))):
        rows["target_shows"] = [*seen(samples, *shown, *(() if len(shown) == 3 else (True,)))]
        if name == "verified":
            rows["target_shows"] = rows["target_shows"][:2]
        told[name] = values(evaluated(out.child(name), samples, rows))
    assert told["all"] == told["verified"] == {COM: 10, DIS: 10, OVERALL: 10}


def test_the_samples_of_a_set_are_its_own_yardstick(out):
    drawn = [case(n) for n in range(3)]
    own = [replace(s, provenance=replace(s.provenance, origin={}, parents=())) for s in drawn]
    steps = []
    for name, samples, type_, grade in (("yardstick", own, "pack", 4), ("model", drawn, "draw", 2)):
        of = write_drawn(out, samples, name=f"{name}_drawn", type_=type_)
        judged = write_answers(out, of, graded(samples, grade, grade), f"{name}_judged")
        steps.append(write_evaluation(out, of, judged, name=name))
    (group,) = comparisons({step.manifest.name: read_evaluated(step.storage) for step in steps})
    (difference,) = group.differences
    assert (difference.cases, difference.figures.totals[COM].value) == (3, -5)


def test_an_unreadable_answer_leaves_its_case_out_and_is_counted(out):
    rows = graded(COMPOSED)
    rows["consistency"][2] |= {"status": "truncated", "expected": None, "mode": None}
    step = evaluated(out, COMPOSED, rows, tolerate_unreadable=0.25)
    assert values(step) == {COM: 10}
    assert read_evaluated(step.storage).coverage.words == "3 of 4 cases (1 unreadable)"
    row = read_table(step.storage, "composition").to_pylist()[2]
    assert (row["status"], row["expected"]) == ("unreadable", None)


def test_an_unreadable_candidate_costs_the_distinction_of_its_case_alone(out):
    rows = graded(DISTINCT) | {"target_shows": seen(DISTINCT, True, False)}
    rows["target_shows"][0] |= {"status": "error", "expected": None, "mode": None}
    step = evaluated(out, DISTINCT, rows, tolerate_unreadable=0.25)
    found = read_evaluated(step.storage)
    assert (found.figures.totals[COM].n, found.figures.totals[DIS].n) == (4, 3)
    assert found.coverage.unreadable_pictures == 1
    assert [row["status"] for row in read_table(step.storage, "distinction").to_pylist()] == [
        "unreadable",
        *["ok"] * 3,
    ]


def test_a_round_that_can_be_read_stands_for_its_case(out):
    samples = [case(0), case(0, round_=1)]
    rows = graded(samples)
    rows["consistency"][0] |= {"status": "error", "expected": None, "mode": None}
    step = evaluated(out, samples, rows, tolerate_unreadable=0.5)
    told = read_evaluated(step.storage).coverage.words
    assert told == "1 of 1 cases (1 of 2 pictures not wholly read)"


def test_more_unreadable_answers_than_are_tolerated_end_the_step(out):
    rows = graded(COMPOSED)
    rows["consistency"][2] |= {"status": "error", "expected": None, "mode": None}
    with pytest.raises(EvaluateError, match=r"expected at most 2.0% of pictures .*got 1 of 4"):
        evaluated(out, COMPOSED, rows)


def test_a_missing_row_is_an_error_that_names_it(out):
    rows = graded(COMPOSED)
    rows["consistency"].pop()
    with pytest.raises(
        EvaluateError, match=r"'consistency': expected a row .* got none for case-003; judge the"
    ):
        evaluated(out.child("one"), COMPOSED, rows)
    rows = graded(DISTINCT) | {"target_shows": seen(DISTINCT, True, False)[:-1]}
    with pytest.raises(EvaluateError, match=r"'target_shows': .* none for case-013, image 1, candidate 2"):
        evaluated(out.child("two"), DISTINCT, rows)


def test_scores_of_another_set_with_the_same_keys_are_refused(out):
    drawn, own = write_drawn(out, COMPOSED), write_drawn(out, COMPOSED, name="held_out", type_="pack")
    judged, own_judged = (
        write_answers(out, of, graded(COMPOSED), of.manifest.name + "_j") for of in (drawn, own)
    )
    with pytest.raises(
        EvaluateError,
        match=r"scores: expected scores of drawn-0+, got held_out_j-0+ of held_out-0+; judge the",
    ):
        write_evaluation(out, drawn, own_judged)
    again = write_evaluation(out, drawn, judged, name="first")
    questions = {"prompt_following": "instruction_following", "subject_consistency": "consistency"}
    assert values(write_evaluation(out, drawn, judged, again, **questions)) == values(again)


def test_an_answer_without_a_value_is_an_error(out):
    rows = graded(COMPOSED)
    rows["consistency"][1]["expected"] = None
    with pytest.raises(EvaluateError, match="expected a value where the status is ok, got none for case-001"):
        evaluated(out, COMPOSED, rows)


def test_a_question_that_was_not_asked_is_an_error_unless_it_is_not_wanted(out):
    with pytest.raises(
        SelectError, match="expected a question of consistency, instruction_following, got 'target"
    ):
        evaluated(out.child("one"), DISTINCT, graded(DISTINCT))
    step = evaluated(out.child("two"), DISTINCT, graded(DISTINCT), shown="")
    assert values(step) == {COM: 10}


def test_a_set_of_nothing_has_no_figures(out):
    of = write_drawn(out, [], rejected=["case-000"])
    step = write_evaluation(out, of, write_answers(out, of, {}))
    assert step.manifest.stats["figures"].endswith("Overall not measured; 0 of 1 cases (1 not drawn)")


def test_its_tables_are_decided_over_as_others_are(out):
    of = write_drawn(out, COMPOSED)
    rows = graded(COMPOSED)
    rows["consistency"][0]["expected"] = 0.0
    step = write_evaluation(out, of, write_answers(out, of, rows))
    chosen = out.child("kept-000000000000")
    SelectConfig(min_scores={"composition": 5}).make({"input": [of], "scores": [step]}, chosen)
    assert read_selection(chosen).column("keep").to_pylist() == [False, True, True, True]


def test_settings_that_cannot_be_are_refused():
    for bad in (
        {"prompt_following": "target_shows"},
        {"subject_consistency": "presence"},
        {"shown": "consistency"},
        {"by": "source"},
        {"resamples": 10},
        {"prompt_following": "folowing"},
    ):
        with pytest.raises(ValidationError):
            EvaluateConfig(**bad)


def test_evaluations_by_other_judges_are_not_compared(out):
    of = write_drawn(out, COMPOSED)
    one = write_evaluation(out, of, write_answers(out, of, graded(COMPOSED), "judged"), name="one")
    two = write_evaluation(out, of, write_answers(out, of, graded(COMPOSED), "again", judge="j2"), name="two")
    (group,) = comparisons({s.manifest.name: read_evaluated(s.storage) for s in (one, two)})
    (difference,) = group.differences
    assert difference.figures is None
    assert difference.why == "another judge or wording of prompt following, subject consistency"


def test_a_case_that_was_changed_between_two_evaluations_is_not_compared_and_told(out):
    (candidates,) = DISTINCT[0].subjects
    relabelled = tuple(replace(each, is_target=not each.is_target) for each in candidates)
    changes = {
        "same": {},
        "words": {"instruction": "Another one."},
        "reference": {"references": (picture(999),)},
        "labels": {"subjects": (relabelled,)},
    }
    found = {}
    for name, change in changes.items():
        samples = [replace(DISTINCT[0], **change), replace(DISTINCT[1], target=picture(998))]
        of = write_drawn(out, samples, name=f"drawn_{name}")
        rows = graded(samples) | {"target_shows": seen(samples, True, False)}
        step = write_evaluation(out, of, write_answers(out, of, rows, f"judged_{name}"), name=name)
        found[name] = read_evaluated(step.storage)
    (group,) = comparisons({"base": found["same"], **found})
    told = {each.label: (each.cases, each.changed) for each in group.differences}
    assert told == {"same": (2, 0), "words": (1, 1), "reference": (1, 1), "labels": (1, 1)}
    assert {each.label: each.words for each in group.differences if each.changed < 2} == {
        "same": "2 cases of both",
        **dict.fromkeys(
            ("words", "reference", "labels"), "1 cases of both, 1 more say something else in each"
        ),
    }


def test_a_difference_of_single_cases_is_no_finding(out):
    samples = [case(0), case(1, "composition_multi")]
    found = {}
    for name, grade in (("base", 3.0), ("tuned", 3.9)):
        of = write_drawn(out, samples, name=f"drawn_{name}")
        step = write_evaluation(
            out, of, write_answers(out, of, graded(samples, grade, grade), f"judged_{name}"), name=name
        )
        assert step.manifest.stats["figures"].startswith(f"COM {2.5 * grade:.2f}, DIS not measured")
        found[name] = read_evaluated(step.storage)
    (difference,) = comparisons(found)[0].differences
    figure = difference.figures.totals[COM]
    assert (signed_words(figure), sides([figure])) == ("+2.25", [""])


def test_evaluations_of_other_cases_stand_apart(out):
    found = {}
    renamed = [replace(s, instruction="Another benchmark's, which counts its cases alike.") for s in COMPOSED]
    for name, samples in (("one", COMPOSED), ("two", [case(n) for n in range(20, 23)]), ("three", renamed)):
        of = write_drawn(out, samples, name=f"drawn_{name}")
        judged = write_answers(out, of, graded(samples), f"judged_{name}")
        found[name] = read_evaluated(write_evaluation(out, of, judged, name=name).storage)
    assert [list(group.evaluations) for group in comparisons(found)] == [["one"], ["two"], ["three"]]


def test_a_directory_without_an_evaluation_is_named(out):
    of = write_drawn(out, COMPOSED)
    with pytest.raises(EvaluatedError, match=r"evaluation\.json: expected an evaluation of schema 2"):
        read_evaluated(of.storage)


def test_an_evaluation_of_another_version_is_refused_with_the_way_out(out):
    step = evaluated(out, COMPOSED, graded(COMPOSED))
    held = json.loads(step.storage.read(RESULT)) | {"schema": 1}
    step.storage.delete(RESULT)
    step.storage.write(RESULT, json.dumps(held).encode())
    with pytest.raises(EvaluatedError, match="got schema 1; delete the directory to make it again"):
        read_evaluated(step.storage)


def test_what_is_read_again_is_what_was_written(out):
    rows = graded(DISTINCT) | {"target_shows": seen(DISTINCT, True, True)}
    found = read_evaluated(evaluated(out, DISTINCT, rows, by="case", seed=5).storage)
    assert (found.by, found.seed, found.resamples) == ("case", 5, 200)
    assert found.cases.count("distinction") == 4
    assert math.isclose(found.figures.totals[DIS].value, 35 / 6, abs_tol=1e-6)
    assert found.asked["shown"] == {
        "question": "target_shows",
        "wording": "target_shows in words",
        "judge": {"model": "j1"},
    }
