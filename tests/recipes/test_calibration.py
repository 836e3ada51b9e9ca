"""Calibration end to end: a judge that knows the truth, its controls, a second asking, a person's page."""

import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace

import pytest
from rich.console import Console

from datagen.exporters.kept import ExportError
from datagen.exporters.scone_parquet import SconeOptions
from filters.calibrate import CalibrateError
from filters.controls import read_controls
from filters.fake_answers import answer_from_truth
from filters.fake_server import MODEL, Behaviour, FakeServer
from filters.judge import Answer
from filters.label_page import Labelling, LabelServer
from filters.reasons import Reasons
from filters.report import ReportConfig, render
from filters.rubrics import pick_questions
from filters.served import ServedEngineConfig
from recipes.calibration import calibrate, describe, open_judged
from recipes.display import Display
from recipes.export import export_directory
from recipes.rationales import Near, explain, write_jsonl
from recipes.rationales import describe as tell
from recipes.run import Run
from recipes.schema import RecipeError, load_recipe
from recipes.trace import finished
from shards.driver_step import Input
from shards.http_client import EndpointError, EndpointsDownError
from shards.index import Directory
from shards.ledger import Ledger
from shards.storage import Storage
from shards.tables import read_table

RECIPE = """
name: believed
seed: 5
run: {{workers: 1}}
steps:
  base: {{step: single_candidate, samples: 30, size_px: 128, faults: {{wrong_subject: 0.3, copy_paste: 0.1}}}}
  scores:
    step: judge
    input: base
    questions: [consistency, presence]
    controls: 4
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"]}}
  kept: {{step: select, input: base, scores: scores, min_scores: {{consistency: 0.75}}}}
"""


def asked(server):
    return len([each for each in server.asked if not each.id.startswith("probe")])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recipe judged by a server that knows the truth; the server; the output; what the run cost."""
    folder = tmp_path_factory.mktemp("believed")
    out = Storage(str(folder / "out"))
    with FakeServer(Behaviour()) as server:
        (folder / "recipe.yaml").write_text(RECIPE.format(model=MODEL, url=server.url))
        recipe = load_recipe(folder / "recipe.yaml")
        with Run(recipe, out, Display(Console(quiet=True), out, "believed")) as run:
            base = run.execute(until="base")["base"]
            server.judge.behaviour.answer = answer_from_truth(str(folder / "out" / base.directory))
            manifests = run.execute()
        yield recipe, server, out, manifests


def test_a_judge_that_knows_the_truth_deserves_belief(made):
    recipe, _, out, _ = made
    found = calibrate(recipe, out, "scores", None, 0)
    assert {each.question: each.auc.value for each in found.agreements} == {"consistency": 1, "presence": 1}
    assert all(each.kappa.value == pytest.approx(1) for each in found.agreements)
    assert any("ROC AUC 1.000" in line for line in describe(found))


def test_controls_are_in_a_table_of_their_own_and_in_no_books(made):
    _, server, out, manifests = made
    manifest = manifests["scores"]
    controls = read_controls(out.child(manifest.directory))
    assert set(controls.column("control").to_pylist()) == {"copy", "swapped", "blank"}
    assert manifest.books.made == 30
    assert "controls.parquet" in manifest.files
    assert manifest.stats["counts"]["requests"] == asked(server)


def test_controls_stand_beside_the_set_in_a_calibration(made):
    recipe, _, out, _ = made
    found = calibrate(recipe, out, "scores", None, 0)
    assert len(found.controls) == 6
    assert all(0 <= control.mean <= 4 for control in found.controls)


def test_another_judge_is_not_asked_again(made):
    recipe, server, out, _ = made
    server.judge.behaviour.shift = 0.4
    with pytest.raises(EndpointError, match="expected the probe's answer"):
        calibrate(recipe, out, "scores", None, 2)
    server.judge.behaviour.shift = 0.0


def test_asking_again_is_paid_apart_and_once(made):
    recipe, server, out, _ = made
    before = asked(server)
    found = calibrate(recipe, out, "scores", None, 5)
    assert asked(server) > before
    assert found.retests["consistency"].same_mode == 1
    after = asked(server)
    calibrate(recipe, out, "scores", None, 5)
    assert asked(server) == after


@pytest.fixture
def server_that_refuses_words(made):
    behaviour = made[1].judge.behaviour
    behaviour.by_words = {'"reason" and "answer"': "400"}
    yield
    behaviour.by_words = {}


def test_reasons_are_asked_for_scores_near_a_threshold_only_and_once(made, tmp_path):
    recipe, server, out, _ = made
    before = asked(server)
    found = explain(recipe, out, "scores", "consistency", Near(threshold=3.5, within=0.6, most=4))
    assert len(found) == asked(server) - before == 4
    assert all(abs(each.expected - 3.5) <= 0.6 and each.rationale.answer == "2" for each in found)
    assert all('"reason" and "answer"' in each.prompt for each in server.asked[-4:])
    write_jsonl(found, tmp_path / "why.jsonl")
    assert len((tmp_path / "why.jsonl").read_text().splitlines()) == 4
    assert explain(recipe, out, "scores", "consistency", Near(threshold=3.5, within=0.6, most=4)) == found
    assert asked(server) == before + 4


def test_reasons_are_asked_for_samples_that_are_named_wherever_their_scores_are(made):
    recipe, server, out, _ = made
    near = explain(recipe, out, "scores", "consistency", Near(threshold=3.5, within=0.6, most=4))
    rows = read_table(open_judged(recipe, out, "scores")[1], "consistency").to_pylist()
    high = {row["key"] for row in rows if row["expected"] > 2} - {each.key for each in near}
    keys = sorted(high)[:2]
    before = asked(server)
    found = explain(recipe, out, "scores", "consistency", keys)
    assert [each.key for each in found] == keys
    assert all(each.rationale.answer == "2" for each in found)
    assert asked(server) - before == 2
    with pytest.raises(RecipeError, match=r"--key none-1: expected a sample that scores, .* has") as told:
        explain(recipe, out, "scores", "consistency", [*keys, "none-1", "none-2"])
    assert len(told.value.errors) == 2
    assert asked(server) - before == 2


def test_reasons_that_came_before_an_outage_are_paid_once(made, monkeypatch):
    recipe, _, out, _ = made
    came = []

    class Failing:
        def answers(self, asked):
            came.extend(address for _, requests in asked for address in requests)
            yield Answer(address=came[0], reply=b'{"reason": "so", "answer": "2"}', is_paid=True)
            raise EndpointsDownError("all dead")

        def close(self):
            return None

    monkeypatch.setattr(ServedEngineConfig, "build", lambda *_: Failing())
    with pytest.raises(EndpointsDownError):
        explain(recipe, out, "scores", "presence", Near(threshold=0.5, within=0.5, most=3))
    ledger = Ledger(out.child("ledger"))
    assert [ledger.get(address) is not None for address in came] == [True, False, False]


@pytest.mark.usefixtures("server_that_refuses_words")
def test_a_reason_that_did_not_come_is_told(made, tmp_path):
    recipe, _, out, _ = made
    found = explain(recipe, out, "scores", "consistency", Near(threshold=1.3, within=0.6, most=2))
    assert [each.rationale for each in found] == [None, None]
    assert next(tell(found)).startswith("2 of 2 have no reason")
    write_jsonl(found, tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").read_text()


def test_a_reason_stands_on_the_page_beside_its_sample_and_is_not_asked_for(made):
    recipe, server, out, _ = made
    found = explain(recipe, out, "scores", "presence", Near(threshold=0.5, within=0.5, most=40))
    assert found
    before = len(server.asked)
    directories = [Input(storage=d.storage, manifest=d.manifest) for d in finished(out)]
    page = render(directories, ReportConfig(gallery=30))
    assert len(server.asked) == before
    cards = {
        re.search(r'class="key">([^<]+)<', card)[1]: card
        for card in re.findall(r'<li class="card">.*?class="foot">.*?</div>', page, re.S)
    }
    for each in found:
        assert each.key in cards
        said = (
            re.escape(f"{each.rationale.reason} ")
            + rf"<cite>the judge on presence, image {each.reference + 1};"
        )
        assert re.search(said, cards[each.key])


def test_a_page_of_a_judge_that_wrote_nothing_has_no_reasons(made, tmp_path):
    _, _, out, manifests = made
    judge = Input(storage=out.child(manifests["scores"].directory), manifest=manifests["scores"])
    base = Directory(out.child(manifests["base"].directory))
    (key, *_) = base.places
    assert Reasons([judge]).of(replace(base[key], instruction="Another one that nobody asked about.")) == []
    reworded = {**judge.manifest.config["settings"], "rubric": [["presence", "0" * 64]]}
    other = replace(judge.manifest, config={**judge.manifest.config, "settings": reworded})
    assert Reasons([replace(judge, manifest=other)]).of(base[key]) == []


def test_no_score_that_is_near_is_said(made):
    recipe, _, out, _ = made
    assert explain(recipe, out, "scores", "consistency", Near(threshold=2.0, within=0.0, most=4)) == []
    assert list(tell([])) == ["no score is that near; a larger --within looks farther"]


def test_a_question_that_was_not_asked_has_no_reasons(made):
    recipe, _, out, _ = made
    with pytest.raises(RecipeError, match=r"expected a question of .*consistency.*, got 'colour'"):
        explain(recipe, out, "scores", "colour", Near(threshold=0.5, within=0.6, most=4))


def test_a_card_tells_thresholds_controls_and_the_calibration_there_is(made, tmp_path):
    recipe, _, out, manifests = made
    kept = out.path(manifests["kept"].directory)
    options = SconeOptions(name="Believed")
    export_directory(kept, str(tmp_path / "bare"), "hf", options)
    assert sorted(path.name for path in (tmp_path / "bare").iterdir()) == ["README.md", "data", "samples.png"]
    bare = (tmp_path / "bare/README.md").read_text()
    assert "- `kept`: {min_scores: {consistency: 0.75}}, kept " in bare
    assert "control blank (the target is plain grey)" in bare
    assert "Not calibrated" in bare
    measured = calibrate(recipe, out, "scores", None, 0)
    measured.write(tmp_path / "calibration.json")
    export_directory(kept, str(tmp_path / "told"), "hf", options, [tmp_path / "calibration.json"])
    told = (tmp_path / "told/README.md").read_text()
    assert all(f"- {line.strip()}" in told for line in describe(measured))
    assert "Not calibrated" not in told
    assert (tmp_path / "told/samples.png").read_bytes().startswith(b"\x89PNG")


def test_a_calibration_of_another_step_or_none_at_all_is_refused(made, tmp_path):
    recipe, _, out, manifests = made
    kept = out.path(manifests["kept"].directory)
    path = tmp_path / "calibration.json"
    replace(calibrate(recipe, out, "scores", None, 0), step="other").write(path)
    with pytest.raises(ExportError, match="expected a calibration of scores, got one of 'other'"):
        export_directory(kept, str(tmp_path / "x"), "hf", SconeOptions(name="x"), [path])
    path.write_text("{}")
    with pytest.raises(ExportError, match="expected a file of `bakery calibrate --to`"):
        export_directory(kept, str(tmp_path / "x"), "hf", SconeOptions(name="x"), [path])
    assert not (tmp_path / "x").exists()


def test_a_step_that_is_no_judge_is_refused(made):
    recipe, _, out, _ = made
    with pytest.raises(RecipeError, match="expected a judged step of scores, got 'base'"):
        calibrate(recipe, out, "base", None, 0)


@pytest.fixture
def labelled(made, tmp_path):
    """A page about two samples, and where its CSV goes."""
    _, _, out, manifests = made
    directory = Directory(out.child(manifests["base"].directory))
    keys = sorted(directory.places)[:2]
    server = LabelServer(Labelling(directory, keys, pick_questions(["consistency"]), tmp_path / "l.csv"), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", tmp_path / "l.csv"
    server.shutdown()
    thread.join()
    server.server_close()


def read(url, form=None, **headers):
    data = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:
        return answer.read()


def fields(text):
    return dict(re.findall(r'name="(\w+)" value="([^"]*)">', text.partition("<button")[0]))


def test_a_person_answers_and_the_csv_calibrates(made, labelled):
    url, path = labelled
    recipe, _, out, _ = made
    for left in (2, 1):
        text = read(url).decode()
        assert f"{left} left" in text
        image = re.search(r'src="(/image/[^"]+)"', text).group(1)
        assert len(read(url + image)) > 100
        read(url, {**fields(text), "label": "4"})
    assert "All answered" in read(url).decode()
    assert path.read_text().splitlines()[0] == "key,question,label,reference,candidate"
    found = calibrate(recipe, out, "scores", path, 0)
    assert found.agreements[0].n == 2


def test_labels_of_other_samples_are_told_and_an_empty_file_is_named(made, tmp_path):
    recipe, _, out, manifests = made
    key = min(Directory(out.child(manifests["base"].directory)).places)
    path = tmp_path / "l.csv"
    path.write_text(f"key,question,label\n{key},consistency,4\nelsewhere,consistency,4\n")
    found = calibrate(recipe, out, "scores", path, 0)
    assert (found.agreements[0].n, found.unjudged) == (1, {"consistency": 1})
    assert any(line.startswith("consistency: 1 more labels are of samples") for line in describe(found))
    path.write_text("key,question,label\n")
    with pytest.raises(CalibrateError, match=r"l\.csv: expected labels of consistency, presence, got none"):
        calibrate(recipe, out, "scores", path, 0)


def test_a_form_of_another_site_and_a_foreign_name_are_refused(labelled):
    url, path = labelled
    form = {**fields(read(url).decode()), "label": "4"}
    for bad, headers in (({**form, "token": "guessed"}, {}), (form, {"Host": "evil.example"})):
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            read(url, bad, **headers)
        refused.value.close()
    assert not path.exists()
