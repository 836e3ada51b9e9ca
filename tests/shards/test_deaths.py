"""Workers that die: who is blamed, what is made again, what is remembered."""

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from fake_run import made, prepared, run_step
from fake_stage import ALWAYS, fake_key
from fake_tree import digests
from shards.executor import EngineError
from shards.finish import read_rejects
from shards.local_executor import LocalExecutor
from shards.production import Production


def test_a_sample_that_kills_its_worker_is_rejected_after_two_deaths(disk, engine, make_config):
    config = make_config(count=20, deaths={fake_key(9): ALWAYS})
    directory, manifest, progress = run_step(disk, config, engine)
    assert progress.deaths == deaths_of(config, fake_key(9)) == 2
    assert manifest.books.reasons == {"worker_died": 1}
    assert read_rejects(directory)[0]["key"] == fake_key(9)
    assert set(made(config)) == set(config.keys) - {fake_key(9)}


def test_innocent_samples_of_a_batch_survive_the_one_that_kills(disk, engine, make_config):
    config = make_config(count=20, batch=4, deaths={fake_key(9): ALWAYS}, exits=True)
    directory, manifest, progress = run_step(disk, config, engine)
    assert progress.deaths == deaths_of(config, fake_key(9)) == 2
    assert [row["key"] for row in read_rejects(directory)] == [fake_key(9)]
    assert manifest.books.made == 19


def test_two_that_kill_in_one_batch_are_both_found(disk, local_engine, make_config):
    guilty = (fake_key(8), fake_key(11))
    config = make_config(count=20, batch=4, deaths=dict.fromkeys(guilty, ALWAYS))
    directory, manifest, progress = run_step(disk, config, local_engine)
    assert {row["key"] for row in read_rejects(directory)} == set(guilty)
    assert manifest.books.made == 18
    assert progress.deaths == 3


def test_a_sample_that_killed_once_is_made_the_second_time(disk, engine, make_config):
    config = make_config(deaths={fake_key(2): 1})
    directory, manifest, progress = run_step(disk, config, engine)
    assert progress.deaths == 1
    assert manifest.books.made == 12
    clean, _, _ = run_step(disk.child("clean"), config.model_copy(update={"deaths": {}}), engine)
    assert digests(clean) == digests(directory)


def test_deaths_are_remembered_by_the_next_run(disk, make_config):
    """One death in a run that an exception then ends; the second death rejects in the next run."""
    config = make_config(count=8, deaths={fake_key(1): ALWAYS}, raise_on=(fake_key(2),))
    with closing(LocalExecutor(1)) as executor, pytest.raises(RuntimeError):
        run_step(disk, config.model_copy(update={"deaths": {fake_key(1): 1}}), executor)
    with closing(LocalExecutor(1)) as executor:
        _, manifest, progress = run_step(disk, config.model_copy(update={"raise_on": ()}), executor)
    assert progress.deaths == 1
    assert manifest.books.reasons == {"worker_died": 1}


def test_a_stage_that_dies_while_it_is_built_ends_the_step_after_three(disk, engine, make_config):
    config = make_config(count=2, deaths_in_build=ALWAYS)
    with pytest.raises(EngineError, match="3 workers died with no sample in hand"):
        run_step(disk, config, engine, slice_size=2)
    assert deaths_of(config, "build") == 3


def test_a_stage_that_died_once_while_it_was_built_is_built_again(disk, engine, make_config):
    config = make_config(deaths_in_build=1)
    _, manifest, progress = run_step(disk, config, engine)
    assert progress.deaths == 1
    assert manifest.books.made == 12


def test_a_slice_committed_before_its_worker_died_is_not_made_again(disk, local_engine, make_config):
    """The worker dies between publishing its slice and saying so."""
    config = make_config(count=4)
    _, job = prepared(disk, config)
    production = Production(job, [4], Liar(local_engine), slice_size=4, observe=lambda progress: None)
    [record] = production.run()
    assert record.made == 4
    assert production.progress.deaths == 1
    assert production.progress.made == 4
    assert Counter(made(config)) == Counter(config.keys)


class Liar:
    """An engine whose first worker dies right after its work is done."""

    def __init__(self, engine):
        self._engine = engine
        self._has_lied = False

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def wait(self, timeout_s):
        from shards.executor import Finished

        ended = self._engine.wait(timeout_s)
        if ended and not self._has_lied:
            self._has_lied = True
            return [Finished(task=ended[0].task, result=None, is_dead=True), *ended[1:]]
        return ended


def deaths_of(config, name):
    file = Path(config.counters) / f"count-{name}"
    return file.stat().st_size if file.exists() else 0
