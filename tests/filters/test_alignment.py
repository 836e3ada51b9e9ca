"""A reference laid over a target: found again turned, mirrored and scaled; another shape is not."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from filters.alignment import overlay
from filters.colour import compare_colours, histogram, hue_histogram, intersection
from filters.cutouts import FRAME_PX, SHRINK, Cutout, shrink

SIDE = FRAME_PX // SHRINK


def cutout(picture: Image.Image) -> Cutout:
    rgba = np.asarray(picture.resize((FRAME_PX, FRAME_PX)), dtype=np.float32)
    return Cutout(
        box=(0, 0, 1, 1),
        colours=shrink(rgba[..., :3]),
        alpha=shrink(rgba[..., 3:])[..., 0] / 255,
        embedding=np.zeros(1280, dtype=np.float32),
    )


def flag(colours=("#d02020", "#2040c0")) -> Image.Image:
    picture = Image.new("RGBA", (320, 320))
    draw = ImageDraw.Draw(picture)
    draw.polygon([(60, 80), (260, 120), (230, 250), (90, 230)], fill=colours[0])
    draw.polygon([(60, 80), (160, 100), (120, 235), (90, 230)], fill=colours[1])
    return picture


@pytest.mark.parametrize("turn", [-20, -7, 0, 11, 19])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_the_same_thing_is_found_however_it_was_turned(turn, is_mirrored):
    moved = flag().rotate(turn, Image.Resampling.BICUBIC)
    if is_mirrored:
        moved = moved.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    laid = overlay(cutout(flag()), cutout(moved))
    assert laid.shape > 0.9
    assert laid.shade > 0.85
    assert compare_colours(laid, cutout(moved)).chroma < 8


def test_another_shape_does_not_fit():
    disc = Image.new("RGBA", (320, 320))
    ImageDraw.Draw(disc).ellipse((150, 20, 190, 300), fill="#d02020")
    assert overlay(cutout(flag()), cutout(disc)).shape < 0.75


def test_paint_differs_and_light_does_not():
    painted, lit = cutout(flag(("#20a020", "#2040c0"))), cutout(flag(("#b21b1b", "#1b36a3")))
    by_paint = compare_colours(overlay(cutout(flag()), painted), painted)
    by_light = compare_colours(overlay(cutout(flag()), lit), lit)
    assert by_light.chroma < 4 < 20 < by_paint.chroma
    assert by_light.residual < by_paint.residual


def test_nothing_over_nothing_is_unknown_not_alike():
    empty = cutout(Image.new("RGBA", (320, 320)))
    assert compare_colours(overlay(empty, empty), empty).chroma == 255


def test_hue_histograms_tell_colours_and_sum_to_one():
    red, blue = cutout(flag(("red", "red"))), cutout(flag(("blue", "blue")))
    assert hue_histogram(red).sum() == pytest.approx(1)
    assert intersection(hue_histogram(red), hue_histogram(red)) == pytest.approx(1)
    assert intersection(hue_histogram(red), hue_histogram(blue)) < 0.05


def test_greys_have_no_hue():
    grey = np.full((10, 3), 120, dtype=np.float32)
    assert histogram(grey, np.ones(10, dtype=np.float32))[:18].sum() == pytest.approx(0, abs=1e-3)
