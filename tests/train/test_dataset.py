"""What a stage says of dropout, times and draws reaches its batches; what is measured is whole."""

import pytest
import torch

from train.config import TINY
from train.dataset import open_dataset
from train.flow import shifted
from train.parallel import World
from train.plan import Pack, Step
from train.settings import TrainSettings
from train.tokenizer import ByteTokenizer

PACK = Pack(samples=(2, 5), tokens=0, pairs=0, targets=0)
ALL_OUT = {"text_dropout": 1.0, "image_dropout": 1.0}


@pytest.fixture
def opened(data, tmp_path):
    """Opens the stage's data with some of its settings changed."""

    def open_stage(seed=0, align=1, **changes):
        settings = TrainSettings(
            base="tiny", out=str(tmp_path), data={"base": [str(data)]}, validation={"samples": 2}, seed=seed
        )
        stage = settings.stage("stage1_base").model_copy(
            update={"text_dropout": 0.0, "image_dropout": 0.0, "timestep_shift": 1.0} | changes
        )
        world = World(0, 1, torch.device("cpu"))
        return open_dataset(settings, stage, TINY, ByteTokenizer(), world, align)

    return open_stage


def train(dataset, step=7, number=0):
    return dataset.training_batch(Step(number=step, epoch=0, packs=(PACK,)), number, PACK)


def test_a_pack_holds_the_samples_that_train_at_its_places(opened):
    dataset = opened()
    batch = train(dataset)
    assert [tokens.key for tokens in batch.samples] == [dataset.training[place].key for place in (2, 5)]
    assert batch.tokens == batch.layout.rows
    assert train(opened(align=8)).layout.rows % 8 == 0
    assert train(opened(align=8)).tokens == batch.tokens


def test_dropout_times_and_draws_are_the_stage_s(opened):
    batch = train(opened())
    assert batch.layout.is_instruction.any()
    assert len(batch.layout.vit_grids) == len(batch.layout.latent_grids) > 0
    assert not train(opened(text_dropout=1.0)).layout.is_instruction.any()
    assert train(opened(image_dropout=1.0)).layout.latent_grids == ()
    later = train(opened(timestep_shift=4.0)).time
    torch.testing.assert_close(later, shifted(batch.time, 4.0))
    assert (len(batch.noise), len(train(opened(noise_draws=3)).noise)) == (2, 6)


def test_no_two_steps_packs_or_seeds_share_their_noise(opened):
    dataset = opened()
    first = train(dataset).noise[0]
    assert torch.equal(train(dataset).noise[0], first)
    for other in (train(dataset, step=8), train(dataset, number=1), train(opened(seed=1))):
        assert not torch.equal(other.noise[0], first)


def test_what_is_measured_and_rehearsed_has_nothing_left_out(opened):
    dataset = opened(**ALL_OUT, noise_draws=2)
    place = dataset.held[0]
    held = dataset.held_batch(place, (0.2, 0.7, 0.9))
    assert held.time.tolist() == pytest.approx([0.2, 0.7, 0.9])
    rehearsed = dataset.rehearsal_batch(PACK)
    assert len(rehearsed.noise) == 4
    for batch in (held, rehearsed):
        assert batch.layout.is_instruction.any()
        assert len(batch.layout.vit_grids) == len(batch.layout.latent_grids) > 0
    again = opened(timestep_shift=4.0).held_batch(place, (0.2, 0.7, 0.9))
    assert all(map(torch.equal, again.noise, held.noise))
    other = dataset.held_batch(dataset.held[1], (0.2,))
    assert not torch.equal(other.noise[0][:4], held.noise[0][:4])


def test_counts_say_what_each_directory_gives(opened, data):
    dataset = opened()
    assert dataset.counts() == {"training": 18, "held": 2, "directories": {data.name: 20}}
    assert not {place.key for place in dataset.training} & {place.key for place in dataset.held}
