"""Controls: what is spoilt, and that a sample of no picture spoils no step."""

from filters.controls import draw_rows, spoil
from shards.sample import EncodedImage
from shards.stage import IndexRow
from tiny_samples import make_sample, picture


def test_each_sample_is_spoilt_in_each_way():
    assert [kind for kind, _ in spoil([make_sample(1), make_sample(2)])] == ["copy", "swapped", "blank"] * 2


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
