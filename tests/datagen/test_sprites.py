"""Sprites: tight boxes and recolouring."""

import numpy as np
import pytest
from PIL import Image

from datagen.catalogue import load_catalogue
from datagen.sprites import (
    ALPHA_FLOOR,
    MIN_COLOUR_DIFFERENCE,
    Pose,
    colour_difference,
    main_hue,
    make_sprite,
    recolour,
)

CATALOGUE = load_catalogue()


@pytest.mark.parametrize("rotation", [0, 7.5, -30])
@pytest.mark.parametrize("name", ["fox", "pencil", "red heart"])
def test_sprite_is_tight_to_its_alpha(name: str, rotation: float):
    sprite = make_sprite(
        CATALOGUE.picture(CATALOGUE.named(name)[0]), Pose(side_px=150, rotation_deg=rotation)
    )
    alpha = np.asarray(sprite.getchannel("A"))
    assert all(edge.max() >= ALPHA_FLOOR for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
    assert not ((alpha > 0) & (alpha < ALPHA_FLOOR)).any()


def test_unturned_sprite_has_the_longer_side_asked_for():
    sprite = make_sprite(CATALOGUE.picture(CATALOGUE.named("fox")[0]), Pose(side_px=150))
    assert max(sprite.size) == pytest.approx(150, abs=1)


def test_flipped_sprite_is_the_mirror_image():
    picture = CATALOGUE.picture(CATALOGUE.named("fox")[0])
    plain, flipped = (make_sprite(picture, Pose(side_px=256, is_flipped=flip)) for flip in (False, True))
    mirrored = plain.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert colour_difference(mirrored, flipped) < 2


def test_recoloured_subjects_differ_by_25_of_255_at_least_and_keep_their_outline():
    for subject in CATALOGUE.subjects[::9]:
        picture = CATALOGUE.picture(subject)
        for hue in (30.0, 130.0, 280.0):
            recoloured = recolour(picture, hue)
            assert np.array_equal(np.asarray(recoloured)[..., 3], np.asarray(picture)[..., 3])
            turned = abs((hue - main_hue(picture) + 180) % 360 - 180)
            assert turned < 80 or colour_difference(picture, recoloured) >= MIN_COLOUR_DIFFERENCE
    black, white = (Image.new("RGBA", (4, 4), colour) for colour in ("black", "white"))
    assert colour_difference(black, recolour(black, 200)) >= MIN_COLOUR_DIFFERENCE
    assert colour_difference(white, recolour(white, 200)) >= MIN_COLOUR_DIFFERENCE
