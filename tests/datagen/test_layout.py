"""Arrangements: apart, inside, in order."""

from itertools import pairwise, product
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from datagen.layout import Area, arrange, arrange_in_order, centre_x, overlaps

SIZES = st.lists(st.tuples(st.integers(20, 120), st.integers(20, 120)), min_size=1, max_size=4)
AREA = Area()


def inside(box: tuple[int, int, int, int], side_px: int) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= side_px and box[3] <= side_px


@given(SIZES, st.integers(0, 1 << 30))
def test_arranged_boxes_keep_their_sizes_lie_inside_and_never_overlap(sizes, seed):
    boxes = arrange(Random(seed), sizes, 512, AREA)
    if boxes is None:
        return
    assert [(b[2] - b[0], b[3] - b[1]) for b in boxes] == sizes
    assert all(inside(box, 512) for box in boxes)
    assert not any(overlaps(a, b) for n, a in enumerate(boxes) for b in boxes[:n])


@given(SIZES, st.integers(0, 1 << 30))
def test_ordered_boxes_stand_from_left_to_right_without_overlap(sizes, seed):
    boxes = arrange_in_order(Random(seed), sizes, 512, AREA)
    if boxes is None:
        return
    assert all(inside(box, 512) for box in boxes)
    assert all(left[2] <= right[0] for left, right in pairwise(boxes))
    assert [centre_x(b) for b in boxes] == sorted(centre_x(b) for b in boxes)


@given(st.integers(0, 1 << 30))
def test_boxes_to_avoid_are_avoided(seed):
    avoid = (150, 200, 400, 480)
    boxes = arrange(Random(seed), [(100, 100)], 512, AREA, avoid=[avoid])
    assert boxes is not None
    assert not overlaps(boxes[0], avoid)


def test_what_cannot_fit_is_none_not_an_overlap():
    assert arrange(Random(0), [(300, 300), (300, 300)], 512, AREA) is None
    assert arrange_in_order(Random(0), [(300, 300), (300, 300)], 512, AREA) is None
    assert arrange(Random(0), [(600, 100)], 512, AREA) is None


def test_what_fits_is_arranged_with_its_feet_on_the_ground():
    for seed, way in product(range(20), (arrange, arrange_in_order)):
        boxes = way(Random(seed), [(40, 60), (60, 200), (40, 440)], 512, AREA)
        assert boxes is not None
        for left, top, right, bottom in boxes:
            assert (left >= AREA.left * 512 - 1, right <= AREA.right * 512 + 1) == (True, True)
            assert top >= AREA.top * 512
            assert AREA.base_low * 512 - 1 < bottom < AREA.base_high * 512 + 1
