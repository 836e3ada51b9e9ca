"""Which order an instruction fixes, whatever its wording."""

from random import Random

import pytest

from datagen.instructions import Mention, Wish, write_instruction
from filters.wording import fixed_order
from shards.sample import Candidate

NAMES = ["fox", "red heart", "mug", "old key"]


def claims(number):
    return [(Candidate(name=name, phrase=f"the {name}"),) for name in NAMES[:number]]


def write(seed, order, *, is_ordered):
    mentions = [Mention(f"the {NAMES[number]}", number + 1) for number in order]
    return write_instruction(Random(seed), Wish(mentions=mentions, place="in a park", is_ordered=is_ordered))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (2, 0, 1), (3, 1, 0, 2)])
def test_the_order_of_an_ordered_instruction_is_read(seed, order):
    assert fixed_order(write(seed, order, is_ordered=True), claims(max(order) + 1)) == order


@pytest.mark.parametrize("seed", range(40))
def test_an_unordered_instruction_fixes_nothing(seed):
    assert fixed_order(write(seed, (1, 0, 2), is_ordered=False), claims(3)) == ()


def test_a_phrase_that_picks_a_candidate_by_its_place_fixes_nothing_of_the_target():
    subjects = [(Candidate(name="fox", phrase="the fox on the left"),), (Candidate(name="mug"),)]
    assert fixed_order("Put the fox on the left of image 1 beside the mug of image 2.", subjects) == ()


def test_sides_named_the_other_way_round():
    text = "Place the fox on the right and the red heart on the left."
    assert fixed_order(text, claims(2)) == (1, 0)


def test_one_subject_has_no_order():
    assert fixed_order("The fox on the left.", claims(1)) == ()
