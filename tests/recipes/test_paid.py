"""What has nothing left to ask starts no server: judges, verifiers and builders alike."""

import pytest
from rich.console import Console

from datagen.fake_chat_server import MODEL as CHAT_MODEL
from datagen.fake_chat_server import FakeChatServer
from datagen.fake_images_server import MODEL as IMAGES_MODEL
from datagen.fake_images_server import FakeImagesServer
from filters.fake_server import MODEL, Behaviour, FakeServer
from recipes.display import Display
from recipes.run import Run, ray_is_up
from recipes.schema import load_recipe
from shards.executor import EngineError
from shards.storage import Storage

RECIPE = """
name: paid
seed: 5
run: {{workers: 1}}
resources:
  servers: {{replicas: 1, gpus: 0, command: ["touch", "{mark}"], start_s: 5}}
steps:
  base: {{step: single_candidate, samples: 8, size_px: 128}}
  drawn:
    step: multi_input
    samples: 4
    size_px: 256
    shard_size: 500
    writer: {{model: {chat}, revision: r1, endpoints: ["{chat_url}"]}}
    inputs: {{model: {images}, revision: r1, endpoints: ["{images_url}"]}}
    output: {{model: {images}, revision: r1, endpoints: ["{images_url}"]}}
  multi: {{step: multi_candidate, input: base, samples: 6, rounds: 2}}
  checked:
    step: verify
    input: multi
    shard_size: 500
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"]}}
  scores:
    step: judge
    input: base
    shard_size: 500
    questions: [consistency, presence]
    controls: 2
    tolerate_unreadable: 1
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"]}}
"""


def run(recipe, out, *changes):
    with Run(load_recipe(recipe, changes), out, Display(Console(quiet=True), out, "paid")) as made:
        return made.execute()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recipe whose every question was answered by servers that are gone; its output; its manifests."""
    folder = tmp_path_factory.mktemp("paid")
    out = Storage(str(folder / "out"))
    recipe = folder / "recipe.yaml"
    with FakeServer(Behaviour()) as server, FakeChatServer() as chat, FakeImagesServer() as images:
        urls = {"url": server.url, "chat_url": chat.url, "images_url": images.url}
        models = {"model": MODEL, "chat": CHAT_MODEL, "images": IMAGES_MODEL}
        recipe.write_text(RECIPE.format(**urls, **models, mark=folder / "mark"))
        manifests = run(recipe, out)
    return recipe, out, manifests


@pytest.mark.parametrize(
    ("step", "models"),
    [("scores", ["engine"]), ("checked", ["engine"]), ("drawn", ["writer", "inputs", "output"])],
)
def test_where_the_ledger_has_every_answer_no_server_is_started(made, step, models):
    recipe, out, manifests = made
    was_up = ray_is_up()  # as an earlier test of this process left it
    assert manifests[step].stats["counts"]["requests"]
    out.delete(manifests[step].directory)  # nothing is copied from it
    servers = [f"{step}.{model}.server=servers" for model in models]
    again = run(recipe, out, f"{step}.shard_size=3", *servers)[step]
    assert again.hash != manifests[step].hash
    assert again.books.made == manifests[step].books.made
    assert not again.stats.get("counts", {}).get("requests")
    assert not (recipe.parent / "mark").exists()
    assert ray_is_up() == was_up


@pytest.mark.ray
@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize(
    "asked", ["scores.questions=[consistency, presence, copy_paste]", "scores.controls=3"]
)
def test_the_first_question_that_was_never_asked_starts_them(made, engine, asked):
    """Whether it is asked about a sample, by a worker, or about a control, by the driver."""
    recipe, out, _ = made
    was_up = ray_is_up()
    with pytest.raises(EngineError, match="no server starts"):
        run(recipe, out, f"run.engine={engine}", "scores.engine.server=servers", asked)
    assert (recipe.parent / "mark").exists()
    (recipe.parent / "mark").unlink()
    assert ray_is_up() == was_up
