"""How an instruction counts its images is read by builders and by the judge, each for itself: they agree."""

import pytest

from datagen.instructions import STYLES
from datagen.mentions import images_named, named_images, named_references
from filters.wording import numbers_named

PUBLISHED = {
    "Photo 2 and the first picture": {1, 2},
    "<img><|image_1|></img> with <|image_2|>": {1, 2},
    "from the 4th image": {4},
    "in the second input image": {2},
    "a photo 1999 by night": set(),
    "three images": set(),
    "Combine images 1 and 3.": {1, 3},
    "Put photos 1, 2, and 4 on a shelf": {1, 2, 4},
    "The third photo, the Fifth input image and the sixth reference": {3, 5, 6},
}


def judged(text):
    return {number for _, _, number in numbers_named(text)}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("number", range(1, 9))
def test_a_number_in_any_style_that_is_written_is_read_by_all(style, number):
    text = f"Put the fox from {STYLES[style](number)} into a park at 9 o'clock."
    assert named_references(text) == named_images(text) == images_named(text) == judged(text) == {number}


@pytest.mark.parametrize(("text", "expected"), PUBLISHED.items())
def test_the_judge_reads_published_instructions_as_their_importers_do(text, expected):
    assert named_references(text) == judged(text) == expected
