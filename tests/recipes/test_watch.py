"""A broken judge is seen on the page: its controls score as the set does. What it cost stands beside."""

import hashlib

import pytest
from rich.console import Console

from filters.fake_server import MODEL, Behaviour, FakeServer
from filters.report import ReportConfig, render
from filters.watch import watch
from recipes.display import Display
from recipes.run import Run
from recipes.schema import load_recipe
from recipes.trace import finished
from shards.driver_step import Input
from shards.index import Directory
from shards.storage import Storage

RECIPE = """
name: watched
seed: 5
run: {{workers: 1}}
steps:
  base: {{step: single_candidate, samples: 8, size_px: 128, references: {{1: 1.0}}}}
  scores:
    step: judge
    input: base
    questions: [consistency, presence, copy_paste]
    controls: 4
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"]}}
"""


def content(prompt):
    return "consistency" if "0 - completely inconsistent" in prompt else "yes or no"


def always(prompt, digests):
    """A judge that likes everything: 4 and yes, whatever it is shown."""
    return {"4": 0.9, "3": 0.1} if content(prompt) == "consistency" else {"yes": 0.9, "no": 0.1}


def seeing(known):
    """A judge that knows the set's own targets, and copies by equal images."""

    def answer(prompt, digests):
        if "merely a copy" in " ".join(prompt.split()):
            is_yes = digests[-1] in digests[:-1]
        else:
            is_yes = tuple(digests) in known
        if content(prompt) == "consistency":
            return {"4": 0.9, "0": 0.1} if is_yes else {"0": 0.9, "4": 0.1}
        return {"yes": 0.9, "no": 0.1} if is_yes else {"no": 0.9, "yes": 0.1}

    return answer


def judged(folder, answer_of):
    """The recipe run with a judge, and its page."""
    out = Storage(str(folder / "out"))
    with FakeServer(Behaviour()) as server:
        (folder / "recipe.yaml").write_text(RECIPE.format(model=MODEL, url=server.url))
        recipe = load_recipe(folder / "recipe.yaml")
        with Run(recipe, out, Display(Console(quiet=True), out, "watched")) as run:
            base = run.execute(until="base")["base"]
            server.judge.behaviour.answer = answer_of(out.child(base.directory))
            manifest = run.execute()["scores"]
    directories = [Input(storage=d.storage, manifest=d.manifest) for d in finished(out)]
    return watch("scores", out.child(manifest.directory), manifest), render(directories, ReportConfig())


def known_images(base):
    directory = Directory(base)
    samples = [directory[key] for key in directory.places]
    return {tuple(hashlib.sha256(image.data).hexdigest() for image in s.images.values()) for s in samples}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    return judged(tmp_path_factory.mktemp("broken"), lambda base: always)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return judged(tmp_path_factory.mktemp("sound"), lambda base: seeing(known_images(base)))


def test_a_judge_that_likes_everything_raises_an_alarm_for_each_question_that_must_see_a_control(broken):
    found, page = broken
    alarms = {(control.question, control.kind) for control in found.alarms}
    assert alarms == {
        ("consistency", "blank"),
        ("consistency", "swapped"),
        ("presence", "blank"),
        ("presence", "swapped"),
        ("copy_paste", "copy"),
    }
    assert page.count("Broken or drifting judge?") == 5
    assert "alarm" in page[: page.index("<main>")]


def test_a_judge_that_sees_raises_none(sound):
    found, page = sound
    assert found.alarms == ()
    assert {c.area for c in found.controls if c.side} == {1.0}
    assert "Broken or drifting judge?" not in page


def test_what_the_judge_cost_stands_on_the_page(sound):
    found, page = sound
    costs = dict(found.costs)
    assert costs["Requests"] >= 8 * 3
    assert f"{int(costs['Prompt tokens']):,}" in page
    assert costs["Seconds"] > 0


def test_each_control_that_must_be_seen_is_drawn_against_the_set(sound):
    found, page = sound
    (control,) = [c for c in found.controls if (c.question, c.kind) == ("consistency", "blank")]
    assert {name: int(counts.sum()) for name, counts in control.histogram.parts.items()} == {
        "set": 8,
        "controls": 4,
    }
    assert control.histogram.parts["set"][-10:].sum() == 8
    assert control.histogram.parts["controls"][:10].sum() == 4
    for drawn in found.histograms:
        assert drawn.words in page
