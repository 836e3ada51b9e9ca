"""The demo with a served judge, in small, against the fake: every shipped question, from base to page."""

import socket
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from rich.console import Console

from filters.fake_server import Behaviour, FakeServer
from recipes.display import Display
from recipes.run import Run
from recipes.schema import load_recipe
from recipes.servers import check_endpoints
from shards.served_model import WrongModelError
from shards.storage import Storage

DEMO = Path(__file__).parents[2] / "recipes/demo_vllm.yaml"
MODEL = "Qwen/Qwen3-VL-30B-A3B-Instruct"


def kind(prompt, digests):
    """A judge that finds everything good."""
    return {"4": 0.95, "yes": 0.95}


def test_the_demo_runs_with_a_served_judge(tmp_path):
    out = Storage(str(tmp_path / "out"))
    with FakeServer(Behaviour(model=MODEL, answer=kind)) as server:
        small = ["base.samples=12", "base.size_px=256", "multi.samples=6", "run.workers=1"]
        small += ["base_judged.controls=2", "multi_judged.controls=2"]
        recipe = load_recipe(DEMO, [*small, f"base_judged.engine.endpoints=['{server.url}']"])
        with Run(recipe, out, Display(Console(quiet=True), out, recipe.name)) as run:
            made = run.execute()
        asked = [each.id for each in server.asked if not each.id.startswith("probe")]
    assert made["refined"].books.made == made["base"].books.made
    assert made["multi_refined"].books.made == made["multi"].books.made >= 4
    assert len(asked) == len(set(asked))
    counted = [made[name].stats["counts"]["requests"] for name in ("base_judged", "multi_judged")]
    assert sum(counted) == len(asked)
    assert (tmp_path / "out" / made["page"].directory).is_dir()


def test_a_server_of_another_model_is_told_before_the_first_step(tmp_path):
    out = Storage(str(tmp_path / "out"))
    said = r"expected a server of 'Qwen/.*', got one of another"
    with FakeServer(Behaviour(model="another")) as server:
        recipe = load_recipe(DEMO, [f"base_judged.engine.endpoints=['{server.url}']"])
        run = Run(recipe, out, Display(Console(quiet=True), out, recipe.name))
        with run, pytest.raises(WrongModelError, match=said) as told:
            run.execute()
        assert server.asked == []
    assert told.value.__notes__ == ["in steps.base_judged, looked at before the first step"]
    assert [name for name in out.folders() if name.startswith("base")] == []


def test_a_server_that_is_silent_may_come_while_the_first_steps_are_made():
    recipe = load_recipe(DEMO, ["base_judged.engine.endpoints=['http://127.0.0.1:9']"])
    check_endpoints(recipe.steps.values())


def test_a_host_that_never_answers_is_looked_at_once_and_beside_the_others(monkeypatch):
    monkeypatch.setattr("shards.served_model.LOOK_S", 1.0)
    with ExitStack() as stack:
        silent = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(3)]
        urls = [f"http://127.0.0.1:{server.getsockname()[1]}" for server in silent]
        recipe = load_recipe(
            DEMO,
            [
                f"base_judged.engine.endpoints={urls[:2]}",
                f"multi_judged.engine={{kind: served, model: m, revision: r, endpoints: {urls[1:]}}}",
            ],
        )
        began = time.monotonic()
        check_endpoints([*recipe.steps.values(), *recipe.steps.values()])
        took_s = time.monotonic() - began
        asked = [looks_at(server) for server in silent]
    assert asked == [1, 2, 1]  # the one in the middle is said to serve two models
    assert took_s < 2


def looks_at(server):
    """Connections that came."""
    server.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


def test_one_setting_of_the_shared_engine_is_for_both_steps():
    recipe = load_recipe(DEMO, ["base_judged.engine.endpoints=['http://elsewhere:1']"])
    for name in ("base_judged", "multi_judged"):
        assert recipe.steps[name].settings.engine.endpoints == ("http://elsewhere:1",)
