"""A worker that dies while it assembles a shard: another one does it, and no sample is blamed."""

import pytest

from fake_run import run_step
from inline_run import InlineExecutor
from shards.assemble import AssembleShard
from shards.executor import EngineError, Finished
from shards.finish import read_rejects


class Mortal(InlineExecutor):
    """Dies as often as it is told when it is to assemble a shard."""

    def __init__(self, deaths):
        super().__init__()
        self.deaths = deaths

    def submit(self, task):
        if not isinstance(task, AssembleShard) or not self.deaths:
            return super().submit(task)
        self.deaths -= 1
        self._finished.append(Finished(task=task, result=None, is_dead=True))
        return None


def test_a_shard_whose_worker_died_is_assembled_by_another(disk, make_config):
    directory, manifest, progress = run_step(disk, make_config(count=12), Mortal(2))
    assert (manifest.shards, progress.deaths, progress.made) == ([8, 4], 2, 12)
    assert read_rejects(directory) == []
    whole = run_step(disk.child("other"), make_config(count=12), Mortal(0))[1]
    assert manifest.files == whole.files


def test_a_shard_that_ends_three_workers_ends_the_step_by_its_number(disk, make_config):
    with pytest.raises(EngineError, match="step base, shard 0: 3 workers died with no sample in hand"):
        run_step(disk, make_config(count=12), Mortal(3))
    _, manifest, progress = run_step(disk, make_config(count=12), Mortal(0))
    assert (manifest.shards, progress.resumed) == ([8, 4], 8)
