"""Servers that a recipe asks for: on Ray, restarted, and gone with the run."""

import os
import signal
import sys
import threading
import time

import pytest
from rich.console import Console

from filters.fake_server import MODEL
from recipes.display import Display
from recipes.run import Run, ray_is_up
from recipes.schema import RecipeError, load_recipe
from recipes.servers import Servers, ServerSettings
from shards.executor import EngineError
from shards.storage import Storage

RECIPE = f"""
name: served
seed: 5
run: {{engine: local, workers: 1}}
resources:
  judge:
    replicas: 2
    gpus: 0
    command: ["{sys.executable}", "-m", "filters.fake_server", "--host", "{{host}}", "--port", "{{port}}"]
    args: ["--model", "{MODEL}", "--latency-s", "0.15", "--log", "LOG"]
    start_s: 60
steps:
  base: {{step: single_candidate, samples: 24, size_px: 128}}
  scores:
    step: judge
    input: base
    questions: [consistency, presence]
    engine: {{kind: served, model: {MODEL}, revision: r1, server: judge, in_flight: 2}}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("LOG", str(tmp_path / "log")))
    return path


def servers():
    """Processes that serve the fake; not their guards, nor other tests'."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:  # noqa: PTH123
                words = file.read().split(b"\0")
        except OSError:
            continue
        if b"filters.fake_server" in words and b"shards.guard" not in words and b"0.15" in words:
            found.append(int(entry))
    return found


def run(recipe, *changes):
    out = Storage(str(recipe.parent / "out"))
    loaded = load_recipe(recipe, changes)
    with Run(loaded, out, Display(Console(quiet=True), out, "served")) as made:
        return made.execute()


@pytest.mark.ray
def test_servers_serve_the_run_come_back_when_killed_and_end_with_it(recipe):
    killed = []

    def kill_one():
        log = recipe.parent / "log"
        while not (log.exists() and log.read_text().count("\n") > 10):
            time.sleep(0.05)
        killed.append(servers()[0])
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill_one, daemon=True).start()
    manifest = run(recipe)["scores"]
    assert killed
    assert manifest.books.made == 24
    assert not [name for name in manifest.stats["counts"] if ":" in name]
    end = time.monotonic() + 20
    while servers():
        assert time.monotonic() < end, "a server outlived the run"
        time.sleep(0.1)


@pytest.mark.ray
def test_a_cluster_without_the_gpus_is_refused_with_both_counts(recipe):
    was_up = ray_is_up()  # as an earlier test of this process left it
    with pytest.raises(
        EngineError, match=r"resources.judge: needs 4 GPUs \(2 replicas of 2\), cluster has 0"
    ):
        run(recipe, "resources.judge.gpus=2")
    assert ray_is_up() == was_up, "the run started Ray and left it"
    assert not list((recipe.parent / "out").glob("base-*")), "told after hours of other steps"


def test_an_unknown_server_is_refused_with_those_there_are(recipe):
    with pytest.raises(RecipeError, match=r"scores.engine.server: judges: unknown; did you mean 'judge'\?"):
        load_recipe(recipe, ["scores.engine.server=judges"])


def test_how_many_servers_there_are_stays_out_of_the_hash(recipe):
    plain = load_recipe(recipe).steps["scores"].settings.computed()
    assert load_recipe(recipe, ["resources.judge.replicas=9"]).steps["scores"].settings.computed() == plain


def test_a_server_that_dies_is_waited_for_as_long_as_its_start_may_take(recipe):
    out = Storage(str(recipe.parent / "out"))
    loaded = load_recipe(recipe, ["resources.judge.start_s=900", "scores.engine.outage_s=60"])
    engine = Servers(loaded, out).settled(loaded.steps["scores"].settings).engine
    assert engine.outage_s == 900
    assert engine.endpoints == ()


def test_a_place_comes_from_the_environment_and_a_script_keeps_its_own_variables(monkeypatch):
    monkeypatch.setenv("WEIGHTS", "/models")
    monkeypatch.delenv("HERE", raising=False)
    script = 'HERE=$(pwd); exec serve "$HERE" --port {port}'
    command = ("sh", "-c", script, "$WEIGHTS", "${WEIGHTS}/last", "--name=$WEIGHTS")
    settings = ServerSettings(command=command)
    assert settings.missing() == []
    assert settings.spec("ours", "m").command == [
        "sh",
        "-c",
        script,
        "/models",
        "/models/last",
        "--name=$WEIGHTS",
    ]
    assert "the variable HERE" in ServerSettings(command=("serve", "${HERE}/model")).missing()[0]
