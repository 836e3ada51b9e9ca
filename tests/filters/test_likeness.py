"""Likeness of an edited reference's original candidate: high however an editor drifts, low after a change."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from datagen.encoding import encode_jpeg
from datagen.panoramas import load_panoramas
from datagen.renderer import random_view, view_backdrop
from filters.likeness import LikenessMeter, around, moved
from filters.raw import Edited
from shards.sample import Candidate, EncodedImage, Provenance
from shards.stage import keyed_random

BOX = (60, 50, 200, 210)


@pytest.fixture(scope="module")
def meter():
    return LikenessMeter()


@pytest.fixture(scope="module")
def photographs():
    """Crops of different photographs."""
    random = keyed_random("likeness")
    names = [panorama.name for panorama in load_panoramas()][:4]
    return [encode_jpeg(view_backdrop(random_view(random, name), 256).picture) for name in names]


def edited(now, raw, box=BOX, **changes):
    fields = {
        "key": "one",
        "instruction": "Show it.",
        "references": (now,),
        "target": now,
        "subjects": ((Candidate(name="it", box=box), Candidate(name="other", is_target=False)),),
        "provenance": Provenance(source="s", licence="CC0-1.0", task="t"),
        "raw": {0: raw} if raw else {},
        "known": frozenset({0}),
    }
    return Edited(**{**fields, **changes})


def drifted(image, size=None):
    """Shifted and zoomed by about 3 % of the crop, beside something new, maybe of another size."""
    picture = Image.open(io.BytesIO(image.data))
    shown = picture.transform(picture.size, Image.Transform.AFFINE, (1.02, 0, -5, 0, 1.02, 4))
    shown.paste("orange", (214, 100, 256, 256))
    return encode_jpeg(shown.resize(size) if size else shown)


def likeness(meter, sample):
    ((row),) = meter.rows(sample)
    assert row["status"] == "ok"
    assert row["label_mass"] == 1
    return row["expected"]


def test_what_an_editor_kept_is_alike_and_what_it_changed_is_not(meter, photographs):
    kept = [likeness(meter, edited(drifted(image), image)) for image in photographs]
    others = photographs[1:] + photographs[:1]
    changed = [
        likeness(meter, edited(drifted(other), image))
        for image, other in zip(photographs, others, strict=True)
    ]
    assert min(kept) > 0.85 > max(changed)


def test_an_edit_of_another_size_is_compared_at_the_same_place(meter, photographs):
    box = tuple(2 * at for at in BOX)
    for image in photographs[:2]:
        assert likeness(meter, edited(drifted(image, (512, 512)), image, box)) > 0.8


def test_the_same_picture_is_its_own_likeness_and_repeats(meter, photographs):
    sample = edited(photographs[0], photographs[0])
    assert likeness(meter, sample) == 1
    drifting = edited(drifted(photographs[0]), photographs[0])
    assert meter.rows(drifting) == LikenessMeter().rows(drifting)


@pytest.mark.parametrize("box", [(60, 50, 60, 210), (200, 210, 60, 50), (900, 900, 950, 950)])
def test_a_box_of_another_hand_that_holds_nothing_is_not_measured(meter, photographs, box):
    (row,) = meter.rows(edited(photographs[0], photographs[0], box))
    assert (row["expected"], row["label_mass"], row["status"]) == (1.0, 0.0, "ok")


@pytest.mark.parametrize("missing", ["raw", "box", "target"])
def test_where_nothing_can_be_measured_the_row_says_so(meter, photographs, missing):
    image = photographs[0]
    sample = edited(image, None if missing == "raw" else image, None if missing == "box" else BOX)
    if missing == "target":
        sample = replace(sample, subjects=((Candidate(name="it", box=BOX, is_target=False),),))
    (row,) = meter.rows(sample)
    assert (row["expected"], row["label_mass"], row["status"]) == (1.0, 0.0, "ok")


def test_a_damaged_picture_is_an_error_row(meter, photographs):
    broken = EncodedImage(photographs[0].data[:200], "jpg")
    (row,) = meter.rows(edited(photographs[0], broken))
    assert (row["status"], row["expected"]) == ("error", None)


def test_a_crop_moves_within_its_picture():
    picture = Image.new("RGB", (100, 80))
    boxes = list(around((0, 0, 100, 80), picture))
    assert boxes[0] == (0, 0, 100, 80)
    assert all(0 <= left < right <= 100 and 0 <= top < bottom <= 80 for left, top, right, bottom in boxes)
    assert moved((0, 0, 100, 80), picture, Image.new("RGB", (50, 40))) == (0, 0, 50, 40)
