"""Asking again, and the bill: what an outage spoilt is asked, what was paid is not."""

import re
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from fake_stage import fake_sample
from filters.fake_server import MODEL, Behaviour, FakeServer
from recipes.bill import bills, describe
from recipes.cli import app
from recipes.display import Display, read_status
from recipes.retry import can_be_sent, check_status, count_statuses, retry
from recipes.run import Run
from recipes.schema import RecipeError, load_recipe
from shards.http_client import EndpointError, EndpointsDownError
from shards.manifest import ManifestError
from shards.storage import Storage

RECIPE = """
name: spoilt
seed: 5
run: {{workers: 1}}
steps:
  base: {{step: single_candidate, samples: 10, size_px: 128}}
  scores:
    step: judge
    input: base
    questions: [consistency, presence]
    tolerate_unreadable: 1
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"], attempts: 1}}
  kept: {{step: select, input: base, scores: scores, min_scores: {{consistency.label_mass: 0.5}}}}
"""


@pytest.fixture
def server():
    with FakeServer(Behaviour(by_words={"Look at reference image 1": "400"})) as server:
        yield server


@pytest.fixture
def spoilt(server, tmp_path):
    """A recipe that was run, and an output in which some replies are errors."""
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(model=MODEL, url=server.url))
    return load_recipe(path), Storage(str(tmp_path / "out"))


def opened(spoilt):
    return Run(*spoilt, Display(Console(quiet=True), spoilt[1], "spoilt"))


def ids(server):
    return [asked.id for asked in server.asked if not asked.id.startswith("probe")]


def test_only_what_was_an_error_is_asked_again_under_the_same_hash(server, spoilt):
    with opened(spoilt) as run:
        before = run.execute()
    asked = len(ids(server))
    assert count_statuses(spoilt[1].child(before["scores"].directory))["error"] == 10
    server.judge.behaviour.by_words = {}
    with opened(spoilt) as run:
        gone, after = retry(run, *spoilt, "scores", "error")
    assert gone == [before["kept"].directory, before["scores"].directory]
    assert after["scores"].directory == before["scores"].directory
    assert set(count_statuses(spoilt[1].child(after["scores"].directory))) == {"ok"}
    assert len(ids(server)) == asked + 10


def test_what_was_made_from_spoilt_replies_is_made_again(server, spoilt):
    with opened(spoilt) as run:
        before = run.execute()
    server.judge.behaviour.by_words = {}
    with opened(spoilt) as run:
        retry(run, *spoilt, "scores", "error")
        after = run.execute()
    assert after["kept"].parents == before["kept"].parents


def test_a_plan_that_was_made_from_spoilt_replies_is_not_gone_on_with(server, spoilt, monkeypatch):
    """The run breaks off in the step after the selection; the selection then changes under its name."""
    recipe = spoilt[0].path
    text = recipe.read_text().replace("consistency.label_mass", "presence.label_mass")
    recipe.write_text(text + "  packed: {step: pack, input: kept}\n")
    spoilt = load_recipe(recipe), spoilt[1]
    with opened(spoilt) as run:
        before = run.execute(until="kept")
    with monkeypatch.context() as broken, opened(spoilt) as run:
        broken.setattr("recipes.run.Production.run", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError) as told:
            run.execute()
    assert told.value.__notes__ == [f"in {recipe}: steps.packed"]
    server.judge.behaviour.by_words = {}
    with opened(spoilt) as run:
        retry(run, *spoilt, "scores", "error")
        after = run.execute()
    assert before["kept"].books.made < after["kept"].books.made == 10
    assert after["packed"].books.read == after["packed"].books.made == 10


def test_where_no_endpoint_answers_nothing_is_forgotten(server, spoilt):
    with opened(spoilt) as run:
        before = run.execute()
    names = spoilt[1].folders()
    recipe = spoilt[0].path
    recipe.write_text(
        recipe.read_text().replace(server.url, "http://127.0.0.1:9").replace("attempts", "outage_s")
    )
    spoilt = load_recipe(recipe), spoilt[1]
    with opened(spoilt) as run, pytest.raises(EndpointsDownError, match=r"http://127\.0\.0\.1:9: "):
        retry(run, *spoilt, "scores", "error")
    assert spoilt[1].folders() == names
    assert count_statuses(spoilt[1].child(before["scores"].directory))["error"] == 10


def test_where_an_endpoint_is_another_judge_nothing_is_forgotten(server, spoilt):
    with opened(spoilt) as run:
        run.execute()
    names = spoilt[1].folders()
    server.judge.behaviour.model = "another"
    with opened(spoilt) as run, pytest.raises(EndpointError, match="got one of another"):
        retry(run, *spoilt, "scores", "error")
    assert spoilt[1].folders() == names


def test_where_an_input_is_gone_nothing_is_forgotten(server, spoilt):
    with opened(spoilt) as run:
        made = run.execute()
    spoilt[1].delete(made["base"].directory)
    names = spoilt[1].folders()
    with opened(spoilt) as run, pytest.raises(ManifestError, match="run its step first"):
        retry(run, *spoilt, "scores", "error")
    assert spoilt[1].folders() == names


def test_nothing_spoilt_is_nothing_done(server, spoilt):
    server.judge.behaviour.by_words = {}
    with opened(spoilt) as run:
        run.execute()
        gone, _ = retry(run, *spoilt, "scores", "error")
    assert gone == []


def test_an_image_that_cannot_be_decoded_is_no_reason_to_start_a_server():
    whole = fake_sample()
    broken = replace(whole, target=replace(whole.target, data=whole.target.data[:60]))
    samples = {"whole": whole, "broken": broken, "broken too": broken}
    assert not can_be_sent(samples, ["broken", "broken too"])
    assert can_be_sent(samples, ["broken", "whole"])


def test_unreadable_replies_are_paid_and_not_asked_again():
    with pytest.raises(RecipeError, match="an unreadable reply is paid and kept"):
        check_status("unreadable")


def test_a_step_that_is_no_judge_is_refused_with_those_that_are(spoilt):
    with (
        opened(spoilt) as run,
        pytest.raises(RecipeError, match="expected a judged step of scores, got 'base'"),
    ):
        retry(run, *spoilt, "base", "error")


def test_the_bill_asks_a_few_samples_and_tells_the_whole(server, spoilt):
    server.judge.behaviour.by_words = {}
    with opened(spoilt) as run:
        run.execute(until="base")
    (bill,) = bills(*spoilt, 4)
    assert bill.asked == 4
    assert bill.total == 10
    assert bill.counts["requests"] == len(ids(server))
    assert bill.expected("prompt_tokens") == pytest.approx(2.5 * bill.counts["prompt_tokens"])
    assert any(line.startswith("  prompt_tokens: ") for line in describe(bill))
    with opened(spoilt) as run:
        whole = run.execute()["scores"].stats["counts"]
    assert whole["requests"] + bill.counts["requests"] == len(ids(server)) == len(set(ids(server)))


def test_the_bill_of_a_judge_that_asks_no_server_is_its_seconds(server, tmp_path):
    text = RECIPE.format(model=MODEL, url=server.url)
    path, out = tmp_path / "recipe.yaml", Storage(str(tmp_path / "out"))
    path.write_text("".join(line for line in text.splitlines(keepends=True) if "engine: {kind" not in line))
    made = load_recipe(path), out
    with opened(made) as run:
        run.execute(until="base")
    (bill,) = bills(*made, 2)
    told = list(describe(bill))
    assert re.fullmatch(r"scores: 2 of 10 samples asked in [0-9.]+ s", told[0])
    assert re.fullmatch(r"  seconds: [0-9.]+, expected [0-9]+ by one worker", told[1])
    (again,) = bills(*made, 2)
    assert "2 of 10 samples drawn: no request, all was paid" in next(describe(again))


def test_a_bill_counts_the_controls(server, tmp_path):
    server.judge.behaviour.by_words = {}
    path, out = tmp_path / "recipe.yaml", Storage(str(tmp_path / "out"))
    text = RECIPE.format(model=MODEL, url=server.url).replace("[consistency, presence]", "[consistency]")
    path.write_text(text.replace("tolerate_unreadable: 1", "controls: 4"))
    made = load_recipe(path), out
    with opened(made) as run:
        run.execute(until="base")
    (bill,) = bills(*made, 5)
    assert "  expected of the whole: 10 samples and 12 controls" in list(describe(bill))
    with opened(made) as run:
        whole = run.execute()["scores"].stats["counts"]
    assert bill.expected("requests") == whole["requests"] + bill.counts["requests"] == 22


def test_a_limited_run_is_billed_asked_again_calibrated_and_explained_as_such(server, tmp_path):
    """Its directories have hashes of their own."""
    path, out = tmp_path / "recipe.yaml", str(tmp_path / "out")
    path.write_text(RECIPE.format(model=MODEL, url=server.url))

    def bakery(*words):
        done = CliRunner().invoke(app, [*words, "--out", out, "--limit", "4"])
        assert done.exit_code == 0, done.exception
        return done.output

    bakery("run", str(path), "--until", "base")
    assert "2 of 4 samples asked" in bakery("check", str(path), "--sample", "2")
    bakery("run", str(path))
    server.judge.behaviour.by_words = {}
    assert re.search(r"scores: \d+ ok$", bakery("retry", str(path), "scores"), re.MULTILINE)
    assert "consistency" in bakery("calibrate", str(path), "scores")
    near = bakery("explain", str(path), "scores", "--near", "consistency=2", "--within", "4", "--most", "1")
    assert near.startswith("base-")


def test_a_second_bill_counts_what_was_paid_for_the_first_to_no_sample(server, spoilt):
    server.judge.behaviour.by_words = {}
    with opened(spoilt) as run:
        run.execute(until="base")
    (first,) = bills(*spoilt, 4)
    (same,) = bills(*spoilt, 4)
    (second,) = bills(*spoilt, 8)
    assert (first.asked, same.asked, second.asked, second.drawn) == (4, 0, 4, 8)
    assert next(describe(same)) == (
        "scores: 4 of 10 samples drawn: no request, all was paid; a larger --sample draws others, too"
    )
    whole = len(ids(server)) * 10 / 8
    assert [first.expected("requests"), second.expected("requests")] == pytest.approx([whole, whole], rel=0.3)


def test_a_bill_tells_what_was_not_answered(server, spoilt):
    with opened(spoilt) as run:
        run.execute(until="base")
    (bill,) = bills(*spoilt, 4)
    assert "  replies that were none: 4 error: http_400" in describe(bill)


def test_the_bill_names_the_input_that_is_missing(spoilt):
    (bill,) = bills(*spoilt, 4)
    assert list(describe(bill)) == ["scores: cannot be told before base is made; run --until base first"]


def test_a_server_that_only_a_run_starts_is_not_looked_for_on_this_machine(server, spoilt):
    with opened(spoilt) as run:
        run.execute(until="base")
    engine = "engine: {kind: served, model: m, revision: r1, server: judge}"
    text = spoilt[0].path.read_text()
    started = spoilt[0].path.with_name("started.yaml")
    started.write_text(re.sub(r"engine: {[^}]*}", engine, text) + "resources: {judge: {gpus: 0}}\n")
    with pytest.raises(
        RecipeError, match=r"scores\.engine\.server: expected endpoints that exist, got 'judge'"
    ):
        list(bills(load_recipe(started), spoilt[1], 4))
    told = [
        "scores.engine.server=''",
        f"scores.engine.endpoints=[{server.url}]",
        f"scores.engine.model={MODEL}",
    ]
    (bill,) = bills(load_recipe(started, told), spoilt[1], 4)
    assert bill.asked == 4


def test_a_command_that_makes_nothing_leaves_the_last_run_s_status(server, spoilt):
    with opened(spoilt) as run:
        run.execute()
    told = read_status(spoilt[1])
    with opened(spoilt):
        pass
    assert read_status(spoilt[1]) == told
    assert {step["state"] for step in told["steps"]} == {"made"}
