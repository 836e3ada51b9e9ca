"""What only processes of their own can show: ranks that share the work and wait for each other, a kill."""

import os
import shutil
import signal
import time

import pytest
import torch
import yaml

from ranks import run, said, started, train
from train.checkpoint import finished
from train.pretrained import load_model
from train.run import run_stages
from train.settings import TrainSettings
from training_runs import lines, losses, settings, values, with_means


@pytest.mark.parametrize("name", ["narrow_adamw", "means", "timeouts"])
def test_two_ranks(name):
    run("tests/fakes/rank_checks.py", name, ranks=2)


@pytest.mark.parametrize("name", ["measured_means", "forecast"])
def test_two_ranks_of_a_run(name, data, tiny, tmp_path):
    run("tests/fakes/rank_checks.py", name, data, tiny, tmp_path, ranks=2)


@pytest.mark.parametrize("name", ["other_view", "shared_folders"])
def test_two_ranks_in_a_folder(name, tmp_path):
    run("tests/fakes/rank_checks.py", name, tmp_path, ranks=2)


def recipe(path, data, tiny, out, **changes):
    path.write_text(yaml.safe_dump(values(data, tiny, out, **changes)))
    return path


@pytest.fixture(scope="module")
def whole_by_two(data, tiny, tmp_path_factory):
    """The same ten steps on two ranks."""
    out = tmp_path_factory.mktemp("two")
    train(recipe(out / "recipe.yaml", data, tiny, out), 2)
    return out


def test_two_ranks_equal_one_over_ten_steps(whole, whole_by_two):
    for ours, theirs in zip(losses(whole_by_two), losses(whole), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    one, two = (load_model(out / "stage1_base/model").state_dict() for out in (whole, whole_by_two))
    assert all(torch.allclose(one[name], two[name], atol=1e-2) for name in one)


def test_two_ranks_measure_their_means_and_train_as_if_they_had_not(whole_by_two, data, tiny, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(with_means(data, tiny, tmp_path / "two", images=0)))
    train(path, 2)
    assert losses(tmp_path / "two") == losses(whole_by_two)
    alone = TrainSettings.model_validate(with_means(data, tiny, tmp_path / "one", images=0))
    assert run_stages(alone) == 0
    for ours, theirs in zip(*(lines(tmp_path / n, kind="held") for n in ("two", "one")), strict=True):
        assert ours.pop("weights") == theirs.pop("weights") == "ema"
        assert ours.pop("kind") == theirs.pop("kind")
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_two_ranks_asked_to_stop_go_on_bit_for_bit_and_one_rank_can_take_over(
    whole, whole_by_two, data, tiny, tmp_path
):
    path = recipe(tmp_path / "recipe.yaml", data, tiny, tmp_path)
    log = tmp_path / "stage1_base/log.jsonl"
    with started("-m", "train.main", path, ranks=2) as ranks:
        while not log.exists() or not losses(tmp_path):
            assert ranks[0].is_running(), said(ranks)
            time.sleep(0.01)
        os.kill(ranks[1].pid, signal.SIGTERM)  # one rank is asked, both stop
        assert [rank.status() for rank in ranks] == [3, 3], said(ranks)
    done = len(losses(tmp_path))
    assert 0 < done < 10
    shutil.copytree(tmp_path / "stage1_base", tmp_path / "alone/stage1_base")
    train(path, 2)
    assert losses(tmp_path) == losses(whole_by_two)
    assert run_stages(settings(data, tiny, tmp_path / "alone")) == 0
    for ours, theirs in zip(losses(tmp_path / "alone"), losses(whole), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_a_kill_during_a_checkpoint_leaves_the_last_good_one(whole, data, tiny, tmp_path):
    path = recipe(tmp_path / "recipe.yaml", data, tiny, tmp_path, save_every=2)
    folder = tmp_path / "stage1_base/checkpoints"
    partial = folder / ".step-0000004.partial"
    with started("-m", "train.main", path, ranks=1) as (program,):
        while not partial.exists():
            assert program.is_running(), program.said()
            time.sleep(0.001)
        program.kill()
    assert partial.exists()
    assert [found.name for found in finished(folder)] == ["step-0000002"]
    assert run_stages(settings(data, tiny, tmp_path, save_every=2)) == 0
    assert losses(tmp_path)[-6:] == losses(whole)[-6:]
    assert not folder.exists(), "nothing goes on from the checkpoints of an exported stage"
