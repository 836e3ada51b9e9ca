"""Chosen members of archives are found by what records call them, and spilt; none is guessed."""

import tarfile
import tracemalloc

import published_sets
import pyarrow as pa
import pytest
from published_sets import picture

from datagen.importers import wanted
from datagen.importers.archives import Archive
from datagen.importers.jsonl import JsonlSettings
from datagen.importers.scratch import Scratch
from datagen.importers.wanted import InArchive, Wanted
from datagen.importers.x2i import X2iSettings
from datagen.unusable import UnusableError
from inline_run import run_inline
from shards.plan import write_plan
from shards.storage import Storage


def looked_for(paths, archive="a.tar.gz"):
    """What says which of the paths a member of an archive is meant by."""
    found = InArchive(Wanted(((archive,), path) for path in paths), Archive(archive, ()))
    return lambda member: [found.wanted.path(row) for row in found.find(member)[0]]


def test_a_member_that_leaves_the_archive_is_not_what_a_record_means():
    find = looked_for(["a/1.png"])
    assert find("../a/1.png") == []
    assert find("/home/me/a/1.png") == ["a/1.png"]
    assert find("./1.png") == ["a/1.png"]


def test_paths_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(wanted, "hash", len, raising=False)
    find = looked_for(["a/1.png", "b/1.png", "a/2.png", "a/2.png"])
    assert [find(member) for member in ("a/1.png", "x/a/2.png", "b/2.png", "1.png")] == [
        ["a/1.png"], ["a/2.png"], [], ["a/1.png"]
    ]  # fmt: skip


def test_the_scratch_goes_with_the_end_of_the_step(tmp_path):
    published_sets.x2i(tmp_path / "set")
    settings = X2iSettings(path=str(tmp_path / "set"))
    made = run_inline(tmp_path / "out", settings)
    assert not made.storage.exists("work")
    assert len(made.samples) == 7


def test_two_archives_of_one_folder_share_its_paths(tmp_path):
    root = tmp_path / "set"
    pictures = {f"{n:05d}.png": picture(n) for n in range(4)}
    published_sets.write_tar(root / "images/0-2.tar.gz", dict(list(pictures.items())[:2]))
    published_sets.write_tar(root / "images/2-4.tar.gz", dict(list(pictures.items())[2:]))
    names = [f"images/{name}" for name in pictures]
    rows = [
        {"instruction": f"n {n}", "input_images": [names[n]], "output_image": names[3 - n]} for n in (0, 1)
    ]
    published_sets.write_jsonl(root / "x.jsonl", rows)
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(root)))
    assert made.by_instruction()["n 1"].target.data == picture(2)


def test_archives_can_be_mapped_by_hand(tmp_path):
    root = tmp_path / "set"
    published_sets.write_tar(root / "part-one.tar.gz", {"0.png": picture(0), "1.png": picture(1)})
    published_sets.write_tar(root / "part-two.tar.gz", {"0.png": picture(2), "1.png": picture(3)})
    row = {"instruction": "x", "input_images": ["second/0.png"], "output_image": "second/1.png"}
    published_sets.write_jsonl(root / "x.jsonl", [row])
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(root), archives={"second": "part-two*"}))
    assert made.by_instruction()["x"].target.data == picture(3)


def test_of_several_beginnings_the_longest_counts_in_any_order(tmp_path):
    root = tmp_path / "set"
    published_sets.write_tar(root / "part-one.tar.gz", {"0.png": picture(0), "1.png": picture(1)})
    published_sets.write_tar(root / "part-two.tar.gz", {"0.png": picture(2), "1.png": picture(3)})
    row = {"instruction": "x", "input_images": ["a/b/0.png"], "output_image": "a/b/1.png"}
    published_sets.write_jsonl(root / "x.jsonl", [row])
    mapping = {"a": "part-one*", "a/b": "part-two*"}
    for number, names in enumerate([list(mapping), list(mapping)[::-1]]):
        settings = JsonlSettings(path=str(root), archives={name: mapping[name] for name in names})
        made = run_inline(tmp_path / f"out{number}", settings)
        assert made.by_instruction()["x"].target.data == picture(3)


def test_a_mapping_to_no_archive_is_an_error_that_names_those_there_are(tmp_path):
    published_sets.x2i(tmp_path / "set")
    settings = X2iSettings(path=str(tmp_path / "set"), archives={"single": "singel*"})
    (told,) = settings.missing()
    assert "archives: single: expected a pattern of" in told
    assert "got 'singel*'" in told


def pair(root, members, name="a.tar.gz"):
    published_sets.write_tar(root / name, members)
    row = {"instruction": "x", "input_images": ["x/1.png"], "output_image": "x/2.png"}
    published_sets.write_jsonl(root / "x.jsonl", [row])


def test_two_members_that_fit_a_path_alike_are_a_reason_and_no_guess(tmp_path):
    members = {"train/x/1.png": picture(1), "val/x/1.png": picture(2), "x/2.png": picture(3)}
    pair(tmp_path / "set", members)
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(tmp_path / "set")))
    assert made.reasons == {"ambiguous_image": 1}
    assert "got 'train/x/1.png' and 'val/x/1.png'" in made.rejects[0]["detail"]


@pytest.mark.parametrize("turn", [1, -1])
def test_the_member_that_fits_a_path_best_is_meant_wherever_it_stands(tmp_path, turn):
    members = {
        "train/x/1.png": picture(1),
        "val/x/1.png": picture(2),
        "x/1.png": picture(3),
        "x/2.png": picture(4),
    }
    pair(tmp_path / "set", dict(list(members.items())[::turn]))
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(tmp_path / "set")))
    assert made.by_instruction()["x"].references[0].data == picture(3)


def test_one_name_in_two_archives_is_one_picture_only_if_its_bytes_are(tmp_path):
    for name, second in (("same", 1), ("other", 9)):
        root = tmp_path / name
        pair(root, {"x/1.png": picture(1), "x/2.png": picture(2)})
        published_sets.write_tar(root / "b.tar.gz", {"x/1.png": picture(second)})
        made = run_inline(tmp_path / f"out-{name}", JsonlSettings(path=str(root)))
        assert made.reasons == ({} if second == 1 else {"ambiguous_image": 1})


def test_what_follows_the_end_of_a_tar_is_the_reason_and_not_a_missing_picture(tmp_path):
    root = tmp_path / "set"
    pair(root, {"x/1.png": picture(1)}, name="a.tar.gz")
    more = published_sets.write_tar(tmp_path / "b.tar.gz", {"x/2.png": picture(2)})
    (root / "a.tar.gz").write_bytes((root / "a.tar.gz").read_bytes() + more.read_bytes())
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(root)))
    assert made.reasons == {"archive_damaged": 1}
    assert "expected nothing after its end marker, got data" in made.rejects[0]["detail"]


def test_a_link_in_another_archive_hides_no_file(tmp_path):
    root = tmp_path / "set"
    link = tarfile.TarInfo("x/1.png")
    link.type, link.linkname = tarfile.SYMTYPE, "2.png"
    pair(root, {"x/1.png": picture(1), "x/2.png": picture(2)}, name="b.tar.gz")
    published_sets.write_tar(root / "a.tar.gz", {"x/1.png": link})
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(root)))
    assert made.by_instruction()["x"].references[0].data == picture(1)


MANY = 2000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A set whose records name two small members each."""
    root = tmp_path_factory.mktemp("many")
    names = [f"single/{n:07d}_{side}.jpg" for n in range(MANY) for side in ("in", "out")]
    published_sets.write_tar(root / "single/single.tar.gz", dict.fromkeys(names, b"x"))
    pairs = zip(names[::2], names[1::2], strict=True)
    rows = [{"instruction": f"dog {a}", "input_images": [a], "output_image": b} for a, b in pairs]
    published_sets.write_jsonl(root / "x.jsonl", rows)
    return root


def held_bytes(root, out, count):
    """Bytes that the driver holds at the most for so many records, Arrow's columns among them."""
    settings = X2iSettings(path=str(root), sample=count)
    settings.computed()
    arrow = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        storage = Storage(str(out))
        write_plan(storage, settings.plan(), shard_size=100, recipe={}, made={}, copies_from=(), read=None)
        settings.prepared(storage)
        return tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - arrow
    finally:
        tracemalloc.stop()


def test_the_driver_holds_the_records_of_a_set_as_columns(many, tmp_path):
    held_bytes(many, tmp_path / "first", 10)  # modules are imported now
    few = held_bytes(many, tmp_path / "few", MANY // 4)
    assert held_bytes(many, tmp_path / "many", MANY) - few < 400 * (MANY - MANY // 4)


def test_a_worker_holds_the_places_of_many_members_as_columns(many, tmp_path):
    settings, storage = X2iSettings(path=str(many)), Storage(str(tmp_path))
    write_plan(storage, settings.plan(), shard_size=500, recipe={}, made={}, copies_from=(), read=None)
    scratch = Scratch(Storage(settings.prepared(storage).scratch))
    tracemalloc.start()
    try:
        first = scratch.read(["single/single.tar.gz"], "single/0000000_in.jpg")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert first == b"x"
    assert held < 10 * MANY  # bytes of Python objects: none for each path
    with pytest.raises(UnusableError, match="got nothing there"):
        scratch.read(["single/single.tar.gz"], "single/none.jpg")


def test_of_two_folders_that_are_spelt_in_two_ways_the_named_one_is_meant(tmp_path):
    pictures = {
        f"{folder}/{n}.png": picture(n + 10 * (folder == "sence"))
        for folder in ("scene", "sence")
        for n in (1, 2)
    }
    published_sets.write_files(tmp_path / "set", pictures)
    rows = [
        {"instruction": folder, "input_images": [f"{folder}/1.png"], "output_image": f"{folder}/2.png"}
        for folder in ("scene", "sence")
    ]
    published_sets.write_jsonl(tmp_path / "set/x.jsonl", rows)
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(tmp_path / "set"))).by_instruction()
    assert [made[row["instruction"]].target.data for row in rows] == [picture(2), picture(12)]
