"""`verify` end to end: a judge that knows the truth has every fault found, and nothing else refused."""

import re

import pytest
from rich.console import Console

from datagen.multi_candidate import FAULTS
from filters.checks import ALL, CHECKS, LIKENESS, POSITION, QUESTIONS
from filters.fake_answers import answer_from_truth
from filters.fake_server import MODEL, Behaviour, FakeServer
from filters.multi_answers import FAULTS_OF
from filters.report import ReportConfig, render
from recipes.bill import bills
from recipes.calibration import calibrate, describe
from recipes.display import Display
from recipes.rationales import Near, explain
from recipes.run import Run
from recipes.schema import RecipeError, load_recipe
from shards.driver_step import Input
from shards.index import Directory
from shards.selection import kept_keys
from shards.storage import Storage
from shards.tables import read_table

RECIPE = """
name: verified
seed: 5
run: {{workers: 1}}
steps:
  base: {{step: single_candidate, samples: 40, size_px: 128}}
  multi:
    step: multi_candidate
    input: base
    samples: 48
    rounds: 3
    faults: {{{faults}}}
  checked:
    step: verify
    input: multi
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"]}}
  good: {{step: select, input: multi, scores: checked, policy: verified}}
  varied: {{step: select, input: multi, scores: checked, order: [check_all],
    max_share: {{rests_on_position: 0.05}}}}
  alike: {{step: select, input: multi, scores: checked, min_scores: {{original_likeness: 0.8}}}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recipe verified by a server that knows the truth; the server; the output; the manifests."""
    folder = tmp_path_factory.mktemp("verified")
    out = Storage(str(folder / "out"))
    faults = ", ".join(f"{fault}: 0.08" for fault in FAULTS)
    with FakeServer(Behaviour()) as server:
        (folder / "recipe.yaml").write_text(RECIPE.format(model=MODEL, url=server.url, faults=faults))
        recipe = load_recipe(folder / "recipe.yaml")
        with Run(recipe, out, Display(Console(quiet=True), out, "verified")) as run:
            multi = run.execute(until="multi")["multi"]
            server.judge.behaviour.answer = answer_from_truth(str(folder / "out" / multi.directory))
            manifests = run.execute()
        yield recipe, server, out, manifests


def test_a_question_that_shows_raw_references_has_no_reasons(made):
    recipe, _, out, _ = made
    with pytest.raises(
        RecipeError, match="checked: expected a question about a sample's own images, got 'edit_r"
    ):
        explain(recipe, out, "checked", "edit_raw_first", Near(threshold=0.5, within=0.5, most=3))


def samples(made):
    _, _, out, manifests = made
    opened = Directory(out.child(manifests["multi"].directory))
    return {key: opened[key] for key in opened.places}


def faults(made):
    return {key: sample.provenance.truth["fault"] for key, sample in samples(made).items()}


def test_every_fault_is_there_to_be_found(made):
    assert set(faults(made).values()) == {"none", *FAULTS}


def test_the_policy_keeps_what_is_clean_and_nothing_else(made):
    _, _, out, manifests = made
    clean = {key for key, fault in faults(made).items() if fault == "none"}
    assert set(kept_keys(out.child(manifests["good"].directory))) == clean


def test_every_check_has_precision_and_recall_of_one(made):
    recipe, _, out, _ = made
    found = calibrate(recipe, out, "checked", None, 0)
    assert [each.check for each in found.checks] == [*CHECKS, ALL]
    for each in found.checks:
        assert (each.precision.value, each.recall.value, each.recall_at_95) == (1, 1, 1), each
        assert all(hits == n for hits, n in each.found.values())
    for check, names in FAULTS_OF.items():
        (each,) = [each for each in found.checks if each.check == check]
        assert set(names) <= set(each.found)
    assert any("check_phrase: " in line and "recall 1.000" in line for line in describe(found))


def test_questions_about_an_edit_show_the_raw_reference_in_both_orders(made):
    _, _, out, manifests = made
    scores = out.child(manifests["checked"].directory)
    asked = [read_table(scores, f"edit_raw_{order}").to_pylist() for order in ("first", "last")]
    places = [{(row["key"], row["reference"]) for row in rows} for rows in asked]
    edited = {
        (key, edit["reference"])
        for key, sample in samples(made).items()
        if sample.provenance.truth["fault"] != "nothing_added"
        for edit in sample.provenance.origin.get("edits", ())
    }
    assert places[0] == places[1] == edited


def test_candidates_are_told_to_the_judge_by_their_boxes(made):
    _, server, _, _ = made
    asked = [each.prompt for each in server.asked if "Could somebody mean it by the phrase" in each.prompt]
    assert asked
    assert all("and in it at the subject in the box from (" in prompt for prompt in asked)


def test_the_original_is_measured_too_and_a_policy_may_name_it(made):
    _, _, out, manifests = made
    scores = out.child(manifests["checked"].directory)
    rows = read_table(scores, LIKENESS).to_pylist()
    edited = {(row["key"], row["reference"]) for row in read_table(scores, "edit_raw_first").to_pylist()}
    known = samples(made)
    assert {(row["key"], row["reference"]) for row in rows} == {
        (key, n) for key, sample in known.items() for n in range(len(sample.references))
    }
    assert {(row["key"], row["reference"]) for row in rows if row["label_mass"]} == edited
    changed = {
        (key, sample.provenance.truth["changed_reference"]): sample.provenance.truth["change"]
        for key, sample in known.items()
        if "change" in sample.provenance.truth
    }
    low = {(row["key"], row["reference"]) for row in rows if row["expected"] < 0.8}
    assert {place for place, change in changed.items() if change == "subject"} <= low <= changed.keys()
    assert low
    refused = set(known) - set(kept_keys(out.child(manifests["alike"].directory)))
    assert refused == {key for key, _ in low}


def test_no_more_of_the_kept_than_the_share_rests_on_a_position(made):
    _, _, out, manifests = made
    rows = read_table(out.child(manifests["checked"].directory), POSITION).to_pylist()
    resting = {row["key"] for row in rows if row["expected"] == 1}
    said = {key: sample.provenance.origin for key, sample in samples(made).items()}
    assert resting == {
        key
        for key, o in said.items()
        if "position" in {o.get("cue"), *(e["cue"] for e in o.get("edits", ()))}
    }
    assert {row["key"] for row in rows} == set(said)
    kept = set(kept_keys(out.child(manifests["varied"].directory)))
    assert len(resting) > 0.1 * len(said)
    assert len(kept & resting) == int(len(kept) * 0.05)
    assert set(said) - kept < resting


def test_every_sample_has_a_row_of_every_check(made):
    _, _, out, manifests = made
    scores = out.child(manifests["checked"].directory)
    for check in (*CHECKS, ALL):
        assert set(read_table(scores, check).column("key").to_pylist()) == set(samples(made))


def test_the_report_shows_every_verdict_and_the_checks_against_the_truth(made):
    _, _, out, manifests = made
    directories = [
        Input(storage=out.child(manifest.directory), manifest=manifest) for manifest in manifests.values()
    ]
    page = render(directories, ReportConfig())
    start = page.index('id="checks-1"')
    section = page[start : page.index("</section>", start)]
    chips = set(re.findall(r'<li class="chip(?: fails)?">([a-z ]+) <b>', page))
    assert {name.replace("_", " ") for name in (*CHECKS, ALL)} <= chips
    assert not {name.replace("_", " ") for name in QUESTIONS} & chips
    assert section.count('<li class="card">') == 12
    for check in CHECKS:
        name = check.removeprefix("check_")
        assert section.count(f"✓ {name} <b>") + section.count(f"✗ {name} <b>") == 12
        assert f">check {name}</th>" in section
    assert section.count("≈ original likeness <b>") == 12
    for fault in FAULTS:
        assert f"truth: {fault.replace('_', ' ')}" in section
    assert section.count("<b>1.000</b>") == 2 * (len(CHECKS) + 1)
    assert 'class="hide"' in section  # boxes of distractors
    assert '<li class="card">' not in render(directories, ReportConfig(gallery=0))


def test_a_second_run_asks_nothing(made):
    recipe, server, out, manifests = made
    before = len(server.asked)
    out.delete(manifests["checked"].directory)
    (bill,) = bills(recipe, out, 6)
    assert (bill.drawn, bill.asked, bill.counts.get("requests", 0)) == (6, 0, 0)
    with Run(recipe, out, Display(Console(quiet=True), out, "verified")) as run:
        again = run.execute()
    assert again["checked"].files == manifests["checked"].files
    assert len(server.asked) == before


def test_a_second_asking_shows_the_raw_references_too(made):
    recipe, _, out, _ = made
    found = calibrate(recipe, out, "checked", None, 5)
    assert {"edit_raw_first", "phrase_describes", "check_original"} <= set(found.retests)
    assert all(each.same_mode == 1 for each in found.retests.values())


def test_a_set_whose_parents_are_gone_is_refused_by_name(made, tmp_path):
    recipe, _, out, manifests = made
    stored = out.child(manifests["base"].directory)
    text = stored.read("manifest.json")
    stored.delete("manifest.json")
    out.delete(manifests["checked"].directory)
    try:
        with (
            pytest.raises(
                ValueError, match=f"expected the finished directory that {manifests['multi'].directory}"
            ),
            Run(recipe, out, Display(Console(quiet=True), out, "verified")) as run,
        ):
            run.execute(only=["checked"])
    finally:
        stored.write("manifest.json", text)
