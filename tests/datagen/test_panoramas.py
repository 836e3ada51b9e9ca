"""Panoramas: captions, splits, and views of them."""

import numpy as np
import pytest

from datagen.panoramas import View, light_from, load_panoramas, look


def test_there_are_18_panoramas_with_captions_of_their_own():
    panoramas = load_panoramas()
    assert len(panoramas) == 18
    assert len({p.caption for p in panoramas}) == 18


def test_splits_share_no_panorama_and_both_have_some():
    calibration, heldout = (set(load_panoramas(split)) for split in ("calibration", "heldout"))
    assert not calibration & heldout
    assert calibration | heldout == set(load_panoramas())
    assert min(len(calibration), len(heldout)) >= 6


def test_a_full_turn_sees_the_same_and_the_seam_does_not_show():
    start, turned = (look(View(panorama="park", yaw_deg=yaw, pitch_deg=-10), 96) for yaw in (0, 360))
    assert np.array_equal(np.asarray(start), np.asarray(turned))
    seam = np.asarray(look(View(panorama="park", yaw_deg=0, pitch_deg=-10), 96), dtype=int)
    steps = np.abs(np.diff(seam.mean((0, 2))))
    assert steps[46:50].max() <= 4 * np.median(steps) + 2


def test_looking_up_from_a_meadow_shows_sky_and_down_shows_grass():
    up, down = (
        np.asarray(look(View(panorama="park", yaw_deg=0, pitch_deg=pitch), 60)).mean((0, 1))
        for pitch in (40, -40)
    )
    assert up.argmax() == 2
    assert down.argmax() == 1


@pytest.mark.parametrize("panorama", [p.name for p in load_panoramas()])
def test_light_changes_side_when_the_camera_turns_round(panorama: str):
    ahead, behind = (light_from(View(panorama=panorama, yaw_deg=yaw, pitch_deg=0)) for yaw in (70, 250))
    assert -1 <= ahead <= 1
    assert ahead == pytest.approx(-behind, abs=1e-6)
