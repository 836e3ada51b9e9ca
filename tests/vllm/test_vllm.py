"""The served judge against a real vLLM: a rendered shard judged, killed halfway, and nothing paid twice."""

import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from filters.judge_step import JudgeConfig
from filters.rubrics import SHIPPED, load_questions
from recipes.display import Display
from recipes.run import Run
from recipes.schema import RecipeError, load_recipe
from shards.http_client import EndpointError
from shards.ledger import Ledger
from shards.stage import Work
from shards.storage import Storage
from tiny_samples import make_sample

pytestmark = pytest.mark.vllm

# Weights are random, so the labels share little of the mass: the floor is off.
RECIPE = """
name: vllm
seed: 11
run: {{workers: 1, slice_size: 30}}
steps:
  base: {{step: single_candidate, samples: 60, size_px: 128, shard_size: 30}}
  scores:
    step: judge
    input: base
    shard_size: 30
    questions: [consistency, presence, copy_paste]
    mass_floor: 0
    engine:
      kind: served
      model: {model}
      revision: random-seed-0
      dtype: float32
      endpoints: ["{url}/v1"]
      in_flight: 8
      samples_at_once: 30
      timeout_s: 120
"""


@pytest.fixture(scope="module")
def recipe(vllm, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(RECIPE.format(model=vllm.model, url=vllm.url))
    return path


@pytest.fixture(scope="module")
def out(recipe):
    """Where the run is killed when a good part of its questions have been asked, and goes on from there."""
    folder = recipe.parent / "out"
    run(recipe, folder, until="base")
    return folder


@pytest.fixture(scope="module")
def killed(vllm, recipe, out):
    """(ids that were committed, ids the server saw before, ids it saw after, the finished manifest)"""
    command = [sys.executable, "-m", "recipes.cli", "run", str(recipe), "--out", str(out)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    while len(vllm.asked()) < 110:
        assert process.poll() is None, "it finished before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)  # the server ends what it has in work
    held = Ledger(Storage(str(out)).child("ledger"))
    before = vllm.asked()
    committed = {name for name in before if held.get(bytes.fromhex(name)) is not None}
    manifest = run(recipe, out)["scores"]
    return committed, before, vllm.asked()[len(before) :], manifest


def run(recipe, out, *changes, **how):
    storage = Storage(str(out))
    loaded = load_recipe(recipe, changes)
    with Run(loaded, storage, Display(Console(quiet=True), storage, loaded.name)) as made:
        return made.execute(**how)


def rows(out, manifest, question):
    return pq.read_table(out / manifest.directory / "scores" / f"{question}.parquet").to_pylist()


def test_no_committed_reply_is_asked_again_after_sigkill(killed):
    committed, before, after, manifest = killed
    assert len(committed) >= 32
    assert after
    assert not committed & set(after)
    assert len(before) - len(committed) <= 32 + 8  # uncommitted, and in flight
    assert manifest.books.made == manifest.books.planned == 60


def test_every_question_has_a_row_that_can_be_read(killed, out):
    manifest = killed[3]
    for question, labels in (("consistency", 5), ("presence", 2), ("copy_paste", 2)):
        found = rows(out, manifest, question)
        assert {row["status"] for row in found} == {"ok"}
        assert {len(row["probabilities"]) for row in found} == {labels}
        assert len({row["key"] for row in found}) == 60
        assert all(0 < row["label_mass"] < 1 for row in found)


def test_another_policy_asks_nothing(vllm, killed, recipe, out):
    before = len(vllm.asked())
    again = run(recipe, out, "scores.mass_floor=0.9", "scores.tolerate_unreadable=1")["scores"]
    assert len(vllm.asked()) == before
    assert {row["status"] for row in rows(out, again, "consistency")} == {"unreadable"}


def test_further_questions_of_a_sample_find_its_images_in_the_servers_cache(killed):
    counts = killed[3].stats["counts"]
    assert 0 < counts["cached_tokens"] < counts["prompt_tokens"]


def test_another_model_name_is_refused(recipe, out):
    with pytest.raises(EndpointError, match="expected a server of 'qwen', got one of tiny"):
        run(recipe, out, "scores.engine.model=qwen")


def test_a_label_of_several_tokens_is_refused_with_the_tokenizers_answer(recipe, out, monkeypatch, tmp_path):
    text = SHIPPED.read_text().replace('"4": 4}', '"perfect": 4}')
    (tmp_path / "rubric.yaml").write_text(text)
    question = load_questions(tmp_path / "rubric.yaml")["consistency"]
    monkeypatch.setattr("filters.judge_step.pick_questions", lambda names: (question,))
    loaded = load_recipe(recipe).steps["scores"].settings
    stage = JudgeConfig(questions=("consistency",), engine=loaded.engine).build(
        Ledger(Storage(str(tmp_path)))
    )
    with pytest.raises(EndpointError, match=r"label 'perfect': expected one token, got \d: \['p',"):
        stage([Work(key="a", parents=(make_sample(1),))])
    stage.close()


def test_a_recipe_with_a_bad_endpoint_is_refused(recipe):
    with pytest.raises(RecipeError, match="without a key in them"):
        load_recipe(recipe, ["scores.engine.endpoints=['http://me:key@host/v1']"])
