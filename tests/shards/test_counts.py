"""What a stage counts, added up over runs; what too many lacked an answer to, the next run asks anew."""

from collections import Counter
from contextlib import closing

import pytest

from fake_run import run_step
from fake_stage import fake_key, read_log
from shards.finish import read_rejects
from shards.local_executor import LocalExecutor


def run(out, config, workers=2, **changes):
    """One run of a step with workers of its own, as after an exception."""
    with closing(LocalExecutor(workers)) as executor:
        return run_step(out, config.model_copy(update=changes), executor, shard_size=4, slice_size=2)


def made(config):
    return Counter(key for key, _, _ in read_log(config.log))


def test_what_too_many_lacked_is_asked_again_by_the_next_run(disk, environment, make_config):
    config = make_config(unanswered=(fake_key(1), fake_key(9), fake_key(10)), tolerate=2)
    with pytest.raises(RuntimeError, match="3 of 12 unanswered; run again"):
        run(disk, config)
    directory, manifest, progress = run(disk, config, unanswered=())
    assert (manifest.books.made, manifest.books.failed) == (12, 0)
    assert (progress.resumed, progress.counts) == (0, {"asked": 12})
    assert read_rejects(directory) == []


def test_servers_that_still_do_not_answer_stop_the_next_run_too(disk, environment, make_config):
    config = make_config(unanswered=(fake_key(11),))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="1 of 12 unanswered"):
            run(disk, config, workers=1)
    _, manifest, progress = run(disk, config, tolerate=1)
    assert (manifest.books.made, manifest.books.reasons) == (11, {"timeout": 1})
    assert progress.resumed == 12
    assert set(made(config).values()) == {2}, "a raised tolerance makes nothing again"


def test_counts_of_runs_that_broke_off_are_added_and_what_is_tolerated_is_not_asked_again(
    disk, environment, make_config
):
    config = make_config(unanswered=(fake_key(0),), tolerate=1)
    with pytest.raises(RuntimeError, match="the program is wrong"):
        run(disk, config, workers=1, raise_on=(fake_key(6),))
    _, manifest, progress = run(disk, config)
    assert (progress.counts, progress.resumed > 0) == ({"asked": 12, "unanswered": 1}, True)
    assert (manifest.books.made, manifest.books.reasons) == (11, {"timeout": 1})
    assert made(config)[fake_key(0)] == 1
