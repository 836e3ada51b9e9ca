"""Archives of strangers: escapes, links, bombs and damage end as reasons; what is whole is read."""

import gzip
import io
import tarfile
import tracemalloc

import published_sets
import pyarrow.parquet as pq
import pytest
from published_sets import picture

from datagen.importers.archives import Archive, ArchiveError, archives_in, read_archive
from datagen.importers.jsonl import JsonlSettings
from datagen.importers.paths import Wanted
from datagen.importers.scratch import _Index, _Place, _Spill, _write_index
from datagen.importers.source import Source, SourceError
from datagen.importers.x2i import X2iSettings
from inline_run import run_inline
from shards.storage import Storage


def members_of(root, name="a.tar.gz"):
    source = Source(Storage(str(root)))
    entries = read_archive(source, archives_in(source.sizes)[name])
    return {entry.name: entry.kind or entry.read() for entry in entries}


def test_long_names_of_both_kinds_are_read(tmp_path):
    name = "folder/" + "n" * 200 + ".png"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=form) as tar:
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
        assert members_of(tmp_path) == {name: b"abc"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_what_is_no_file_has_no_bytes(tmp_path, kind):
    info = tarfile.TarInfo("x.png")
    info.type, info.linkname = kind, "/etc/passwd"
    published_sets.write_tar(tmp_path / "a.tar.gz", {"x.png": info, "y.png": b"y"})
    found = members_of(tmp_path)
    assert found["y.png"] == b"y"
    assert isinstance(found["x.png"], str)


def test_a_stream_that_swells_beyond_all_pictures_is_stopped(tmp_path):
    published_sets.gzip_bomb(tmp_path / "a.tar.gz", 256 << 20)
    source = Source(Storage(str(tmp_path)))
    with pytest.raises(ArchiveError) as caught:
        list(read_archive(source, Archive("a.tar.gz", ("a.tar.gz",))))
    assert caught.value.reason == "archive_bomb"


@pytest.mark.parametrize("cut", [0, 10, 700, 5000])
def test_an_archive_cut_anywhere_gives_what_came_before(tmp_path, cut):
    pictures = {f"{n}.png": picture(n) for n in range(3)}
    path = published_sets.write_tar(tmp_path / "a.tar", pictures, compress=False)
    path.write_bytes(path.read_bytes()[:cut])
    source = Source(Storage(str(tmp_path)))
    with pytest.raises(ArchiveError) as caught:
        [entry.read() for entry in read_archive(source, Archive("a.tar", ("a.tar",)))]
    assert caught.value.reason == "archive_truncated"


def test_gzip_members_in_a_row_are_one_stream(tmp_path):
    raw = published_sets.write_tar(tmp_path / "b.tar", {"x.png": picture(1)}, compress=False).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(raw[:5000]) + gzip.compress(raw[5000:]))
    assert members_of(tmp_path) == {"x.png": picture(1)}


def test_a_member_that_leaves_the_archive_is_not_what_a_record_means():
    wanted = Wanted(["a/1.png"], Archive("a.tar.gz", ()))
    assert wanted.find("../a/1.png") == []
    assert wanted.find("/home/me/a/1.png") == ["a/1.png"]
    assert wanted.find("./1.png") == ["a/1.png"]


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


def test_files_beside_an_archive_are_no_parts_of_it():
    found = archives_in(["a.tar", "a.tar.idx", "b.tar.gz", "b.tar.gz.sha"])
    assert {name: archive.parts for name, archive in found.items()} == {
        "a.tar": ("a.tar",),
        "b.tar.gz": ("b.tar.gz",),
    }


@pytest.mark.parametrize("names", [["a.tar.gz.ab", "a.tar.gz.ac"], ["a.tar.aa", "a.tar.ac"], ["a.tar.002"]])
def test_parts_without_the_first_or_with_a_gap_are_an_error(names):
    with pytest.raises(SourceError, match="expected parts without a gap from the first, got"):
        archives_in(names)


def test_parts_are_put_in_order_by_number():
    names = [f"a.tar.{number}" for number in ("00", "01", "02")] + [f"b.tar.{n:02d}" for n in range(1, 101)]
    assert archives_in(names)["b.tar"].parts[-2:] == ("b.tar.99", "b.tar.100")


def test_what_follows_the_end_of_a_tar_is_the_reason_and_not_a_missing_picture(tmp_path):
    root = tmp_path / "set"
    pair(root, {"x/1.png": picture(1)}, name="a.tar.gz")
    more = published_sets.write_tar(tmp_path / "b.tar.gz", {"x/2.png": picture(2)})
    (root / "a.tar.gz").write_bytes((root / "a.tar.gz").read_bytes() + more.read_bytes())
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(root)))
    assert made.reasons == {"archive_damaged": 1}
    assert "expected nothing after its end marker, got data" in made.rejects[0]["detail"]


def test_a_gzip_stream_is_read_to_its_checksum(tmp_path):
    path = published_sets.write_tar(tmp_path / "a.tar.gz", {"x.png": picture(1)})
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError) as caught:
        members_of(tmp_path)
    assert caught.value.reason == "archive_damaged"


def test_a_link_in_another_archive_hides_no_file(tmp_path):
    root = tmp_path / "set"
    link = tarfile.TarInfo("x/1.png")
    link.type, link.linkname = tarfile.SYMTYPE, "2.png"
    pair(root, {"x/1.png": picture(1), "x/2.png": picture(2)}, name="b.tar.gz")
    published_sets.write_tar(root / "a.tar.gz", {"x/1.png": link})
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(root)))
    assert made.by_instruction()["x"].references[0].data == picture(1)


def test_a_worker_holds_the_places_of_many_members_as_columns(tmp_path):
    count = 20_000
    paths = [f"images/part_{n % 7}/{n:07d}.jpg" for n in range(count)]
    places = {path: _Place(512 * n, n) for n, path in enumerate(paths)}
    _write_index(_Spill(places=places), tmp_path / "index")
    table = pq.read_table(tmp_path / "index")
    tracemalloc.start()
    try:
        index = _Index(table)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000  # bytes of Python objects: none for each path
    assert [index.find(path) for path in (paths[0], paths[12_345], paths[-1])] == [
        places[paths[0]], places[paths[12_345]], places[paths[-1]]
    ]  # fmt: skip
    assert index.find("images/part_0/none.jpg") is index.find("zzz") is None
