"""The judge as a step of a recipe: paid once through kills, tolerances, counts in the manifest."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from filters.fake_server import MODEL, Behaviour, FakeServer
from filters.judge_step import JudgeConfig, JudgeError
from programs import Program
from recipes.display import Display
from recipes.run import Run
from recipes.schema import load_recipe
from shards.ledger import Ledger
from shards.storage import Storage

RECIPE = """
name: judged
seed: 5
run: {{workers: 1}}
steps:
  base: {{step: single_candidate, samples: 24, size_px: 128, shard_size: 12, faults: {{wrong_subject: 0.3}}}}
  scores:
    step: judge
    input: base
    shard_size: 12
    questions: [consistency, presence]
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"],
      in_flight: 2, samples_at_once: 12}}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """An output with real rendered samples, made once."""
    folder = tmp_path_factory.mktemp("base")
    recipe = write_recipe(folder, "http://127.0.0.1:9")
    run(recipe, folder / "out", until="base")
    return folder / "out"


@pytest.fixture
def out(base, tmp_path):
    """An output that begins with those samples."""
    target = tmp_path / "out"
    target.mkdir()
    for each in base.iterdir():
        if each.name.startswith("base-"):
            (target / each.name).symlink_to(each)
    return target


def write_recipe(folder, url):
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(model=MODEL, url=url))
    return path


def run(recipe, out, *changes, **how):
    storage = Storage(str(out))
    loaded = load_recipe(recipe, changes)
    with Run(loaded, storage, Display(Console(quiet=True), storage, loaded.name)) as made:
        return made.execute(**how)


def truth_server(out):
    from filters.fake_answers import answer_from_truth

    (directory,) = (each for each in out.iterdir() if each.name.startswith("base-"))
    return FakeServer(Behaviour(answer=answer_from_truth(str(directory))))


def table(out, manifest, question):
    return pq.read_table(out / manifest.directory / "scores" / f"{question}.parquet").to_pylist()


def test_a_judge_that_knows_the_truth_tells_faults_from_clean(out, tmp_path):
    with truth_server(out) as server:
        manifest = run(write_recipe(tmp_path, server.url), out)["scores"]
    rows = table(out, manifest, "consistency")
    assert len(rows) == 24
    assert sorted({row["mode"] for row in rows}) == [1, 4]
    assert manifest.books.made == 24
    counts = manifest.stats["counts"]
    assert counts["requests"] == len([a for a in server.asked if not a.id.startswith("probe")])
    assert counts["prompt_tokens"] > counts["completion_tokens"] == counts["requests"]


def test_endpoints_and_concurrency_stay_out_of_the_hash(out, tmp_path):
    recipe = write_recipe(tmp_path, "http://127.0.0.1:9")
    plain = load_recipe(recipe)
    changed = load_recipe(
        recipe,
        [
            "scores.engine.endpoints=['http://other:8000/v1']",
            "scores.engine.in_flight=7",
            "scores.tolerate_unreadable=0.5",
        ],
    )
    assert plain.steps["scores"].settings.computed() == changed.steps["scores"].settings.computed()
    other = load_recipe(recipe, ["scores.engine.dtype=float8"])
    assert plain.steps["scores"].settings.computed() != other.steps["scores"].settings.computed()


def test_too_many_unread_replies_fail_the_step_and_keep_what_was_paid(out, tmp_path):
    with FakeServer(Behaviour(by_words={"Look at reference image 1": "low_mass"})) as server:
        recipe = write_recipe(tmp_path, server.url)
        with pytest.raises(
            JudgeError, match=r"got 24 of 24 \(24 presence: unreadable\); an unreadable"
        ) as caught:
            run(recipe, out)
        assert caught.value.__notes__ == [f"in {recipe}: steps.scores"]
        asked = len(server.asked)
        manifest = run(recipe, out, "scores.tolerate_unreadable=1.0")["scores"]
        assert len(server.asked) == asked
    assert manifest.books.made == 24
    assert {row["status"] for row in table(out, manifest, "presence")} == {"ok", "unreadable"}


def test_a_killed_run_asks_no_committed_reply_again(out, tmp_path):
    behaviour = Behaviour(latency_s=0.1)
    with FakeServer(behaviour) as server:
        recipe = write_recipe(tmp_path, server.url)
        with Program("-m", "recipes.cli", "run", recipe, "--out", out) as program:
            while len(server.asked) < 45:
                assert program.is_running(), program.said()
                time.sleep(0.02)
            program.kill()
        time.sleep(0.5)
        storage = Storage(str(out)).child("ledger")
        committed = {
            address.hex()
            for s in Ledger(storage)._segments.values()
            for address in s.heads["request"].to_pylist()
        }
        before = len(server.asked)
        behaviour.latency_s = 0
        manifest = run(recipe, out)["scores"]
        again = {asked.id for asked in server.asked[before:]}
    assert len(committed) >= 32
    assert not committed & again
    assert before - len(committed) <= 32 + 2 + 1
    assert manifest.books.made == 24


def test_killed_or_not_the_bytes_are_the_same(out, tmp_path):
    with truth_server(out) as server:
        whole = run(write_recipe(tmp_path, server.url), out)["scores"]
    other = tmp_path / "other"
    other.mkdir()
    for each in out.iterdir():
        if each.name.startswith(("base-", "ledger")):
            (other / each.name).symlink_to(each)
    changes = ["scores.engine.samples_at_once=5", "scores.run={workers: 2, slice_size: 5}"]
    again = run(write_recipe(tmp_path, "http://127.0.0.1:9"), other, *changes)["scores"]
    assert again.files == whole.files


def test_the_package_serves_the_fake_as_a_program(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-m", "filters.fake_server", "--port", "0", "--log", str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = json.loads(process.stdout.readline())["url"]
        assert url.startswith("http://127.0.0.1:")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert Path(log).parent.is_dir()


def test_a_step_that_is_stopped_early_names_what_could_not_be_read():
    config = JudgeConfig(questions=("consistency",))
    with pytest.raises(JudgeError, match=r"got 60 of 60 \(60 unreadable\); an unreadable reply is paid"):
        config.check_counts({"unread_samples": 60, "unreadable": 60}, 60)
    with pytest.raises(JudgeError, match=r"\(59 error: timeout, 1 unreadable\); `bakery retry` asks"):
        config.check_counts({"unread_samples": 60, "error: timeout": 59, "unreadable": 1}, 60)
