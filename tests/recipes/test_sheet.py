"""Contact sheets: whatever a set claims, it is drawn."""

from dataclasses import replace

from fake_stage import fake_sample
from recipes.sheet import contact_sheet


def test_a_box_whose_corners_are_turned_is_drawn_all_the_same():
    sample = fake_sample(references=1)
    candidate = sample.subjects[0][0]
    turned = replace(sample, subjects=((replace(candidate, box=(8, 8, 0, 0)),),))
    plain = replace(sample, subjects=((replace(candidate, box=(0, 0, 8, 8)),),))
    assert contact_sheet(turned).tobytes() == contact_sheet(plain).tobytes()
