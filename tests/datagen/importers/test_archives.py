"""Archives of strangers: escapes, links, bombs and damage end as reasons; what is whole is read."""

import gzip
import io
import tarfile

import published_sets
import pytest
from published_sets import picture

from datagen.importers.archives import Archive, ArchiveError, archives_in, read_archive
from datagen.importers.source import Source, SourceError
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
