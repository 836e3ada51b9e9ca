"""Shards against tarfile and webdataset: written with hashes; read in order and by key, hashes checked."""

import io
import os
import random
import tarfile

import pytest
import webdataset

from shards.index import Directory, write_index
from shards.storage import Storage
from shards.tar import TarWriter, read_tar

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files open


def members_of(number, size):
    draw = random.Random(number)
    return [(f"k{n:06d}.ref0.jpg", draw.randbytes(size)) for n in range(number)]


def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def write_ours(path, members):
    path.unlink(missing_ok=True)
    with TarWriter(path) as writer:
        for name, data in members:
            writer.add(name, data)
    sync(path)


def write_theirs(path, members):
    path.unlink(missing_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    sync(path)


@pytest.mark.parametrize(("size_kb", "number"), [(64, 1600), (400, 256)])
def test_writing_with_hashes_is_at_least_nine_tenths_of_tarfile(tmp_path, compare, size_kb, number):
    members = members_of(number, size_kb << 10)
    ratio = compare(
        f"write {number} members of {size_kb} KB, hashed, fsynced",
        lambda: write_ours(tmp_path / "ours.tar", members),
        lambda: write_theirs(tmp_path / "theirs.tar", members),
        size_bytes=number * size_kb << 10,
    )
    assert ratio >= 0.9


@pytest.mark.parametrize(("size_kb", "number", "least"), [(16, 4000, 1.0), (64, 1600, 0.85)])
def test_a_lone_tar_is_read_and_its_sha256_taken_about_as_fast_as_by_webdataset(
    tmp_path, compare, size_kb, number, least
):
    write_ours(tmp_path / "a.tar", members_of(number, size_kb << 10))
    size_bytes = number * size_kb << 10

    def theirs():
        found = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False)
        assert sum(len(each["ref0.jpg"]) for each in found) == size_bytes

    ratio = compare(
        f"read {number} members of {size_kb} KB, against webdataset",
        lambda: sum(len(data) for _, data in read_tar(tmp_path / "a.tar")),
        theirs,
        size_bytes=size_bytes,
    )
    assert ratio >= least


SAMPLES, SHARD = 10_000, 500
PARTS = ("json", "ref0.jpg", "ref1.jpg", "target.jpg")


def write_directory(folder, size, samples=SAMPLES):
    """Samples in shards of 500: JSON, two references, a target."""
    draw = random.Random(0)
    (folder / "shards").mkdir(parents=True)
    (folder / "index").mkdir()
    text = b"{" + b" " * 998 + b"}"
    for shard in range(samples // SHARD):
        rows = []
        with TarWriter(folder / "shards" / f"{shard:05d}.tar") as writer:
            for _ in range(SHARD):
                key = f"k{draw.getrandbits(64):016x}"
                added = [
                    writer.add(f"{key}.{part}", text if part == "json" else draw.randbytes(size))
                    for part in PARTS
                ]
                members = [member._asdict() | {"width": 512, "height": 512} for member in added]
                facts = {"task": "t", "case": "c", "source": "s", "licence": "l", "digest": "0" * 64}
                rows.append({"key": key, "references": 2, "made_by": "0" * 64, "members": members, **facts})
        write_index(rows, folder / "index" / f"{shard:05d}.parquet")


@pytest.mark.parametrize("size_kb", [16, 64, 400])
def test_a_directory_is_read_in_order_and_checked_at_least_as_fast_as_by_webdataset(
    tmp_path, compare, size_kb
):
    write_directory(tmp_path / "set", size_kb << 10, SHARD)
    urls = [str(path) for path in (tmp_path / "set" / "shards").iterdir()]

    def ours():
        directory = Directory(Storage(str(tmp_path / "set")))
        assert sum(len(directory.members(row.shard, row.row)) for row in directory.rows()) == 4 * SHARD

    def theirs():
        found = webdataset.WebDataset(urls, shardshuffle=False)
        assert sum(part in each for each in found for part in PARTS) == 4 * SHARD

    ratio = compare(
        f"read {SHARD} samples with images of {size_kb} KB by their index, against webdataset",
        ours,
        theirs,
        size_bytes=3 * SHARD * size_kb << 10,
    )
    assert ratio >= 1.0


@pytest.mark.parametrize("size_kb", [32, 64])
def test_a_thousand_random_keys_are_many_times_as_fast_as_a_full_read(tmp_path, compare, size_kb):
    write_directory(tmp_path / "set", size_kb << 10)
    directory = Directory(Storage(str(tmp_path / "set")))
    keys = sorted(directory.places)
    draw = random.Random(1)

    def ours():
        for key in draw.sample(keys, 1000):
            assert len(directory.members(*directory.places[key])) == 4

    def theirs():
        urls = sorted(str(path) for path in (tmp_path / "set" / "shards").iterdir())
        assert sum(1 for _ in webdataset.WebDataset(urls, shardshuffle=False)) == SAMPLES

    ratio = compare(f"1,000 random keys of 10,000 samples, images of {size_kb} KB", ours, theirs, rounds=3)
    assert ratio >= 20
