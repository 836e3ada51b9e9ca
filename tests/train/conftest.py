"""Shards of small pictures and a tiny model, written anew for the tests."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shards.index import pack_sample, shard_name, write_index, write_packed
from shards.manifest import Manifest, write_manifest
from shards.sample import Candidate, EncodedImage, Provenance, Sample
from shards.storage import Storage
from shards.tar import TarWriter
from train.config import TINY
from train.pretrained import write_tiny
from train.run import run_stages
from training_runs import settings

torch.set_num_threads(1)


def picture(seed, width, height):
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((width, height)).save(file, "PNG")
    return EncodedImage(file.getvalue(), "png")


def make_sample(number, references=None):
    random = np.random.default_rng(number)
    count = references or 1 + number % 3
    sizes = [(64, 64), (96, 64), (64, 96)]
    images = [picture(100 * number + i, *sizes[random.integers(3)]) for i in range(count + 1)]
    return Sample(
        key=f"sample-{number:03d}",
        instruction=f"Put subject {number} beside the others." + " Softly." * (number % 4),
        references=tuple(images[:-1]),
        target=images[-1],
        subjects=((Candidate(name="fox"),),) * count,
        provenance=Provenance(source="test", licence="CC0-1.0", task="composition_multi"),
    )


def write_directory(path: Path, samples, kind="samples", parents=None):
    """A finished directory, as `shards` would leave it."""
    (path / "shards").mkdir(parents=True)
    (path / "index").mkdir()
    for shard in range(0, len(samples), 8):
        name = shard_name(shard // 8)
        with TarWriter(path / f"shards/{name}.tar") as writer:
            rows = [write_packed(writer, pack_sample(s, "test")) for s in samples[shard : shard + 8]]
        write_index(rows, path / f"index/{name}.parquet")
    draft = Manifest(name="set", type="test", hash="0" * 64, kind=kind, config={}, parents=parents or {})
    write_manifest(Storage(str(path)), draft)
    return path


@pytest.fixture(scope="session", name="write_directory")
def _write_directory():
    return write_directory


@pytest.fixture(scope="session")
def samples():
    return [make_sample(number) for number in range(20)]


@pytest.fixture(scope="session")
def data(tmp_path_factory, samples):
    return write_directory(tmp_path_factory.mktemp("data") / "set-000000000000", samples)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A model of four narrow layers, whose bridge is layer 0's relevance in layers 1 and 2."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    narrow = replace(TINY.language, layers=4, hidden=32, intermediate=64)
    write_tiny(path, seed=1, config=replace(TINY, language=narrow))
    return path


@pytest.fixture(scope="session")
def whole(data, tiny, tmp_path_factory):
    """Ten uninterrupted steps."""
    out = tmp_path_factory.mktemp("whole")
    assert run_stages(settings(data, tiny, out)) == 0
    return out
