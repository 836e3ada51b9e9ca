"""From drawing to figures: benchmark and own cases drawn in rounds, judged by fakes, evaluated, compared."""

import pytest
from rich.console import Console

import published_benchmarks
from datagen.fake_images_server import MODEL, Behaviour, FakeImagesServer
from filters.evaluated import read_evaluated
from filters.fake_server import MODEL as JUDGE
from filters.fake_server import Behaviour as Judging
from filters.fake_server import FakeServer
from page_reader import Page
from recipes.display import Display
from recipes.run import Run
from recipes.schema import load_recipe
from shards.storage import Storage

RECIPE = """
name: measured
seed: 5
run: {{workers: 1}}
steps:
  base: {{step: single_candidate, samples: 6, size_px: 128}}
  drawn: {{step: draw, input: base, rounds: 3, images: &images {images}}}
  bench:
    step: draw_benchmark
    benchmark: sconeeval
    path: {path}
    rounds: 2
    size_px: 128
    images: *images
  base_judged: {{step: judge, input: base, questions: &graded [consistency, instruction_following]}}
  drawn_judged: {{step: judge, input: drawn, questions: *graded}}
  bench_judged: {{step: judge, input: bench, questions: [consistency, instruction_following]}}
  bench_shown: {{step: judge, input: bench, questions: [target_shows], engine: {judge}}}
  yardstick: {{step: evaluate, input: base, scores: base_judged}}
  own: {{step: evaluate, input: drawn, scores: drawn_judged}}
  sconeeval: {{step: evaluate, input: bench, scores: [bench_judged, bench_shown]}}
  page: {{step: report, base: yardstick}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    task = {"task_type": "composition_single", "case_type": "C"}
    gone = task | {"key": "gone", "instruction": "Paint it.", "input_image": "no.png"}
    again = task | {
        "key": "comp-1",
        "instruction": "Paint comp-1 at sea.",
        "input_image": "images/comp-1_0.png",
    }
    published_benchmarks.sconeeval(folder / "sconeeval", more=[gone, again])
    out = Storage(str(folder / "out"))
    lost = Behaviour(by_words={"Paint comp-2": "no_picture"})
    with FakeImagesServer(lost) as server, FakeServer(Judging()) as judge:
        images = {"model": MODEL, "revision": "r1", "does": ["edit"], "endpoints": [server.url]}
        asked = {"kind": "served", "model": JUDGE, "revision": "r1", "endpoints": [judge.url]}
        text = RECIPE.format(images=images, path=folder / "sconeeval", judge=asked)
        (folder / "recipe.yaml").write_text(text)
        recipe = load_recipe(folder / "recipe.yaml")
        with Run(recipe, out, Display(Console(quiet=True), out, "measured")) as run:
            manifests = run.execute()
    return out, manifests


def test_rounds_are_of_their_cases(made):
    out, manifests = made
    own = read_evaluated(out.child(manifests["own"].directory))
    assert len(own.pictures) == 3 * own.coverage.cases == 18
    bench = read_evaluated(out.child(manifests["sconeeval"].directory))
    assert manifests["bench"].books.reasons == {"duplicate_record": 1, "missing_image": 1, "no_picture": 2}
    assert bench.coverage.words == "5 of 7 cases (2 not drawn)"
    assert len(bench.pictures) == 2 * 5
    assert "composition_multi" not in bench.figures.subtasks
    assert set(bench.figures.totals) == {"COM", "DIS", "Overall"}
    assert manifests["bench_shown"].books.reasons == {"nothing_to_ask": 2}


def test_the_drawn_stand_against_the_yardstick(made):
    out, manifests = made
    page = Page(out.child(manifests["page"].directory).read("report.html").decode())
    assert "own − yardstick" in page.text
    assert "6 cases of both" in page.text
