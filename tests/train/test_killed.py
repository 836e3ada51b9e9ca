"""SIGKILL of ranks at random points of two stages: run again, the end is that of a run that nobody killed.

A round is one directory: a run is killed, started again, killed again, and then let come to its end. Points
are seeded: so many changes of the files below the directory, and a moment more.
"""

import os
import time
from pathlib import Path
from random import Random

import pytest
import yaml

from ranks import started, train
from training_runs import losses, values

STAGES = ("stage1_base", "stage2_joint")
CHANGES = 250  # a third of those that a rank makes in a run
ROUNDS = int(os.environ.get("BAKERY_SOAK_ROUNDS", "50")) // 4  # of the soak; four kills each
VICTIMS = {1: ([0],), 2: ([0], [1], [0, 1])}


class Changes:
    """How often files below a folder were seen to be new, gone or of another size."""

    def __init__(self, folder):
        self._folder, self._before, self.seen = folder, self._sizes(folder), 0

    @staticmethod
    def _sizes(folder):
        found = {}
        for path, _, names in os.walk(folder):
            for name in names:
                try:
                    found[f"{path}/{name}"] = (Path(path) / name).stat().st_size
                except FileNotFoundError:
                    continue
        return found

    def look(self):
        now = self._sizes(self._folder)
        self.seen += len(now.items() ^ self._before.items())
        self._before = now
        return self.seen


def recipe(folder, data, tiny):
    """Two stages of six steps, of which the second keeps means."""
    shared = {"steps": 6, "warmup_steps": 0, "lr": 3e-3, "data": ["base"]}
    changes = {
        "stages": list(STAGES),
        "save_every": 2,
        "keep": 1,
        "overrides": {"all": shared, STAGES[1]: {"ema": 0.9}},
        "validation": {"samples": 1, "every": 3, "images": 1, "image_steps": 2, "times": [0.5]},
    }
    folder.mkdir(exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values(data, tiny, folder / "out", **changes)))
    return path


def finish(path, count):
    """Run to the end: bytes of models and pictures; each step's last-told loss; what is left half-written."""
    train(path, count)
    out = path.parent / "out"
    files = [file for pattern in ("*/model/*", "*/samples/*.png") for file in out.glob(pattern)]
    told = {stage: {line[0]: line for line in losses(out, stage=stage)} for stage in STAGES}
    return (
        {str(file.relative_to(out)): file.read_bytes() for file in files},
        told,
        list(out.rglob("*.partial")),
    )


@pytest.fixture(scope="module")
def whole(data, tiny, tmp_path_factory):
    """The end of undisturbed runs, by the number of ranks; each is made once."""
    made = {}

    def of(count):
        if count not in made:
            made[count] = finish(recipe(tmp_path_factory.mktemp("whole"), data, tiny), count)
        return made[count]

    return of


def kill_once(path, count, random):
    """Start the ranks and kill some; whether those were running."""
    begun = Changes(path.parent / "out")
    wanted, victims = random.randrange(1, CHANGES * count), random.choice(VICTIMS[count])
    with started("-m", "train.main", path, ranks=count) as ranks:
        while begun.look() < wanted and ranks[0].is_running():
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.05))
        running = [ranks[victim].kill() for victim in victims]
        for rank in ranks:
            rank.status()  # whoever is left alone ends by itself
    return all(running)


def kill_again_and_again(folder, data, tiny, whole, count, seed, kills):
    random = Random(seed)
    path = recipe(folder, data, tiny)
    inside = sum(kill_once(path, count, random) for _ in range(kills))
    files, told, left = finish(path, count)
    expected, expected_told, _ = whole(count)
    assert files.keys() == expected.keys()
    assert [name for name in files if files[name] != expected[name]] == []
    assert told == expected_told
    assert left == []
    return inside


def test_a_training_that_is_killed_again_and_again_ends_as_one_that_was_not(data, tiny, whole, tmp_path):
    assert kill_again_and_again(tmp_path, data, tiny, whole, count=1, seed=3, kills=3) >= 2


@pytest.mark.soak
@pytest.mark.parametrize("count", [1, 2])
def test_many_times(data, tiny, whole, tmp_path, count):
    inside = 0
    for number in range(ROUNDS):
        inside += kill_again_and_again(tmp_path / str(number), data, tiny, whole, count, seed=number, kills=4)
    assert inside >= 2 * ROUNDS
