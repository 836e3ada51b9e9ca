"""Shards as tars: the same bytes each time, read by anybody, and never trusted when read."""

import contextlib
import hashlib
import io
import os
import tarfile

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from fake_stage import fake_sample
from shards.checksum import checksum
from shards.index import pack_sample, write_packed
from shards.manifest import record, shard_digest
from shards.storage import Storage
from shards.tar import MAX_MEMBER_BYTES, Member, TarError, TarWriter, header, read_headers, read_tar
from shards.tar_header import BLOCK

keys = st.from_regex(r"[a-z0-9_-]{1,80}", fullmatch=True)
parts = st.sampled_from(["json", "ref0.jpg", "ref1.png", "ref2.webp", "target.jpeg"])
members = st.lists(st.tuples(keys, parts, st.binary(max_size=3000)), max_size=8)


def write(path, entries):
    path.unlink(missing_ok=True)
    with TarWriter(path) as writer:
        for name, data in entries:
            writer.add(name, data)
    return writer


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("tar") / "a.tar"


@given(members)
def test_what_is_written_is_read_back_by_us_and_by_tarfile(path, entries):
    entries = [(f"{key}.{part}", data) for key, part, data in entries]
    writer = write(path, entries)
    found = list(read_tar(path))
    assert [(member.name, data) for member, data in found] == entries
    assert [member for member, _ in found] == writer.members
    assert all(hashlib.sha256(data).digest() == member.sha256 for member, data in found)
    assert all(checksum(data) == member.checksum for member, data in found)
    with tarfile.open(path) as tar:
        assert [(m.name, tar.extractfile(m).read()) for m in tar] == entries
        assert all((m.mtime, m.mode, m.uid, m.uname) == (0, 0o444, 0, "") for m in tar)
    storage = Storage(str(path.parent))
    assert shard_digest(storage, "a.tar") == writer.digest
    blob = path.read_bytes()
    assert all(
        blob[m.offset : m.offset + m.size] == data
        for m, (_, data) in zip(writer.members, entries, strict=True)
    )


def test_the_same_members_are_the_same_bytes_and_no_others_are(path):
    entries = [("a.json", b"{}"), ("a.ref0.jpg", b"x" * 700)]
    write(path, entries)
    first, digest = path.read_bytes(), record(Storage(str(path.parent)), "a.tar")
    write(path, entries)
    assert path.read_bytes() == first
    write(path, [*entries[:1], ("a.ref0.jpg", b"x" * 699 + b"y")])
    assert record(Storage(str(path.parent)), "a.tar") != digest


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its file open
def test_webdataset_reads_what_is_written(path):
    samples = [fake_sample(3, f"fake-{number}") for number in range(5)]
    path.unlink(missing_ok=True)
    with TarWriter(path) as writer:
        for sample in samples:
            write_packed(writer, pack_sample(sample, "x"))
    found = list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))
    assert [each["__key__"] for each in found] == [sample.key for sample in samples]
    for sample, each in zip(samples, found, strict=True):
        images = {f"{name}.{image.extension}": image.data for name, image in sample.images.items()}
        assert {name: data for name, data in each.items() if "." in name} == images


def test_a_thousand_small_members_and_a_large_one_are_written_whole(path):
    entries = [(f"k{n}.json", b"%d" % n) for n in range(1500)] + [("big.ref0.png", b"z" * (5 << 20))]
    write(path, entries)
    assert [(member.name, data) for member, data in read_tar(path)] == entries


@pytest.mark.timeout(20)
def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(path, monkeypatch):
    """`writev` may write less than it was given, in the middle of a part too."""
    entries = [(f"k{n}.ref0.jpg", bytes([n]) * 700) for n in range(5)]
    write(path, entries)
    whole = path.read_bytes()
    monkeypatch.setattr("os.writev", lambda file, parts: os.write(file, b"".join(parts)[:300]))
    write(path, entries)
    assert path.read_bytes() == whole


def test_a_name_of_a_hundred_bytes_is_written_and_one_more_is_not(path):
    fits = f"{'k' * 80}.{'r' * 15}.jpg"
    write(path, [(fits, b"x")])
    assert [member.name for member, _ in read_tar(path)] == [fits]
    with pytest.raises(TarError, match="at most 100 bytes"):
        write(path, [(fits.replace(".jpg", "x.jpg"), b"x")])


def test_a_member_is_named_by_key_part_and_extension():
    member = Member("a-1.ref0.jpg", 512, 3, b"", b"")
    assert (member.key, member.part, member.extension) == ("a-1", "ref0", "jpg")
    assert Member("a-1.json", 512, 3, b"", b"").part == "json"


# Hostile tars


def _names(path):
    with path.open("rb") as file:
        return [name for _, name, _, _ in read_headers(file, str(path), path.stat().st_size)]


READERS = {
    "record": lambda path: record(Storage(str(path.parent)), path.name),
    "shard_digest": lambda path: shard_digest(Storage(str(path.parent)), path.name),
    "read_tar": lambda path: [(member.name, data) for member, data in read_tar(path)],
    "read_headers": _names,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_shard_cut_at_any_byte_is_whole_or_refused(tmp_path, reader):
    path = tmp_path / "a.tar"
    write(path, [("a.json", b"{}"), ("a.ref0.jpg", b"x" * 700), ("a.target.png", b"")])
    whole = READERS[reader](path)
    blob = path.read_bytes()
    for end in range(len(blob)):
        path.write_bytes(blob[:end])
        try:
            found = READERS[reader](path)
        except TarError as error:
            assert error.reason in ("truncated", "bad_header")
            assert "a.tar" in str(error)
        else:
            assert found == whole
    path.write_bytes(blob)
    assert READERS[reader](path) == whole


@pytest.mark.parametrize("reader", ["record", "shard_digest"])
def test_one_changed_byte_anywhere_is_noticed(tmp_path, reader):
    path = tmp_path / "a.tar"
    write(path, [("a.json", b"{}"), ("a.ref0.jpg", b"x" * 700)])
    whole, blob = READERS[reader](path), path.read_bytes()
    for place in range(len(blob)):
        path.write_bytes(blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :])
        with contextlib.suppress(TarError):
            assert READERS[reader](path) != whole, place


def foreign(path, *entries, form=tarfile.USTAR_FORMAT):
    """A tar that Python writes: (name or TarInfo, data)."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in entries:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


HOSTILE = {
    "pickle": ("a.pickle", "member_type"),
    "pickle as a part": ("a.ref0.pyd", "member_type"),
    "text": ("a.txt", "member_type"),
    "no extension": ("a", "member_type"),
    "json with a part": ("a.meta.json", "member_type"),
    "dot in the key": ("a.b.ref0.jpg", "member_type"),
    "upper case": ("A.json", "bad_key"),
    "folder": ("x/a.json", "bad_key"),
    "path escape": ("../a.json", "member_type"),
    "escape by prefix": ("../../etc/a.json", "member_type"),
    "absolute": ("/etc/a.json", "bad_key"),
    "hidden": (".json", "bad_key"),
    "symbolic link": (special("a.json", tarfile.SYMTYPE, "/etc/passwd"), "member_type"),
    "hard link": (special("a.json", tarfile.LNKTYPE, "b.json"), "member_type"),
    "folder entry": (special("a.json", tarfile.DIRTYPE), "member_type"),
    "device": (special("a.json", tarfile.CHRTYPE), "member_type"),
    "pipe": (special("a.json", tarfile.FIFOTYPE), "member_type"),
    "sparse file": (special("a.json", tarfile.GNUTYPE_SPARSE), "member_type"),
    "global header": (special("a.json", tarfile.XGLTYPE), "member_type"),
    "unknown type": (special("a.json", b"Z"), "member_type"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_plain_member_is_refused_by_name(tmp_path, name, reader):
    entry, reason = HOSTILE[name]
    path = tmp_path / "a.tar"
    foreign(path, ("good.json", b"{}"), (entry, b""))
    with pytest.raises(TarError) as found:
        READERS[reader](path)
    assert found.value.reason == reason
    assert "a.tar" in str(found.value) or (entry if isinstance(entry, str) else entry.name) in str(
        found.value
    )


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_that_stand_for_other_headers_are_refused(tmp_path, form):
    path = tmp_path / "a.tar"
    foreign(path, ("k" * 150 + ".json", b"{}"), form=form)
    with pytest.raises(TarError, match=r"long name|extended header"):
        list(read_tar(path))


def forged(**fields):
    """A header that passes its checksum and says what we like."""
    head = bytearray(header("a.json", 2))
    for start, data in fields.values():
        head[start : start + len(data)] = data
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


FORGED = {
    "negative size": (124, b"-0000001000\0"),
    "signed size": (124, b"+0000000002\0"),
    "size with an underscore": (124, b"000000000_2\0"),
    "size in another base": (124, b"0o000000002\0"),
    "binary size": (124, b"\x80" + bytes(10) + b"\2"),
    "binary negative size": (124, b"\xff" * 12),
    "no size": (124, b"zzzzzzzzzzz\0"),
    "giant size": (124, b"77777777777\0"),
    "size over the limit": (124, b"%011o\0" % (MAX_MEMBER_BYTES + 1)),
    "name that is no text": (0, b"\xff\xfe.json"),
    "name that goes on after its end": (0, b"a.pickle\0"),
    "folder in the prefix": (345, b"../etc"),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.timeout(10)
def test_a_forged_header_is_refused(tmp_path, name, reader):
    path = tmp_path / "a.tar"
    body = b"{}" + bytes(510)
    path.write_bytes(header("g.json", 2) + body + forged(it=FORGED[name]) + body + bytes(1024))
    with pytest.raises(TarError):
        READERS[reader](path)


@given(st.binary(max_size=2 * BLOCK))
def test_any_bytes_are_members_or_a_tar_error(path, data):
    path.write_bytes(data)
    for read in READERS.values():
        try:
            read(path)
        except TarError as error:
            assert error.reason


@pytest.mark.parametrize(
    "name",
    ["a.pickle", "a.b.jpg.x", "A.json", "../a.json", "a.ref0.gif", ".json", "a..jpg", "k" * 81 + ".json"],
)
def test_a_name_that_a_reader_would_lose_cannot_be_written(tmp_path, name):
    with TarWriter(tmp_path / "a.tar") as writer, pytest.raises(TarError):
        writer.add(name, b"")


def test_a_shard_is_never_written_over_another(path):
    write(path, [])
    with pytest.raises(FileExistsError):
        TarWriter(path)


def test_each_byte_of_a_shard_is_told_of_once_when_it_is_in_the_file(tmp_path):
    path, told = tmp_path / "a.tar", []

    def flushed(file, start, stop):
        assert file.stat().st_size == stop
        told.append((start, stop))

    with TarWriter(path, flushed) as writer:
        for number in range(6):
            writer.add(f"a.ref{number}.jpg", bytes(700_000))
    assert len(told) > 2
    assert [start for start, _ in told] == [0, *(stop for _, stop in told[:-1])]
    assert told[-1][1] == path.stat().st_size
