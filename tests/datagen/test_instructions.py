"""Instructions: they name what they must, and can be read back."""

import re
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from datagen.cases import CASES, is_possible, kinds_of
from datagen.instructions import (
    Mention,
    Wish,
    rephrase,
    write_alone,
    write_instruction,
)
from datagen.mentions import named_images, renumber

SEEDS = st.integers(0, 1 << 30)
NAMES = ["the fox", "the red heart", "the musical keyboard", "the clock showing five thirty"]


def wish(number: int, *, scene: bool, ordered: bool, terse: bool = False) -> Wish:
    mentions = [Mention(NAMES[n], n + 1) for n in range(number)]
    return Wish(
        mentions=mentions,
        place="" if scene else "in a pine forest",
        scene_image=number + 1 if scene else None,
        is_ordered=ordered,
        is_terse=terse,
    )


@given(SEEDS, st.integers(1, 4), st.booleans(), st.booleans())
def test_instruction_names_each_subject_once_and_exactly_the_images_it_uses(seed, number, scene, ordered):
    text = write_instruction(Random(seed), wish(number, scene=scene, ordered=ordered))
    assert all(len(re.findall(re.escape(name), text, re.IGNORECASE)) == 1 for name in NAMES[:number])
    assert named_images(text) == set(range(1, number + 1 + scene))
    assert text[0].isupper() or text[0] == "<"
    assert text.endswith(".")


@given(SEEDS, st.integers(2, 4))
def test_ordered_instruction_says_left_and_right_in_the_claimed_order(seed, number):
    text = write_instruction(Random(seed), wish(number, scene=False, ordered=True)).lower()
    assert "left" in text
    places = [text.index(name) for name in NAMES[:number]]
    assert places == sorted(places)


@given(SEEDS, st.integers(1, 4))
def test_terse_instruction_names_no_image(seed, number):
    assert not named_images(
        write_instruction(Random(seed), wish(number, scene=False, ordered=False, terse=True))
    )


def test_wording_is_varied():
    texts = {write_instruction(Random(n), wish(2, scene=False, ordered=False)) for n in range(200)}
    assert len(texts) > 60


@given(SEEDS, st.integers(2, 4), st.booleans())
def test_renumbering_twice_gives_the_instruction_back(seed, number, scene):
    text = write_instruction(Random(seed), wish(number, scene=scene, ordered=False))
    exchange = {1: 2, 2: 1}
    assert renumber(text, exchange) != text
    assert renumber(renumber(text, exchange), exchange) == text


@given(SEEDS)
def test_rephrasing_changes_only_the_phrase(seed):
    text = write_instruction(Random(seed), wish(2, scene=False, ordered=False))
    changed = rephrase(text, {"the fox": "the larger animal"})
    assert changed is not None
    assert changed.lower().replace("the larger animal", "the fox") == text.lower()


def test_phrase_that_is_in_the_text_twice_is_not_replaced():
    assert rephrase("the fox and the fox", {"the fox": "the dog"}) is None


@given(SEEDS)
def test_instruction_for_one_of_several_names_the_one_image(seed):
    text = write_alone(Random(seed), Mention("the left-hand animal", 1), "on a plain light background")
    assert named_images(text) == {1}
    assert "the left-hand animal" in text.lower()


@given(st.sampled_from(sorted(CASES)), st.integers(1, 4), SEEDS)
def test_a_case_has_all_its_kinds_and_no_other(case, references, seed):
    if is_possible(case, references):
        kinds = kinds_of(Random(seed), case, references)
        assert len(kinds) == references
        assert set(kinds) == set(CASES[case])
        assert kinds.count("scene") == ("scene" in CASES[case])
