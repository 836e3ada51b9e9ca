"""The index: where each sample lies, and that what is read is what was written."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from fake_run import run_step
from fake_stage import fake_sample
from shards.index import MEMBER, Directory, pack_sample, sample_of, write_index, write_packed
from shards.sample import Candidate, Sample, SampleError
from shards.tar import TarError, TarWriter, read_tar


@pytest.fixture
def made(storage, tmp_path):
    """A directory of 2 shards of 10 samples each."""
    samples = [fake_sample(1, f"fake-{number:02d}") for number in range(20)]
    for shard in range(2):
        path = tmp_path / f"{shard}.tar"
        with TarWriter(path) as writer:
            rows = [
                write_packed(writer, pack_sample(each, "made-by"))
                for each in samples[10 * shard : 10 * shard + 10]
            ]
        storage.publish(path, f"shards/{shard:05d}.tar")
        write_index(rows, tmp_path / "index")
        storage.publish(tmp_path / "index", f"index/{shard:05d}.parquet")
    return samples


def test_a_sample_is_found_by_its_key_and_by_its_place(storage, made):
    directory = Directory(storage)
    assert len(directory) == 20
    assert directory["fake-13"] == made[13]
    assert directory.sample(1, 3) == made[13]
    assert [directory[sample.key] for sample in reversed(made)] == made[::-1]


def test_a_key_that_is_not_there_is_an_error_that_counts(storage, made):
    with pytest.raises(KeyError, match="expected a key of its 20 samples, got 'nothing'"):
        Directory(storage)["nothing"]


def test_rows_say_what_a_plan_may_know(storage, made):
    rows = list(Directory(storage).rows(3))
    assert [row.key for row in rows] == [sample.key for sample in made]
    assert {(row.directory, row.source, row.licence, row.task) for row in rows} == {
        (3, "fake", "CC0-1.0", "composition_multi")
    }
    assert [row.references for row in rows] == [len(sample.references) for sample in made]
    assert (rows[13].shard, rows[13].row) == (1, 3)
    directory = Directory(storage)
    assert directory.some_rows(1, [3, 0]) == [directory.row(1, 3), directory.row(1, 0)]
    assert len({row.digest for row in rows}) == 20


def test_images_sizes_are_in_the_index(storage, made):
    members = Directory(storage).row(0, 0)["members"]
    assert [(m["name"].partition(".")[2][:4], m["width"], m["height"]) for m in members[:2]] == [
        ("json", 0, 0),
        ("ref0", 16, 16),
    ]


def test_a_changed_byte_is_noticed_when_its_sample_is_read(storage, made):
    blob = bytearray(storage.read("shards/00000.tar"))
    member = Directory(storage).row(0, 4)["members"][1]
    blob[member["offset"]] ^= 1
    storage.write("shards/00000.tar", bytes(blob))
    directory = Directory(storage)
    with pytest.raises(TarError, match=r"00000\.tar: fake-04\.ref0.*expected the bytes"):
        directory.sample(0, 4)
    assert directory.sample(0, 5) == made[5]


def test_a_shard_cut_off_is_noticed_when_its_sample_is_read(storage, made):
    storage.write("shards/00000.tar", storage.read("shards/00000.tar")[:5000])
    with pytest.raises((TarError, OSError)):
        Directory(storage).sample(0, 9)


def test_a_packed_sample_is_written_elsewhere_byte_for_byte(storage, made, tmp_path):
    packed = Directory(storage).packed(1, 3)
    assert packed == pack_sample(made[13], "made-by")
    with TarWriter(tmp_path / "again.tar") as writer:
        row = write_packed(writer, packed)
    assert sample_of(list(read_tar(tmp_path / "again.tar"))) == made[13]
    assert row["digest"] == Directory(storage).row(1, 3)["digest"]


def test_bytes_that_are_not_what_their_hash_says_are_not_written(made, tmp_path):
    from dataclasses import replace

    packed = pack_sample(made[0], "x")
    packed = replace(
        packed, parts=(packed.parts[0], replace(packed.parts[1], data=b"other"), *packed.parts[2:])
    )
    with (
        TarWriter(tmp_path / "a.tar") as writer,
        pytest.raises(TarError, match="expected the bytes that were made"),
    ):
        write_packed(writer, packed)


def test_a_group_that_is_no_sample_is_refused(made, tmp_path):
    with TarWriter(tmp_path / "a.tar") as writer:
        write_packed(writer, pack_sample(made[0], "x"))
    members = list(read_tar(tmp_path / "a.tar"))
    for left in (members[1:], members[:-1], [*members, members[0]]):
        with pytest.raises(SampleError, match="expected"):
            sample_of(left)


def test_many_shards_are_read_with_few_of_them_open(disk, local_engine, make_config, monkeypatch):
    config = make_config(count=60)
    storage, _, _ = run_step(disk, config, local_engine, shard_size=2)
    directory = Directory(storage)
    assert len(directory.shards) == 30
    one_index = directory._index(0).table.nbytes
    monkeypatch.setattr("shards.index.OPEN_FILES", 4)
    monkeypatch.setattr("shards.index.OPEN_INDEX_BYTES", 4.5 * one_index)
    keys = config.keys[::7] + config.keys[::-3]
    assert [directory[key] for key in keys] == [fake_sample(config.seed, key) for key in keys]
    for shard in (15, 16, 17, 18, 15, 19):
        directory.sample(shard, 0)
    assert list(directory._files) == [17, 18, 15, 19], "those that were used last"
    held = list(directory._indexes)
    assert 1 < len(held) < 10
    assert held == [16, 17, 18, 15, 19][-len(held) :]
    assert directory._index_bytes <= 4.5 * one_index
    assert directory._index_bytes == sum(index.table.nbytes for index in directory._indexes.values())


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its file open
def test_webdataset_reads_a_directory(disk, local_engine, make_config):
    storage, _, _ = run_step(disk, make_config(), local_engine)
    urls = [storage.path(f"shards/{name}") for name in storage.names("shards")]
    found = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("pil")
    for each, row in zip(found, Directory(storage).rows(), strict=True):
        assert each["__key__"] == row.key
        assert isinstance(Directory(storage)[row.key], Sample)
        assert sum(name.startswith("ref") for name in each) == row.references


def test_the_category_is_that_of_the_subjects_which_the_target_shows():
    fox = Candidate(name="fox", category="animal")
    rug = Candidate(name="rug", category="furniture", is_target=False)
    others = ("tool", "furniture", "", "food", "plant", "animal")
    subjects = ((fox, rug), *((Candidate(name=f"a {name}", category=name),) for name in others))
    sample = replace(fake_sample(1, references=7), subjects=subjects)
    assert pack_sample(sample, "by").row["category"] == "animal+food+furniture+plant+tool"
    assert pack_sample(fake_sample(1), "by").row["category"] == ""


OLD_MEMBER = pa.struct([field for field in MEMBER if field.name != "checksum"])


def test_an_index_of_format_1_is_read_checked_and_copied_as_one_of_today(disk, tmp_path):
    subjects = ((Candidate(name="fox", category="animal"),),)
    sample = replace(fake_sample(1, references=1), subjects=subjects)
    with TarWriter(tmp_path / "0.tar") as writer:
        rows = [write_packed(writer, pack_sample(sample, "by"))]
    disk.publish(tmp_path / "0.tar", "shards/00000.tar")
    write_index(rows, tmp_path / "index")
    old = pq.read_table(tmp_path / "index").drop_columns(["category", "members"])
    members = pa.array([rows[0]["members"]], pa.list_(OLD_MEMBER))
    pq.write_table(old.append_column("members", members), tmp_path / "index")
    disk.publish(tmp_path / "index", "index/00000.parquet")
    (row,) = Directory(disk).rows()
    assert row.category == ""
    assert Directory(disk).sample(0, 0) == sample
    assert Directory(disk).packed(0, 0) == pack_sample(sample, "by")
    blob = bytearray(disk.read("shards/00000.tar"))
    blob[rows[0]["members"][1]["offset"]] ^= 1
    disk.write("shards/00000.tar", bytes(blob))
    with pytest.raises(TarError, match="expected the bytes"):
        Directory(disk).packed(0, 0)
