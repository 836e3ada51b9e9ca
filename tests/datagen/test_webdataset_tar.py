"""Tars of another hand: what is whole comes in, and each thing that is not is a row with its reason."""

import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datagen.importers.source import SourceError
from datagen.importers.webdataset_tar import ImportConfig
from fake_stage import fake_image, fake_sample
from shards.plan import Refused
from shards.sample import Sample, sample_json
from shards.stage import Planned, Reject, Work


def jpg(side=16, mode="RGB", form="JPEG", **options):
    file = io.BytesIO()
    pixels = Image.fromarray(np.full((side, 2 * side, 3), 90, np.uint8)).convert(mode)
    pixels.save(file, form, **options)
    return file.getvalue()


JPG = jpg()
TEXT = b'{"instruction": "the fox on the table"}'


def group(key, references=1, text=TEXT):
    return [
        (f"{key}.json", text),
        *[(f"{key}.ref{number}.jpg", JPG) for number in range(references)],
        (f"{key}.target.jpg", JPG),
    ]


def tar_of(path, entries, form=tarfile.USTAR_FORMAT):
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in entries:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def config_of(*paths, **changes):
    return ImportConfig(paths=[str(path) for path in paths], source="set", licence="CC-BY-4.0", **changes)


def run(*paths, **changes):
    """Samples by key, refusals as (origin, reason), rejects by key: what one import comes to."""
    config = config_of(*paths, **changes)
    entries = list(config.plan([]))
    stage = config.build(None)
    samples, rejects = {}, {}
    for entry in entries:
        if isinstance(entry, Planned):
            spec = json.loads(json.dumps(entry.spec))
            [outcome] = stage([Work(key=entry.key, spec=spec)])
            (samples if isinstance(outcome, Sample) else rejects)[entry.key] = outcome
    refused = [(entry.origin, entry.reason) for entry in entries if isinstance(entry, Refused)]
    return samples, refused, {key: reject.reason for key, reject in rejects.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tar"


# What is whole


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_plain_set_comes_in_whole(path, form):
    tar_of(path, group("a") + group("b", 3), form)
    samples, refused, rejects = run(path)
    assert (list(samples), refused, rejects) == (["a", "b"], [], {})
    assert samples["b"].references[2].data == JPG
    assert samples["b"].provenance.licence == "CC-BY-4.0"
    assert samples["b"].provenance.task == "composition_multi"
    assert samples["b"].provenance.origin == {"tar": "a.tar", "key": "b"}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_webdatasets_own_writer_wrote_comes_in(path):
    with webdataset.TarWriter(str(path)) as writer:
        for number in range(3):
            sample = {"json": TEXT, "ref0.jpg": JPG, "target.jpg": JPG}
            writer.write({"__key__": f"{number:06d}", **sample})
    samples, refused, _ = run(path)
    assert (list(samples), refused) == (["000000", "000001", "000002"], [])


def test_a_set_of_ours_comes_back_as_it_was(path):
    ours = fake_sample(3, "fake-1", references=2)
    images = [(f"fake-1.{name}.{image.extension}", image.data) for name, image in ours.images.items()]
    tar_of(path, [("fake-1.json", sample_json(ours)), *images])
    samples, _, _ = run(path)
    assert samples == {"fake-1": ours}


def test_a_licence_in_the_json_is_kept(path):
    text = b'{"instruction": "x", "license": "MIT"}'
    tar_of(path, group("a", text=text))
    assert run(path)[0]["a"].provenance.licence == "MIT"


@pytest.mark.parametrize("name", ["IMG_01", "sub/folder/0001", "sch\u00f6n", "k" * 120])
def test_a_foreign_key_gets_one_of_ours_that_stays(tmp_path, name):
    first = tar_of(tmp_path / "a.tar", group("x") + group(name), tarfile.PAX_FORMAT)
    second = tar_of(tmp_path / "b.tar", group(name), tarfile.GNU_FORMAT)
    key = list(run(first)[0])[1]
    assert key.startswith("import-")
    assert list(run(second)[0]) == [key]


def test_upper_case_extensions_are_read(path):
    tar_of(path, [("a.json", TEXT), ("a.ref0.JPG", JPG), ("a.Target.JPEG", JPG)])
    assert list(run(path)[0]) == ["a"]


def test_where_the_tars_lie_does_not_change_the_hash(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        tar_of(tmp_path / folder / "a.tar", group("a"))
    here = config_of(tmp_path / "here" / "*.tar")
    there = config_of(tmp_path / "there" / "a.tar")
    assert here.computed() == there.computed()
    assert list(here.plan([])) == list(there.plan([]))
    tar_of(tmp_path / "there" / "b.tar", group("b"))
    assert config_of(tmp_path / "there" / "*.tar").computed() != here.computed()


def test_a_path_is_the_same_for_a_worker_elsewhere(tmp_path, monkeypatch):
    tar_of(tmp_path / "a.tar", group("a"))
    monkeypatch.chdir(tmp_path)
    config = config_of("a.tar")
    monkeypatch.chdir("/")
    assert list(config.tars) == ["a.tar"]


def test_no_tars_are_missing_in_a_check_and_an_error_in_a_run(tmp_path):
    config = config_of(tmp_path / "z" / "*.tar", tmp_path / "y.tar")
    assert [told.partition(" at ")[0] for told in config.missing()] == [
        "import: paths: expected tars, got none"
    ] * 2
    assert config.computed()["sources"] is None
    with pytest.raises(SourceError, match="got none at"):
        list(config.plan(()))


def test_two_tars_of_one_name_are_an_error_at_once(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        tar_of(tmp_path / folder / "a.tar", [])
    with pytest.raises(SourceError, match="two steps"):
        config_of(tmp_path / "*" / "a.tar").computed()


# Members that are no samples: the rest of the tar comes in


def special(name, kind, link="", pax=None):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.pax_headers = kind, link, pax or {}
    return info


HOSTILE = {
    "pickle": ([*group("b"), ("b.weights.pickle", b"x")], "a.tar:b.weights.pickle", "member_type"),
    "pickle named data": ([("b.pyd", b"x")], "a.tar:b.pyd", "member_type"),
    "readme": ([("README.txt", b"x")], "a.tar:README.txt", "member_type"),
    "no extension": ([("b", b"x")], "a.tar:b", "member_type"),
    "dotted key": ([("b.c.ref0.jpg", JPG)], "a.tar:b.c.ref0.jpg", "dotted_key"),
    "dotted json": ([("b.c.json", TEXT)], "a.tar:b.c.json", "dotted_key"),
    "mask": ([*group("b"), ("b.mask.png", JPG)], "a.tar:b.mask.png", "member_name"),
    "path escape": ([("../../b.json", TEXT)], "a.tar:../../b.json", "path_escape"),
    "absolute path": ([("/etc/b.json", TEXT)], "a.tar:/etc/b.json", "path_escape"),
    "backslash": ([("..\\b.json", TEXT)], "a.tar:..\\b.json", "path_escape"),
    "symbolic link": (
        [(special("b.ref1.jpg", tarfile.SYMTYPE, "/etc/passwd"), b"")],
        "a.tar:b.ref1.jpg",
        "member_type",
    ),
    "hard link": (
        [(special("b.ref1.jpg", tarfile.LNKTYPE, "a.ref0.jpg"), b"")],
        "a.tar:b.ref1.jpg",
        "member_type",
    ),
    "folder": ([(special("b", tarfile.DIRTYPE), b"")], "a.tar:b/", "member_type"),
    "pipe": ([(special("b", tarfile.FIFOTYPE), b"")], "a.tar:b", "member_type"),
    "device": ([(special("b", tarfile.CHRTYPE), b"")], "a.tar:b", "member_type"),
    "sparse file": ([(special("b.json", tarfile.GNUTYPE_SPARSE), TEXT)], "a.tar:b.json", "member_type"),
    "unknown type": ([(special("b.json", b"Z"), TEXT)], "a.tar:b.json", "member_type"),
    "sparse by extended header": (
        [(special("b.json", tarfile.REGTYPE, pax={"GNU.sparse.major": "1"}), TEXT)],
        "a.tar:b.json",
        "member_type",
    ),
    "giant extended header": (
        [(special("b.json", tarfile.REGTYPE, pax={"comment": "x" * 100_000}), TEXT)],
        "a.tar:b.json",
        "giant_header",
    ),
    "giant name": ([("n" * 70_000 + ".json", TEXT)], None, "giant_header"),
    "missing target": (group("b")[:-1], "a.tar:b", "missing_target"),
    "missing json": (group("b")[1:], "a.tar:b", "missing_json"),
    "missing reference": ([group("b")[0], group("b")[-1]], "a.tar:b", "missing_reference"),
    "a gap in the references": ([*group("b"), ("b.ref2.jpg", JPG)], "a.tar:b", "missing_reference"),
    "member twice": ([*group("b"), ("b.ref0.jpg", JPG)], "a.tar:b", "duplicate_member"),
    "two images of one name": ([*group("b"), ("b.ref0.png", JPG)], "a.tar:b", "duplicate_member"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member_is_refused_by_name_and_the_rest_comes_in(path, name):
    entries, origin, reason = HOSTILE[name]
    tar_of(path, [*group("a"), *entries, *group("z")], tarfile.PAX_FORMAT)
    samples, refused, rejects = run(path)
    assert (list(samples), rejects) == (["a", "z"], {})
    assert [found for _, found in refused] == [reason]
    assert origin is None or refused[0][0] == origin
    assert len(refused[0][0]) < 200


def test_a_sample_with_a_link_among_its_images_does_not_come_in_without_it(path):
    tar_of(path, [*group("b"), (special("b.ref1.jpg", tarfile.SYMTYPE, "/etc/passwd"), b""), *group("z")])
    samples, refused, _ = run(path)
    assert (list(samples), refused) == (["z"], [("a.tar:b.ref1.jpg", "member_type")])


def test_a_split_sample_is_refused_in_both_places(path):
    one = group("b", 2)
    tar_of(path, [*one[:2], *group("c"), *one[2:]])
    samples, refused, _ = run(path)
    assert (list(samples), refused) == (["c"], [("a.tar:b", "split_sample")] * 2)


def test_of_two_samples_of_one_key_the_first_comes_in(tmp_path):
    first = tar_of(tmp_path / "a.tar", [*group("b"), *group("c"), *group("b")])
    second = tar_of(tmp_path / "b.tar", group("c"))
    samples, refused, _ = run(first, second)
    assert list(samples) == ["b", "c"]
    assert refused == [("a.tar:b", "duplicate_key"), ("b.tar:c", "duplicate_key")]


# Damaged tars


def test_a_tar_cut_at_any_byte_gives_what_came_before_and_refuses_the_cut_sample(path):
    tar_of(path, group("a") + group("b") + group("c"))
    blob = path.read_bytes()
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
        ends = {each.name[0]: each.offset_data + each.size + -each.size % 512 for each in tar.getmembers()}
    end_of_data = last.offset_data + last.size + -last.size % 512
    for cut in range(0, len(blob), 31):
        path.write_bytes(blob[:cut])
        entries = list(config_of(path).plan([]))
        kept = [entry.key for entry in entries if isinstance(entry, Planned)]
        refused = [entry for entry in entries if isinstance(entry, Refused)]
        assert set(kept) <= {key for key, end in ends.items() if end <= cut}
        assert {key for key, end in ends.items() if end + 512 <= cut} <= set(kept)
        if cut < end_of_data + 512:
            assert [entry.reason for entry in refused] == ["truncated"]
            assert refused[0].origin.startswith("a.tar:")
        else:
            assert (kept, refused) == (["a", "b", "c"], [])


def test_a_damaged_header_refuses_its_sample_and_says_that_the_rest_is_lost(path):
    tar_of(path, group("a") + group("b") + group("c"))
    with tarfile.open(path) as tar:
        at = tar.getmember("b.ref0.jpg").offset
    blob = bytearray(path.read_bytes())
    blob[at + 3] ^= 1
    path.write_bytes(blob)
    [planned, refused] = config_of(path).plan([])
    assert planned.key == "a"
    assert (refused.origin, refused.reason) == (f"a.tar:@{at}", "bad_header")
    assert "nothing after it can be read" in refused.detail


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b" + bytes(600), b"x" * 2000], ids=["empty", "gzip", "text"])
def test_a_file_that_is_no_tar_is_one_refusal(path, data):
    path.write_bytes(data)
    [refused] = config_of(path).plan([])
    assert refused.reason in ("truncated", "compressed", "bad_header")


def test_joined_tars_do_not_lose_the_second_without_a_word(tmp_path, path):
    one, two = (tar_of(tmp_path / f"{name}.tar", group(name)).read_bytes() for name in "xy")
    path.write_bytes(one + two)
    _, refused, _ = run(path)
    assert [reason for _, reason in refused] == ["trailing_data"]


@given(st.data())
def test_any_changed_bytes_are_entries_and_never_an_exception(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed.tar"
    tar_of(
        path, group("a") + group("b"), data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    )
    blob = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(blob) - 1), min_size=1, max_size=8)):
        blob[place] = data.draw(st.integers(0, 255))
    path.write_bytes(blob)
    samples, refused, rejects = run(path)
    assert samples or refused or rejects


# Contents that are no samples


def bomb(side):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def animation():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    return file.getvalue()


BAD_IMAGES = {
    "zero bytes": ("jpg", b"", "empty"),
    "text named jpg": ("jpg", b"<html>404</html>", "undecodable"),
    "png named jpg": ("jpg", fake_image(0, "b", "target", 8).data, "wrong_type"),
    "truncated": ("jpg", JPG[:-40], "undecodable"),
    "100 megapixels": ("png", bomb(10_000), "too_many_pixels"),
    "10 gigapixels": ("png", bomb(100_000), "too_many_pixels"),
    "animated": ("webp", animation(), "animated"),
    "cmyk": ("jpg", jpg(mode="CMYK"), "colour_mode"),
    "16 bit": ("png", jpg(mode="I;16", form="PNG"), "colour_mode"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_an_image_that_cannot_be_used_is_a_reject_with_its_reason(path, name):
    extension, data, reason = BAD_IMAGES[name]
    entries = [("b.json", TEXT), (f"b.ref0.{extension}", data), ("b.target.jpg", JPG)]
    tar_of(path, [*group("a"), *entries])
    samples, refused, rejects = run(path)
    assert (list(samples), refused, rejects) == (["a"], [], {"b": reason})


BAD_JSON = [
    b"",
    b"[]",
    b"{}",
    b'{"instruction": 3}',
    b'{"instruction": ""}',
    b'{"instruction": NaN}',
    b'{"instruction": "\xff"}',
    b'{"instruction": "\\ud800"}',
    b"[" * 50_000,
    b'{"instruction": "x", "provenance": 3}',
    b"1" * 10_000,
    b'"' + b"x" * (5 << 20) + b'"',
]


@pytest.mark.parametrize("number", range(len(BAD_JSON)))
def test_json_that_is_no_sample_is_a_reject_with_its_reason(path, number):
    tar_of(path, [*group("a"), *group("b", text=BAD_JSON[number])])
    samples, _, rejects = run(path)
    assert (list(samples), rejects) == (["a"], {"b": "bad_json"})


@pytest.mark.parametrize(
    ("settings", "reason"), [({"min_side_px": 17}, "too_small"), ({"max_aspect": 1.5}, "too_elongated")]
)
def test_images_of_another_size_than_asked_for_are_rejects(path, settings, reason):
    tar_of(path, group("a"))
    assert run(path, **settings)[2] == {"a": reason}
    assert run(path, min_side_px=16, max_aspect=2)[2] == {}


def test_a_tar_that_shrank_since_it_was_planned_is_a_reject(path):
    tar_of(path, group("a"))
    config = config_of(path)
    [planned] = config.plan([])
    path.write_bytes(path.read_bytes()[:2000])
    [outcome] = config.build(None)([Work(key="a", spec=planned.spec)])
    assert isinstance(outcome, Reject)
    assert outcome.reason == "truncated"
