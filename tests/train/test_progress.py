"""What a terminal shows of a training."""

import pytest

from train import progress
from train.progress import EVERY_S, Progress
from train.run import run_stages
from training_runs import settings


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets: `clock[0] = seconds`."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_a_line_comes_now_and_then_with_the_loss_since_the_last_one(clock):
    told = Progress(first=100, steps=1_100)
    assert told.line(101, {"loss": 2.0, "tokens_per_s": 900.0}) is None
    clock[0] += EVERY_S
    line = told.line(110, {"loss": 1.0, "tokens_per_s": 12_345.0, "mfu": 0.412})
    assert line == "  step 110 of 1,100: loss 1.5000, 12,345 tokens/s, MFU 0.41, 49 min left"  # 3 s a step
    clock[0] += EVERY_S - 1
    assert told.line(119, {"loss": 7.0, "tokens_per_s": 1.0}) is None
    clock[0] += 1
    assert told.line(120, {"loss": 0.0, "tokens_per_s": 1.0}).startswith("  step 120 of 1,100: loss 3.5000, ")


def test_a_run_says_where_it_is_and_where_it_goes_on(data, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    run = settings(data, tiny, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("train.loop.StageRun.export", stop)
        with pytest.raises(KeyboardInterrupt):
            run_stages(run)
    said = capsys.readouterr().out
    assert "  step 4 of 10: loss " in said
    assert "goes on" not in said
    assert run_stages(run) == 0
    assert "  goes on after step 10\n" in capsys.readouterr().out


def stop(_run):
    raise KeyboardInterrupt
