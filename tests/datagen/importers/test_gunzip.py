"""How a gzip stream ends is told, and what that costs an import."""

import gzip
import hashlib
import io

import published_sets
import pytest
from published_sets import picture

from datagen.importers.gunzip import Gunzip, GzipError
from datagen.importers.jsonl import JsonlSettings
from datagen.importers.x2i import X2iSettings
from inline_run import run_inline


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
