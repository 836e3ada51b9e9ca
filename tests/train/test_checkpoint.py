"""Checkpoints alone: what is kept, what is whole, and that another run's is refused before it is read."""

import json
import os

import pytest
import torch

from train.checkpoint import check_same, checkpoint_path, finished, restore, save
from train.config import ConfigError
from train.parallel import World, joined_world

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture(scope="module", autouse=True)
def joined():
    """The only process is a world of its own."""
    with joined_world("cpu") as world:
        assert world == ALONE
        yield


def state(value):
    return {"weight": torch.full((3, 2), float(value)), "step": torch.tensor(value)}


def write(root, step, keep=2, **about):
    return save(root, step, state(step), {"run": {"seed": 1}, **about}, keep, ALONE)


def test_the_last_few_are_kept_and_the_last_one_is_read(tmp_path):
    root = tmp_path / "run/checkpoints"
    assert (finished(root), restore(root, state(0), {}, ALONE)) == ([], 0)
    for step in (2, 4, 10):
        assert write(root, step, note="x") == checkpoint_path(root, step)
    assert [path.name for path in finished(root)] == ["step-0000004", "step-0000010"]
    assert sorted(path.name for path in root.iterdir()) == ["step-0000004", "step-0000010"]
    assert json.loads((root / "step-0000010/about.json").read_text()) == {
        "step": 10,
        "run": {"seed": 1},
        "note": "x",
    }
    found = state(0)
    assert restore(root, found, {"seed": 1}, ALONE) == 10
    assert torch.equal(found["weight"], state(10)["weight"])
    assert int(found["step"]) == 10


def test_what_is_no_whole_checkpoint_is_neither_read_nor_deleted(tmp_path):
    others = [tmp_path / name for name in ("step-0000099", "step-12", "mine", ".step-0000005.partial")]
    for other in others:
        other.mkdir()
        (other / "left").write_text("from before")
    for other in others[1:3]:
        (other / "about.json").write_text("{}")
    for step in (1, 2, 3, 4):
        write(tmp_path, step, keep=1)
    assert [path.name for path in finished(tmp_path)] == ["step-0000004"]
    assert [other.exists() for other in others] == [True, True, True, False]
    assert not (tmp_path / "step-0000004/left").exists(), "of a killed process"
    assert restore(tmp_path, state(0), {"seed": 1}, ALONE) == 4


def test_a_step_that_has_its_checkpoint_is_not_written_again(tmp_path):
    before = write(tmp_path, 3).stat().st_mtime_ns
    assert save(tmp_path, 3, state(9), {}, 2, ALONE).stat().st_mtime_ns == before
    found = state(0)
    restore(tmp_path, found, {"seed": 1}, ALONE)
    assert int(found["step"]) == 3


def test_another_run_s_checkpoint_is_refused_with_every_difference_and_nothing_is_read(tmp_path):
    root = write(tmp_path, 3)
    found = state(0)
    told = "step-0000003: seed: expected 1, got 2; data: expected None, got 'x'; train into another directory"
    with pytest.raises(ConfigError, match=told):
        restore(tmp_path, found, {"seed": 2, "data": "x"}, ALONE)
    assert int(found["step"]) == 0
    check_same(root, {"stage": {"lr": 1}, "old": 1}, {"stage": {"lr": 1}})
    with pytest.raises(
        ConfigError, match=r"stage\.ema: expected 1, got None; stage\.lr: expected None, got 2"
    ):
        check_same(root, {"stage": {"ema": 1}}, {"stage": {"lr": 2}})


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    sync = os.fsync

    def note_and_sync(descriptor):
        seen.append(checkpoint_path(tmp_path, 5).exists())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note_and_sync)
    write(tmp_path, 5)
    assert seen[0] is False
    assert seen[-1] is True, "and its name, in its folder"
