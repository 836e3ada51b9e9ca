"""A judge that has nothing left to ask starts no server, and opens no image to know it."""

import pytest
from rich.console import Console

from filters.fake_server import MODEL, Behaviour, FakeServer
from recipes.display import Display
from recipes.run import Run, ray_is_up
from recipes.schema import load_recipe
from shards.index import Directory
from shards.ledger import Ledger
from shards.storage import Storage

RECIPE = """
name: paid
seed: 5
run: {{workers: 1}}
resources:
  judge: {{replicas: 1, gpus: 0, command: ["touch", "{mark}"], start_s: 5}}
steps:
  base: {{step: single_candidate, samples: 8, size_px: 128}}
  scores:
    step: judge
    input: base
    shard_size: 500
    questions: [consistency, presence]
    controls: 2
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"]}}
"""


def run(recipe, out, *changes):
    with Run(load_recipe(recipe, changes), out, Display(Console(quiet=True), out, "paid")) as made:
        return made.execute()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recipe whose every question was answered by a server that is gone; its output; its manifests."""
    folder = tmp_path_factory.mktemp("paid")
    out = Storage(str(folder / "out"))
    recipe = folder / "recipe.yaml"
    with FakeServer(Behaviour()) as server:
        recipe.write_text(RECIPE.format(model=MODEL, url=server.url, mark=folder / "mark"))
        manifests = run(recipe, out)
    return recipe, out, manifests


def paid(made, *changes, limit=None):
    recipe, out, manifests = made
    settings = load_recipe(recipe, changes).steps["scores"].settings
    base = out.child(manifests["base"].directory)
    return settings.is_paid(list(Directory(base).rows()), [base], Ledger(out.child("ledger")), limit)


def test_where_the_ledger_has_every_answer_no_server_is_started(made):
    recipe, out, manifests = made
    again = run(recipe, out, "scores.shard_size=3", "scores.engine.server=judge")["scores"]
    assert again.hash != manifests["scores"].hash
    assert again.books.made == 8
    assert not again.stats.get("counts", {}).get("requests")
    assert not (recipe.parent / "mark").exists()
    assert not ray_is_up()


def test_all_is_paid_only_while_questions_judge_and_controls_are_the_same(made):
    assert paid(made)
    assert paid(made, "scores.questions=[presence]", "scores.controls=1")
    assert not paid(made, "scores.questions=[consistency, presence, copy_paste]")
    assert not paid(made, "scores.engine.revision=r2")
    assert not paid(made, "scores.controls=3")


def test_only_the_samples_that_a_limit_leaves_are_looked_at(made, tmp_path):
    recipe, out, manifests = made
    more = Storage(str(tmp_path / "out"))
    base = run_until(recipe, more, "base", "base.samples=12")
    settings = load_recipe(recipe).steps["scores"].settings
    storage, ledger = more.child(base.directory), Ledger(out.child("ledger"))
    rows = sorted(Directory(storage).rows(), key=lambda row: not row_is_known(row, out, manifests))
    assert not settings.is_paid(rows, [storage], ledger)
    plain = settings.model_copy(update={"controls": 0})
    known = sum(row_is_known(row, out, manifests) for row in rows)
    assert 0 < known < len(rows)
    assert plain.is_paid(rows, [storage], ledger, known)
    assert not plain.is_paid(rows, [storage], ledger, known + 1)


def row_is_known(row, out, manifests):
    return row.digest in {r.digest for r in Directory(out.child(manifests["base"].directory)).rows()}


def run_until(recipe, out, until, *changes):
    with Run(load_recipe(recipe, changes), out, Display(Console(quiet=True), out, "paid")) as made:
        return made.execute(until=until)[until]


def test_no_image_is_read_to_know_it(made, monkeypatch):
    names = []
    read = Directory.read_members

    def noted(self, shard, rows):
        names.extend(row["name"] for row in rows)
        return read(self, shard, rows)

    monkeypatch.setattr(Directory, "read_members", noted)
    monkeypatch.setattr(Directory, "members", None)
    recipe, out, manifests = made
    settings = load_recipe(recipe, ["scores.controls=0"]).steps["scores"].settings
    base = out.child(manifests["base"].directory)
    assert settings.is_paid(list(Directory(base).rows()), [base], Ledger(out.child("ledger")))
    assert len(names) == 8
    assert all(name.endswith(".json") for name in names)
