"""Archives of strangers: escapes, links, bombs and damage end as reasons; what is whole is read."""

import gzip
import hashlib
import io
import tarfile
import tracemalloc

import published_sets
import pyarrow.parquet as pq
import pytest
from published_sets import picture

from datagen.importers.archives import Archive, ArchiveError, archives_in, read_archive
from datagen.importers.gunzip import Gunzip, GzipError
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
    return {entry.name: entry.fault or entry.read() for entry in entries}


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
    assert found["x.png"].reason == "link"


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


# Ends of gzip streams


def flipped(data, place):
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


BODY = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(200))
WHOLE = gzip.compress(BODY)
ENDINGS = {
    "whole": (WHOLE, ""),
    "zeros after it": (WHOLE + bytes(700), ""),
    "one zero after it": (WHOLE + bytes(1), ""),
    "another after it": (WHOLE + gzip.compress(b""), ""),
    "another after zeros": (WHOLE + bytes(9) + gzip.compress(b""), ""),
    "garbage after it": (WHOLE + b"garbage", "trailing_data"),
    "a byte after it": (WHOLE + b"x", "trailing_data"),
    "garbage after zeros": (WHOLE + bytes(700) + b"x", "trailing_data"),
    "a wrong checksum": (flipped(WHOLE, -8), "damaged"),
    "a wrong length": (flipped(WHOLE, -1), "damaged"),
    "a wrong checksum before another": (flipped(WHOLE, -8) + gzip.compress(b""), "damaged"),
    "a changed byte inside": (flipped(WHOLE, 3000), "damaged"),
    "no gzip": (BODY, "damaged"),
    "cut before its checksum": (WHOLE[:-8], "truncated"),
    "cut in its checksum": (WHOLE[:-1], "truncated"),
    "cut in its header": (WHOLE[:5], "truncated"),
    "the second cut": (WHOLE + gzip.compress(b"more")[:-9], "truncated"),
}


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", ENDINGS)
def test_how_a_gzip_stream_ended_is_told(name, at_once):
    data, reason = ENDINGS[name]
    stream = Gunzip(io.BytesIO(data).read)
    read, told = [], ""
    try:
        while part := stream.read(at_once):
            read.append(part)
    except GzipError as error:
        told = error.reason
    assert told == reason
    if reason in ("", "trailing_data"):
        assert b"".join(read) == BODY


def test_many_streams_in_a_row_are_read_in_pieces_of_any_size():
    packed = b"".join(gzip.compress(BODY[n : n + 100]) for n in range(0, len(BODY), 100))
    file = io.BytesIO(packed)
    stream = Gunzip(lambda size: file.read(min(size, 13)))
    assert b"".join(iter(lambda: stream.read(17), b"")) == BODY


def imported(tmp_path, change):
    """What comes of two records with an archive each, of which the bytes of one are changed."""
    root = tmp_path / "set"
    for number, name in enumerate(("one", "two")):
        members = {f"{name}/{n}.png": picture(10 * number + n) for n in range(2)}
        published_sets.write_tar(root / f"{name}.tar.gz", members)
    rows = [
        {"instruction": name, "input_images": [f"{name}/0.png"], "output_image": f"{name}/1.png"}
        for name in ("one", "two")
    ]
    published_sets.write_jsonl(root / "x.jsonl", rows)
    path = root / "one.tar.gz"
    path.write_bytes(change(path.read_bytes()))
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(root)))
    assert "two" in made.by_instruction()
    return made


@pytest.mark.parametrize(
    "change", [lambda data: flipped(data, -8), lambda data: flipped(data, -1)], ids=["checksum", "length"]
)
def test_nothing_is_taken_of_an_archive_whose_checksum_is_wrong(tmp_path, change):
    made = imported(tmp_path, change)
    assert made.reasons == {"archive_damaged": 1}
    (row,) = made.rejects
    assert "one/0.png: one.tar.gz: expected a whole gzip stream, got" in row["detail"]


def test_a_damaged_header_inside_a_whole_gzip_stream_costs_what_comes_after_it(tmp_path):
    def change(data):
        raw = bytearray(gzip.decompress(data))
        raw[raw.index(b"one/1.png") + 2] ^= 1
        return gzip.compress(raw)

    made = imported(tmp_path, change)
    assert made.reasons == {"archive_damaged": 1}
    assert "one/1.png: one.tar.gz: at byte" in made.rejects[0]["detail"]


@pytest.mark.parametrize(
    "change",
    [lambda data: data + bytes(1000), lambda data: data + b"x" * 9, lambda data: data[:-4]],
    ids=["zeros after it", "garbage after it", "cut in its checksum"],
)
def test_an_archive_that_holds_all_of_its_tar_is_taken(tmp_path, change):
    assert imported(tmp_path, change).reasons == {}


def in_parts(root, change):
    """X2I with parts of 4,000 bytes of which `change` gets the list."""
    published_sets.x2i(root)
    paths = sorted((root / "single").iterdir())
    parts = change([path.read_bytes() for path in paths])
    for path, data in zip(paths, parts, strict=True):
        path.write_bytes(data)
    return len(paths)


def test_of_parts_the_last_of_which_is_cut_the_beginning_is_taken(tmp_path):
    in_parts(tmp_path / "set", lambda parts: [*parts[:-2], parts[-2][:2000], b""])
    made = run_inline(tmp_path / "out", X2iSettings(path=str(tmp_path / "set")))
    assert 3 <= len(made.samples) < 7  # the two of the other archive, and the first of this one
    assert set(made.reasons) == {"archive_truncated"}


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: [parts[1], parts[0], *parts[2:]],
        lambda parts: [parts[0], *parts[2:4], parts[1], *parts[4:]],
        lambda parts: [*parts[:2], parts[2][:3000], *parts[3:]],
    ],
    ids=["first two changed", "turned round", "one cut"],
)
def test_nothing_is_taken_of_parts_in_wrong_order_or_with_a_piece_missing(tmp_path, change):
    in_parts(tmp_path / "set", change)
    made = run_inline(tmp_path / "out", X2iSettings(path=str(tmp_path / "set")))
    assert set(made.by_instruction()) == {"face 0", "face 2"}
    assert made.reasons == {"archive_damaged": 6}


# Dialects of tar


def pax_tar(path, *members):
    """(name, data, headers) of each, gzipped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, data, headers in members:
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), headers
            tar.addfile(info, io.BytesIO(data))


def test_a_sparse_file_is_told_and_the_next_one_read(tmp_path):
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.name": "x.png", "GNU.sparse.realsize": "9"}
    pax_tar(tmp_path / "a.tar.gz", ("GNUSparseFile.0/x.png", b"abc", sparse), ("y.png", b"y", {}))
    found = members_of(tmp_path)
    assert found["x.png"].detail == "expected a plain file, got a sparse file"
    assert found["y.png"] == b"y"


def test_the_map_of_an_old_sparse_file_is_passed_over(tmp_path):
    head = bytearray(tarfile.TarInfo("x.png").tobuf(tarfile.GNU_FORMAT))
    head[156:157], head[482] = b"S", 1
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    rest = tarfile.TarInfo("y.png")
    rest.size = 1
    more, last = bytes(504) + b"\1" + bytes(7), bytes(512)
    data = bytes(head) + more + last + rest.tobuf() + b"y" + bytes(511) + bytes(1024)
    (tmp_path / "a.tar").write_bytes(data)
    found = members_of(tmp_path, "a.tar")
    assert (found["x.png"].reason, found["y.png"]) == ("link", b"y")


def test_the_size_in_an_extended_header_counts(tmp_path):
    pax_tar(tmp_path / "b.tar.gz", ("x.png", b"x" * 700, {"size": "700"}), ("y.png", b"y", {}))
    raw = bytearray(gzip.decompress((tmp_path / "b.tar.gz").read_bytes()))
    at = 1024  # after the extended header and its block: the header of x.png itself
    raw[at + 124 : at + 136] = b"00000000000\0"
    raw[at + 148 : at + 156] = b" " * 8
    raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(raw))
    assert members_of(tmp_path) == {"x.png": b"x" * 700, "y.png": b"y"}


def test_a_global_header_that_names_every_file_ends_the_archive(tmp_path):
    for name, value in (("comment", "a commit"), ("path", "x.png")):
        with tarfile.open(
            tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT, pax_headers={name: value}
        ) as tar:
            tar.addfile(tarfile.TarInfo("y.png"))
        if name == "comment":
            assert list(members_of(tmp_path)) == ["y.png"]
        else:
            with pytest.raises(ArchiveError, match="a global header sets path"):
                members_of(tmp_path)


@pytest.mark.parametrize("size", [b"-0000000001\0", b"0o000000002\0", b"000000000_2\0", b"\xff" * 12])
def test_a_size_that_is_none_ends_the_archive(tmp_path, size):
    head = bytearray(tarfile.TarInfo("x.png").tobuf())
    head[124:136], head[148:156] = size, b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    (tmp_path / "a.tar").write_bytes(bytes(head) + bytes(1024))
    with pytest.raises(ArchiveError, match="expected an octal number"):
        members_of(tmp_path, "a.tar")


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
