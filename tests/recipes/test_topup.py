"""Exact counts: a shortfall names case and yield, `topup` fills it, and nothing is made or asked twice."""

import shlex
from collections import Counter

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from filters.fake_server import MODEL, FakeServer
from filters.fake_server import Behaviour as Fake
from filters.select import Shortfall, ShortfallError
from recipes.cli import app
from recipes.display import Display
from recipes.identity import hashes
from recipes.run import Run
from recipes.schema import RecipeError, load_recipe
from recipes.topup import missing, raises, write_samples
from shards.books import Books
from shards.index import Directory
from shards.manifest import Manifest, write_manifest
from shards.selection import kept_keys
from shards.storage import Storage

WANTED = {"character": 5, "object": 6}
RECIPE = """
# This comment, and the odd   spacing below, are the author's.
name: exact
seed: 5
run: {{workers: 1}}
steps:
  base: {{step: single_candidate,   samples: 16,  size_px: 128}}  # sixteen
  scores:
    step: judge
    input: base
    questions: [copy_paste]
    tolerate_unreadable: 1
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"]}}
  good:
    step: select
    input: base
    scores: scores
    max_scores: {{copy_paste: 0.5}}
    order: [copy_paste]
    by: case
    best: {{character: 5, object: 6}}
    exact: true
"""


@pytest.fixture
def recipe(tmp_path):
    with FakeServer(Fake()) as server:
        path = tmp_path / "recipe.yaml"
        path.write_text(RECIPE.format(model=MODEL, url=server.url))
        yield path, server


def run(path, out, changes=()):
    loaded = load_recipe(path, changes)
    storage = Storage(str(out))
    with Run(loaded, storage, Display(Console(quiet=True), storage, "exact")) as made:
        return made.execute()


def test_a_shortfall_becomes_exact_counts_and_nothing_is_made_or_asked_twice(recipe, tmp_path):
    path, server = recipe
    out, text = tmp_path / "out", path.read_text()
    with pytest.raises(
        ShortfallError, match=r"object: \d of 6, \d of \d+ samples passed .*\n.*bakery topup"
    ) as error:
        run(path, out)
    assert f": bakery topup {path} good --out {out}" in error.value.__notes__[-1]
    assert {each.group for each in error.value.short} <= set(WANTED)
    first = Directory(next(found for found in folders(out, "base")))
    before = {key: first[key].target.data for key in first.places}

    result = CliRunner().invoke(app, ["topup", str(path), "good", "--out", str(out)])
    assert result.exit_code == 0, result.output
    raised = yaml.safe_load(path.read_text())["steps"]["base"]["samples"]
    assert "steps.base.samples: 16 -> " in result.output
    assert path.read_text() == text.replace("samples: 16", f"samples: {raised}")  # no other byte changed

    manifests = run(path, out)
    storage = Storage(str(out))
    base = Directory(storage.child(manifests["base"].directory))
    kept = kept_keys(storage.child(manifests["good"].directory))
    assert Counter(base[key].provenance.case for key in kept) == WANTED
    assert {key: base[key].target.data for key in before} == before
    assert manifests["base"].stats["copied"] >= len(before)
    asked = Counter(each.id for each in server.asked if not each.id.startswith("probe"))
    assert set(asked.values()) == {1}


def test_changes_as_by_set_count_but_for_the_number_that_is_raised(recipe, tmp_path):
    path, server = recipe
    out, text = tmp_path / "out", path.read_text()
    changes = [f"good.best={dict.fromkeys(WANTED, 2)}", "base.samples=3", "base.size_px=192"]
    sets = [word for change in changes for word in ("--set", change)]
    with pytest.raises(ShortfallError) as error:
        run(path, out, changes)
    command = shlex.split(error.value.__notes__[-1].partition("bakery topup ")[2])
    assert command == [str(path), "good", "--out", str(out), *sets]

    result = CliRunner().invoke(app, ["topup", *command])
    assert result.exit_code == 0, result.output
    raised = yaml.safe_load(path.read_text())["steps"]["base"]["samples"]
    assert "steps.base.samples: 3 -> " in result.output
    assert "; leave it out of --set from now on" in result.output
    assert path.read_text() == text.replace("samples: 16", f"samples: {raised}")
    asked = len(server.asked)
    manifests = run(path, out, [changes[0], changes[2]])
    assert manifests["good"].books.made == 4
    assert len(server.asked) == asked


def folders(out, step):
    return [Storage(str(path)) for path in sorted(out.glob(f"{step}-*"))]


def test_without_exact_a_shortfall_is_no_error(recipe, tmp_path):
    path, _ = recipe
    path.write_text(path.read_text().replace("exact: true", "exact: false"))
    manifests = run(path, tmp_path / "out")
    assert manifests["good"].books.made < sum(WANTED.values())
    short = missing(load_recipe(path), Storage(str(tmp_path / "out")), "good")
    assert (
        sum(each.wanted - each.kept for each in short) == sum(WANTED.values()) - manifests["good"].books.made
    )


def test_what_cannot_be_topped_up_is_said(recipe, tmp_path):
    path, _ = recipe
    loaded, out = load_recipe(path), Storage(str(tmp_path / "out"))
    with pytest.raises(RecipeError, match="expected a select step with `best`, of good, got 'base'"):
        missing(loaded, out, "base")
    with pytest.raises(RecipeError, match="expected a finished step"):
        missing(loaded, out, "good")


@pytest.mark.parametrize(
    ("planned", "short", "expected"),
    [
        (30, [(5, 4)], {"many": (30, 42)}),  # 1.1 times what the yield asks for
        (30, [(5, 4), (7, 2)], {"many": (30, 116)}),  # for the worst group
        (29, [(5, 4)], {"many": (30, 42), "base": (16, 22)}),  # it ran out of parents
        (30, [(5, 0)], {"many": (30, 240)}),
        (30, [(900, 1)], {"many": (30, 240)}),
    ],
)
def test_more_is_planned_by_the_yield_of_the_worst_group(tmp_path, planned, short, expected):
    path, out = tmp_path / "recipe.yaml", Storage(str(tmp_path / "out"))
    text = RECIPE.format(model=MODEL, url="http://127.0.0.1:9").replace("input: base", "input: many")
    many = "  many: {step: multi_candidate, input: base, samples: 30}\n  scores:"
    path.write_text(text.replace("  scores:", many, 1))
    loaded = load_recipe(path)
    for name, count in (("base", 16), ("many", planned)):
        of = {"type": "t", "kind": "samples", "config": {}, "hash": hashes(loaded)[name]}
        manifest = Manifest(name=name, books=Books(planned=count, made=count), **of)
        write_manifest(out.child(manifest.directory), manifest)
    fell = [Shortfall(group="object", wanted=wanted, kept=kept, read=9) for wanted, kept in short]
    found = raises(loaded, out, "good", fell)
    assert {each.step: (each.before, each.after) for each in found} == expected
    assert all(each.short == tuple(fell) for each in found)


def test_a_recipe_that_does_not_write_its_number_is_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: {base: {step: single_candidate}}")
    (raised,) = [type("Raise", (), {"step": "base", "after": 9})]
    with pytest.raises(RecipeError, match=r"steps.base.samples: expected a number to raise"):
        write_samples(path, [raised])


def test_every_other_byte_of_a_recipe_stays_and_a_link_to_it_too(tmp_path):
    path, link = tmp_path / "real.yaml", tmp_path / "recipe.yaml"
    path.write_bytes("# é\r\nsteps:\r\n  base: {step: single_candidate, samples: 16}  # sixteen\r\n".encode())
    link.symlink_to(path)
    (raised,) = [type("Raise", (), {"step": "base", "after": 99})]
    write_samples(link, [raised])
    expected = "# é\r\nsteps:\r\n  base: {step: single_candidate, samples: 99}  # sixteen\r\n"
    assert path.read_bytes().decode() == expected
    assert link.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["real.yaml", "recipe.yaml"]
