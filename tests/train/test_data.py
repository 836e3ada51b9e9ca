"""From shards to the tensors of a pack."""

import io
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from shards.manifest import Manifest, write_manifest
from shards.sample import EncodedImage
from shards.selection import write_selection
from shards.storage import Storage
from train.batch import Noising, make_batch, to_device
from train.config import TINY, ConfigError
from train.dataset import open_dataset
from train.dct import DctAutoencoder
from train.parallel import World, kind_of
from train.pixels import as_unit, decode, open_picture, open_rgb, resized_pixels, to_image
from train.segments import token_count
from train.settings import TrainSettings
from train.source import Source, place_size, place_tokens
from train.tokenizer import ByteTokenizer, load_tokenizer


def select(path, below, keys, keep):
    path.mkdir()
    table = pa.table({"key": keys, "keep": [key in keep for key in keys], "reason": [""] * len(keys)})
    write_selection(table, path / "selection.parquet")
    draft = Manifest(
        name="pick", type="select", hash="1" * 64, kind="selection", config={}, parents={"input": [below]}
    )
    write_manifest(Storage(str(path)), draft)
    return path


def test_places_are_the_index_and_read_gives_the_sample(data, samples):
    source = Source(str(data))
    places = source.places(0, ByteTokenizer())
    assert [place.key for place in places] == [sample.key for sample in samples]
    for place, sample in zip(places, samples, strict=True):
        assert source.read(place) == sample
        assert place.text_tokens == len(sample.instruction.encode())
        assert place.sizes[-1] == Image.open(io.BytesIO(sample.target.data)).size
        assert len(place.sizes) == len(sample.references) + 1


def test_selection_is_read_without_repacking_and_so_is_a_selection_of_one(tmp_path, samples, write_directory):
    write_directory(tmp_path / "set-000000000000", samples)
    keys = [sample.key for sample in samples]
    select(tmp_path / "pick-1", "set-000000000000", keys, set(keys[:9]))
    select(tmp_path / "pick-2", "pick-1", keys, set(keys[5:]))
    found = Source(str(tmp_path / "pick-2")).places(0, ByteTokenizer())
    assert [place.key for place in found] == keys[5:9]


def test_no_stage_trains_on_what_another_is_measured_on(tmp_path, samples, write_directory):
    below = write_directory(tmp_path / "set-000000000000", samples)
    pick = select(tmp_path / "pick", below.name, [s.key for s in samples], {s.key for s in samples[::2]})
    settings = TrainSettings(
        base="tiny",
        out=str(tmp_path / "out"),
        data={"base": [str(below)], "refined": [str(pick)]},
        validation={"samples": 1},
    )
    opened = []
    for name in settings.data:
        stage = settings.stage("stage1_base").model_copy(update={"data": (name,)})
        world = World(0, 1, torch.device("cpu"))
        opened.append(open_dataset(settings, stage, TINY, ByteTokenizer(), world, 1))
    held = {place.key for data in opened for place in data.held}
    assert [len(data.held) for data in opened] == [1, 1]
    assert len(held) == 2  # each set holds out another
    assert [len(data.training) for data in opened] == [18, 9]
    assert not held & {place.key for data in opened for place in data.training}


def test_lengths_are_kept_per_tokenizer_and_directory(data, tmp_path, monkeypatch):
    first = Source(str(data)).places(0, ByteTokenizer(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["set-000000000000-bytes.parquet"]
    monkeypatch.setattr(ByteTokenizer, "encode", lambda *_: pytest.fail("counted again"))
    assert Source(str(data)).places(0, ByteTokenizer(), tmp_path) == first


def test_a_directory_that_was_made_again_with_more_samples_is_counted_again(
    tmp_path, samples, write_directory
):
    made = write_directory(tmp_path / "set-000000000000", samples[:9])
    Source(str(made)).places(0, ByteTokenizer(), tmp_path / "cache")
    shutil.rmtree(made)
    write_directory(made, samples[:12])
    found = Source(str(made)).places(0, ByteTokenizer(), tmp_path / "cache")
    assert [place.text_tokens for place in found] == [len(s.instruction.encode()) for s in samples[:12]]


def test_a_directory_of_no_samples_is_none_to_train_on_and_no_crash(tmp_path, write_directory):
    empty = write_directory(tmp_path / "set-000000000000", [])
    assert Source(str(empty)).places(0, ByteTokenizer(), tmp_path / "cache") == []
    settings = TrainSettings(base="tiny", out=str(tmp_path / "out"), data={"base": [str(empty)]})
    stage, world = settings.stage("stage1_base"), World(0, 1, torch.device("cpu"))
    with pytest.raises(ConfigError, match="expected samples, got none; check the selection"):
        open_dataset(settings, stage, TINY, ByteTokenizer(), world, 1).plan(settings).check()


def test_unfinished_directory_and_scores_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="run its recipe first"):
        Source(str(tmp_path))
    draft = Manifest(name="j", type="judge", hash="2" * 64, kind="scores", config={})
    write_manifest(Storage(str(tmp_path)), draft)
    with pytest.raises(ConfigError, match="got 'scores'; name its input"):
        Source(str(tmp_path))


def test_planned_size_is_the_size_of_the_pack(data, samples):
    places = Source(str(data)).places(0, ByteTokenizer())
    for place, sample in list(zip(places, samples, strict=True))[:6]:
        batch = make_batch([sample], TINY, ByteTokenizer(), Noising(key=(0, "t", 0, 0)))
        size = place_size(place, TINY)
        assert size.tokens == batch.layout.rows == token_count(place_tokens(place, TINY))
        assert size.targets == len(batch.noise[0])


def test_a_samples_tensors_do_not_depend_on_its_neighbours(samples):
    """Latents above all: nothing is padded to another image's size."""
    key = (0, "train", 3, 1)
    alone = make_batch(samples[:1], TINY, ByteTokenizer(), Noising(key=key, noise_draws=2))
    packed = make_batch(samples[:3], TINY, ByteTokenizer(), Noising(key=key, noise_draws=2))
    assert torch.equal(alone.noise[1], packed.noise[1])
    assert torch.equal(alone.time, packed.time[:2])
    assert torch.equal(alone.pixels[0], packed.pixels[0])
    inputs = to_device(packed, DctAutoencoder(), TINY, torch.device("cpu"), None)
    single = to_device(alone, DctAutoencoder(), TINY, torch.device("cpu"), None)
    tokens = alone.layout.latent_grids[0].size
    assert torch.equal(inputs.clean_GC[:tokens], single.clean_GC[:tokens])
    assert inputs.targets == sum(grid.size for grid in packed.layout.target_grids)


def test_randomness_is_keyed_by_step_and_pack(samples):
    def noise(*key):
        return make_batch(samples[:2], TINY, ByteTokenizer(), Noising(key=key)).noise[0]

    assert torch.equal(noise(0, "train", 1, 2), noise(0, "train", 1, 2))
    for other in ((1, "train", 1, 2), (0, "train", 2, 2), (0, "train", 1, 3), (0, "valid", 1, 2)):
        assert not torch.equal(noise(0, "train", 1, 2), noise(*other))


def test_dropout_leaves_out_what_it_says(samples):
    def layout(**dropout):
        return make_batch(samples[2:3], TINY, ByteTokenizer(), Noising(key=(0,), **dropout)).layout

    assert not layout(text_dropout=1.0).is_instruction.any()
    nothing = layout(image_dropout=1.0)
    assert not nothing.vit_grids
    assert not nothing.latent_grids
    assert nothing.reference_names == tuple((samples[2].key, number) for number in range(3))
    assert layout().is_instruction.any()


def test_fixed_times_are_those_of_each_draw(samples):
    batch = make_batch(
        samples[:2], TINY, ByteTokenizer(), Noising(key=(0,), times=(0.25, 0.5), noise_draws=2)
    )
    assert batch.time.tolist() == [0.25, 0.5] * 2


def test_transparent_pixels_are_white_and_a_broken_file_is_named(samples):
    file = io.BytesIO()
    Image.fromarray(np.array([[[255, 0, 0, 0], [0, 0, 255, 255]]], np.uint8), "RGBA").save(file, "PNG")
    assert np.array(open_rgb(file.getvalue())).tolist() == [[[255, 255, 255], [0, 0, 255]]]
    with pytest.raises(OSError, match=r"truncated|broken|cannot identify") as error:
        decode(EncodedImage(samples[0].target.data[:80], "png"), "sample x: target")
    assert "sample x: target" in error.value.__notes__[0]


def test_pixels_survive_the_way_to_numbers_and_back(samples):
    pixels = resized_pixels(open_rgb(samples[0].target.data), TINY.vae_resize)
    assert torch.equal(torch.from_numpy(np.array(to_image(as_unit(pixels)))).permute(2, 0, 1), pixels)


def test_file_tokenizer_is_the_checkpoints_own_and_its_absence_is_named(tmp_path):
    from dataclasses import replace

    from tokenizers import Tokenizer, models, pre_tokenizers

    fast = Tokenizer(models.WordLevel({"a": 3, "fox": 7, "?": 0}, unk_token="?"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    config = replace(TINY, tokenizer="files")
    with pytest.raises(ConfigError, match="copy it from the base model"):
        load_tokenizer(tmp_path, config)
    fast.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path, config)
    assert tokenizer.encode("a fox") == [3, 7]
    assert len(tokenizer.digest) == 12


def test_threads_read_the_same_directory_at_once(data, samples):
    from concurrent.futures import ThreadPoolExecutor

    source = Source(str(data))
    places = source.places(0, ByteTokenizer()) * 10
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(source.read, places))
    assert [sample.key for sample in found] == [place.key for place in places]
    assert found[: len(samples)] == samples


def test_a_users_own_picture_is_turned_as_its_exif_says(tmp_path):
    path, exif = tmp_path / "mine.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(path, "JPEG", exif=exif)
    assert open_rgb(path.read_bytes()).size == (40, 20)
    assert open_picture(path).size == (20, 40)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(whole, "PNG")
    for name, data in (("notes.txt", b"words"), ("cut.png", whole.getvalue()[:900])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigError, match=f"{name}: expected a picture, got: "):
            open_picture(tmp_path / name)
    with pytest.raises(ConfigError, match=r"none\.png: expected a picture, got no file"):
        open_picture(tmp_path / "none.png")


def test_an_unknown_device_is_told():
    with pytest.raises(ConfigError, match="expected auto, cpu or cuda, got 'gpu'"):
        kind_of("gpu")


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert kind_of("auto") == "cpu"
    with pytest.raises(ConfigError, match="expected a GPU, found none; say cpu"):
        kind_of("cuda")
