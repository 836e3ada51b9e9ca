"""Contact sheets: whatever a set claims, it is drawn."""

from dataclasses import replace

from fake_stage import fake_sample
from recipes.sheet import BOXES, LINE_PX, contact_sheet, describe, undrawable


def test_a_box_whose_corners_are_turned_is_drawn_all_the_same():
    sample = fake_sample(references=1)
    candidate = sample.subjects[0][0]
    turned = replace(sample, subjects=((replace(candidate, box=(8, 8, 0, 0)),),))
    plain = replace(sample, subjects=((replace(candidate, box=(0, 0, 8, 8)),),))
    assert contact_sheet(turned).tobytes() == contact_sheet(plain).tobytes()


def test_words_that_the_font_lacks_are_told_on_the_sheet_and_printed_whole():
    plain = replace(fake_sample(references=1), instruction="Show the red car.")
    foreign = replace(plain, instruction="\u628a\u7ea2\u8272\u7684\u8f66\u653e\u5728\u96ea\u5730\u91cc")
    assert undrawable(plain.instruction) == ""
    assert undrawable(foreign.instruction) == "".join(sorted(set(foreign.instruction)))
    assert undrawable(BOXES) == ""
    assert contact_sheet(foreign).height == contact_sheet(plain).height + LINE_PX
    assert f"instruction: {foreign.instruction}" in describe(foreign)
