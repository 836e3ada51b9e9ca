"""Drawn sets in a recipe: checked, made on both engines, killed, drawn in more rounds, kept from training."""

import random
import time

import pytest
from rich.console import Console

import published_benchmarks
from command_line import bakery
from datagen.fake_images_server import MODEL, Behaviour, FakeImagesServer
from programs import Program
from recipes.check import expectations
from recipes.display import Display
from recipes.run import Run
from recipes.schema import load_recipe
from recipes.trace import Way
from shards.index import Directory
from shards.storage import Storage
from train.config import ConfigError
from train.source import Source
from written_recipe import errors_of
from written_recipe import write as written

IN_FLIGHT, WORKERS = 2, 2
RECIPE = """
name: measured
seed: 5
run: {{workers: 2, slice_size: 2}}
steps:
  base: {{step: single_candidate, samples: 5, size_px: 128}}
  drawn: {{step: draw, input: base, rounds: 2, samples_at_once: 2, images: &images {images}}}
  bench:
    step: draw_benchmark
    benchmark: sconeeval
    path: {path}
    sample: 5
    rounds: 2
    size_px: 128
    samples_at_once: 2
    images: *images
  judged: {{step: judge, input: drawn, questions: [consistency]}}
"""


def write(folder, url="http://127.0.0.1:9", text=RECIPE):
    published_benchmarks.sconeeval(folder / "sconeeval")
    images = {"model": MODEL, "revision": "r1", "does": ["edit"], "endpoints": [url], "in_flight": IN_FLIGHT}
    path = folder / "recipe.yaml"
    path.write_text(text.format(images={**images, "outage_s": 5}, path=folder / "sconeeval"))
    return path


def run(path, *changes, out=None, only=("base", "drawn", "bench")):
    storage = Storage(str(out or path.parent / "out"))
    with Run(load_recipe(path, changes), storage, Display(Console(quiet=True), storage, "m")) as made:
        return made.execute(only=only)


def digests(made):
    """The files of drawn directories but their manifests, which tell times."""
    return {
        name: {file: (record.size, record.digest) for file, record in made[name].files.items()}
        for name in ("drawn", "bench")
    }


def pictures_asked(server):
    return [asked.request for asked in server.asked]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nobody disturbed, and what it asked."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with FakeImagesServer() as server:
        path = write(folder, server.url)
        made = run(path)
        return path, made, pictures_asked(server)


def test_every_picture_is_asked_once_and_the_books_balance(undisturbed):
    path, made, asked = undisturbed
    assert len(asked) == len(set(asked)) == 20
    drawn, bench = made["drawn"].books, made["bench"].books
    assert (drawn.read, drawn.used, drawn.planned, drawn.made) == (5, 5, 10, 10)
    assert (bench.read, bench.used, bench.unused, bench.planned, bench.made) == (6, 5, 1, 10, 10)
    out = path.parent / "out"
    rows = list(Directory(Storage(str(out / made["bench"].directory))).rows())
    assert {row.source for row in rows} == {"sconeeval"}
    assert {row.task for row in rows} <= {case[1] for case in published_benchmarks.CASES}


def test_more_rounds_copy_or_find_what_was_paid_and_ask_for_the_rest(undisturbed):
    path, made, _ = undisturbed
    with FakeImagesServer() as server:
        out = path.parent / "out"
        urls = [f"{name}.images.endpoints=['{server.url}']" for name in ("drawn", "bench")]
        more = run(path, *urls, "drawn.rounds=3", "bench.rounds=3", out=out)
        assert len(server.asked) == 10
    assert more["drawn"].stats["copied"] == 10
    assert more["drawn"].books.made == more["bench"].books.made == 15
    for name in ("drawn", "bench"):
        fewer, all_of = (Directory(Storage(str(out / manifest[name].directory))) for manifest in (made, more))
        assert all(all_of[key] == fewer[key] for key in fewer.places)


def test_what_a_server_did_not_give_is_asked_for_once_its_directory_is_deleted(undisturbed, tmp_path):
    path, made, _ = undisturbed
    with FakeImagesServer(Behaviour(by_words={"Paint comp-": "no_picture"})) as server:
        urls = [f"{name}.images.endpoints=['{server.url}']" for name in ("drawn", "bench")]
        lacking = run(path, *urls, out=tmp_path / "out")["bench"]
        cases = Directory(Storage(str(path.parent / "out" / made["bench"].directory))).places
        failed = sum(key.startswith("comp-") for key in cases)
        assert failed
        assert lacking.books.reasons == {"no_picture": failed}
        Storage(str(tmp_path / "out")).delete(lacking.directory)
        server.images.behaviour.by_words = {}
        before = len(server.asked)
        whole = run(path, *urls, out=tmp_path / "out")
        assert len(server.asked) - before == failed
    assert digests(whole) == digests(made)


@pytest.mark.ray
def test_another_engine_and_other_slices_make_the_same_bytes(undisturbed, tmp_path):
    path, made, asked = undisturbed
    with FakeImagesServer() as server:
        urls = [f"{name}.images.endpoints=['{server.url}']" for name in ("drawn", "bench")]
        other = run(path, *urls, "run.engine=ray", "run.slice_size=5", out=tmp_path / "out")
        assert sorted(pictures_asked(server)) == sorted(asked)
    assert digests(other) == digests(made)


def test_killed_again_and_again_it_ends_in_the_same_bytes_and_pays_for_little_twice(undisturbed, tmp_path):
    path, made, asked = undisturbed
    draw = random.Random(3)
    with FakeImagesServer(Behaviour(latency_s=0.15)) as server:
        urls = [f"{name}.images.endpoints=['{server.url}']" for name in ("drawn", "bench")]
        command = ["-W", "ignore", "-m", "recipes.cli", "run", path]
        command += ["--out", tmp_path / "out", "--until", "bench"]
        for change in urls:
            command += ["--set", change]
        kills = 0
        for _ in range(3):
            wanted = len(server.asked) + draw.randrange(4, 7)
            with Program(*command) as program:
                while program.is_running() and len(server.asked) < wanted:
                    time.sleep(0.02)
                kills += program.kill()
        assert kills == 3
        again = run(path, *urls, out=tmp_path / "out")
        requests = pictures_asked(server)
    assert digests(again) == digests(made)
    assert set(requests) == set(asked)
    assert len(requests) - len(asked) <= kills * WORKERS * IN_FLIGHT


def test_a_sample_and_the_one_drawn_for_it_have_one_key_and_are_shown_apart(undisturbed, tmp_path):
    path, made, _ = undisturbed
    out = Storage(str(path.parent / "out"))
    key = next(iter(Directory(out.child(made["base"].directory)).places))
    way, drawn = Way(out), made["drawn"].directory
    assert way.find(key).provenance.source == "single_candidate"
    for within in ("drawn", drawn):
        assert way.find(key, within) == Directory(out.child(drawn))[key]
    assert way.find(f"{key}-r1").provenance.parents == (key,)
    told = "expected a step of samples of base, bench, drawn, got 'drwn'"
    shown = bakery(tmp_path, "show", out.uri, key, "--in", "drwn")
    assert told in shown.stderr
    shown = bakery(tmp_path, "show", out.uri, key, "--in", "drawn")
    assert "from draw, licence" in shown.stdout
    assert [line for line in way.lines(key) if f"{drawn}: made from {key}" in line]


def test_a_recipe_is_checked_and_its_counts_told(tmp_path):
    path = write(tmp_path)
    checked = bakery(tmp_path, "check", str(path))
    assert checked.returncode == 0, checked.stderr
    assert "missing" not in checked.stdout
    most = {e.step.name: e.most for e in expectations(load_recipe(path), Storage(str(tmp_path / "out")))}
    assert most == {"base": 5, "drawn": 10, "bench": 10, "judged": 10}
    gone = bakery(tmp_path, "check", str(path), "--set", f"bench.path={tmp_path}/gone")
    assert f"missing for bench: {tmp_path}/gone: expected a folder, got none; set its path" in gone.stdout


TRAINED = """
steps:
  base: {{step: single_candidate, samples: 5}}
  drawn: {{step: draw, input: {of}, images: {{model: m, revision: r, does: [edit]}}}}
  bench: {{step: draw_benchmark, benchmark: sconeeval, path: set, images: {{model: m, revision: r}}}}
  scores: {{step: judge, input: {judged}, questions: [consistency]}}
  kept: {{step: select, input: {judged}, scores: scores, min_scores: {{consistency: 3}}}}
  packed: {{step: pack, input: [base, kept]}}
  trained: {{step: train, stages: [stage1_base], base: {trained}}}
"""


@pytest.mark.parametrize(
    ("of", "judged", "trained", "is_refused"),
    [
        ("base", "base", "bench", True),
        ("base", "bench", "kept", True),
        ("base", "bench", "packed", True),
        ("bench", "drawn", "packed", True),
        ("bench", "base", "packed", False),
        ("base", "drawn", "packed", False),
    ],
)
def test_a_benchmark_is_not_trained_on_whatever_lies_between(tmp_path, of, judged, trained, is_refused):
    text = TRAINED.format(of=of, judged=judged, trained=trained)
    if not is_refused:
        assert "trained" in load_recipe(written(tmp_path, text)).steps
        return
    (error,) = errors_of(tmp_path, text)
    assert error.endswith(
        f"steps.trained: base: expected a set to train on, got '{trained}', which holds the benchmark's "
        "cases that 'bench' draws: what a model was trained on cannot measure it; leave it out"
    )


def test_a_training_on_drawn_targets_is_told_by_check_and_not_refused(tmp_path):
    text = TRAINED.format(of="base", judged="drawn", trained="packed")
    (tmp_path / "recipe.yaml").write_text(text.replace("path: set", f"path: {tmp_path}/set"))
    published_benchmarks.sconeeval(tmp_path / "set")
    checked = bakery(tmp_path, "check", "recipe.yaml", columns=400)
    assert checked.returncode == 0, checked.stderr
    assert (
        "look at trained: base: the targets of 'packed' are what the model of 'drawn' drew" in checked.stdout
    )


def test_dedup_against_a_drawn_benchmark_is_no_training_on_it(tmp_path):
    text = TRAINED.format(of="base", judged="base", trained="clean")
    text += "  clean: {step: dedup, input: base, against: bench}\n"
    assert "trained" in load_recipe(written(tmp_path, text)).steps


MEASURED = """
steps:
  base: {{step: single_candidate, samples: 5}}
  drawn: {{step: draw, input: base, images: {{model: m, revision: r, does: [edit]}}}}
  judged: {{step: judge, input: {judged}, questions: [consistency, instruction_following]}}
  some: {{step: split, input: drawn, share: 0.5, part: rest}}
  scored: {{step: evaluate, input: {of}, scores: judged}}
"""


@pytest.mark.parametrize(
    ("judged", "of", "is_refused"),
    [
        ("drawn", "drawn", False),
        ("drawn", "some", False),
        ("some", "some", False),
        ("base", "drawn", True),
        ("base", "some", True),
        ("some", "base", True),
    ],
)
def test_scores_of_a_set_are_not_taken_for_those_of_what_was_drawn_for_it(tmp_path, judged, of, is_refused):
    text = MEASURED.format(judged=judged, of=of)
    if not is_refused:
        assert "scored" in load_recipe(written(tmp_path, text)).steps
        return
    (error,) = errors_of(tmp_path, text)
    wanted, other = ("base", "drawn") if of == "base" else ("drawn", "base")
    assert error.endswith(
        f"steps.scored: scores: expected scores of '{wanted}', got 'judged', of '{other}'; judge what is "
        "evaluated"
    )


def test_a_selection_takes_scores_of_the_same_pictures_alone(tmp_path):
    text = MEASURED.format(judged="base", of="base").replace("scored: {step: evaluate", "best: {step: select")
    text = text.replace("scores: judged}", "scores: judged, min_scores: {consistency: 2}}")
    assert "best" in load_recipe(written(tmp_path, text)).steps
    (error,) = errors_of(tmp_path, text.replace("select, input: base", "select, input: drawn"))
    told = "expected scores of 'drawn', got 'judged', of 'base'; judge what is selected from"
    assert error.endswith(f"steps.best: scores: {told}")
    copied = text.replace("select, input: base", "select, input: mixed")
    copied += "  mixed: {step: mix, input: [base], samples: 3}\n"
    assert "best" in load_recipe(written(tmp_path, copied)).steps


def test_a_set_that_is_made_of_itself_is_told_and_looked_through_once(tmp_path):
    text = MEASURED.format(judged="some", of="some").replace("input: drawn, share", "input: packed, share")
    text += "  packed: {step: split, input: some, share: 0.5, part: rest}\n"
    text += "  trained: {step: train, stages: [stage1_base], base: some}\n"
    (error,) = errors_of(tmp_path, text)
    assert "steps: expected no cycle, got " in error


def test_a_trainer_that_is_given_a_benchmark_s_directory_refuses_it(undisturbed):
    path, made, _ = undisturbed
    source = Source(str(path.parent / "out" / made["bench"].directory))
    told = r"bench-\w+: expected samples to train on, got 10 of the benchmark 'sconeeval'; leave them out"
    with pytest.raises(ConfigError, match=told):
        source.places(0, tokenizer=None)
