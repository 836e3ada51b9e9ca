"""Controls: what is spoilt, and that a sample of no picture spoils no step."""

import io

from PIL import Image

from filters.controls import control_table, draw_rows, read_controls, spoil, write_controls
from shards.sample import EncodedImage
from shards.stage import IndexRow, Scores
from shards.storage import Storage
from tiny_samples import make_sample, picture


def test_each_sample_is_spoilt_in_each_way_and_in_nothing_else():
    samples = [make_sample(1), make_sample(2, references=3), make_sample(3, target=picture(3, side_px=20))]
    found = list(spoil(samples))
    assert [kind for kind, _ in found] == ["copy", "swapped", "blank"] * 3
    first, second, third = (dict(found[place : place + 3]) for place in (0, 3, 6))
    assert [first["copy"].target, third["copy"].target] == [s.references[0] for s in (samples[0], samples[2])]
    assert first["swapped"].references == samples[1].references[:2]
    assert second["swapped"].references == (*samples[2].references, samples[2].references[0])
    assert third["swapped"].references == samples[0].references  # the last one has the first one's
    with Image.open(io.BytesIO(third["blank"].target.data)) as blank:
        assert (blank.size, blank.getcolors()) == ((20, 20), [(400, (128, 128, 128))])
    for number, sample in enumerate(samples):
        copy, swapped, blank = (spoilt for _, spoilt in found[3 * number : 3 * number + 3])
        assert copy.references == blank.references == sample.references
        assert swapped.target == sample.target


def test_of_one_sample_there_is_no_other_to_swap_with():
    assert [kind for kind, _ in spoil([make_sample(1)])] == ["copy", "blank"]


def test_controls_are_read_back_as_they_were_judged(tmp_path):
    storage = Storage(str(tmp_path))
    assert read_controls(storage) is None
    rows = [
        {"key": "a", "reference": -1, "candidate": -1, "mode": 4.0, "expected": 3.5, "status": "ok"},
        {"key": "b", "reference": -1, "candidate": -1, "status": "unreadable"},
    ]
    outcomes = [
        Scores(rows={"consistency": rows[:1]}),
        Scores(rows={"consistency": rows[1:], "presence": rows[:1]}),
    ]
    write_controls(control_table(["copy", "blank"], outcomes), storage)
    table = read_controls(storage).select(["control", "question", "key", "mode", "status"])
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("copy", "consistency", "a", 4.0, "ok"),
        ("blank", "consistency", "b", None, "unreadable"),
        ("blank", "presence", "a", 4.0, "ok"),
    ]


def test_a_target_that_is_no_picture_or_too_large_a_one_has_no_blank():
    bad = make_sample(1, target=EncodedImage(b"no picture", "png"))
    data = bytearray(picture(2).data)
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in a PNG's header
    bomb = make_sample(2, target=EncodedImage(bytes(data), "png"))
    kinds = [(sample.key, kind) for kind, sample in spoil([bad, bomb, make_sample(3)])]
    assert [kind for key, kind in kinds if key != make_sample(3).key] == ["copy", "swapped"] * 2


def test_the_same_samples_are_drawn_of_any_order():
    told = dict.fromkeys(("task", "case", "source", "licence"), "") | {"references": 1}
    rows = [IndexRow(**told, directory=0, shard=0, row=n, key=f"k{n}") for n in range(40)]
    drawn = [row.key for row in draw_rows(iter(rows), 5)]
    assert len(drawn) == 5
    assert [row.key for row in draw_rows(reversed(rows), 5)] == drawn
