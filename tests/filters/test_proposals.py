"""Things in a picture: parts of what the network marks, small fragments joined to what they belong to."""

import numpy as np

from filters.proposals import join, propose


def marks(*boxes):
    log_odds = np.full((128, 128), -5, dtype=np.float32)
    for left, top, right, bottom in boxes:
        log_odds[top:bottom, left:right] = 5
    return log_odds


def test_things_apart_are_proposed_apart_largest_first():
    found = propose(marks((10, 10, 30, 30), (60, 60, 100, 100)))
    assert [proposal.box for proposal in found] == [(60, 60, 100, 100), (10, 10, 30, 30)]


def test_neighbours_with_two_cells_between_them_stay_apart():
    assert len(propose(marks((10, 10, 30, 30), (32, 10, 52, 30)))) == 2


def test_specks_are_nothing():
    assert propose(marks((10, 10, 13, 13))) == []
    assert propose(marks()) == []


def test_a_fragment_belongs_to_its_large_neighbour():
    [whole] = propose(marks((10, 10, 50, 50), (20, 4, 28, 8)))
    assert whole.box == (10, 4, 50, 50)


def test_joined_things_have_one_box():
    found = propose(marks((10, 10, 30, 30), (60, 60, 100, 100)))
    assert join(found).box == (10, 10, 100, 100)
    assert join(found).cells == sum(proposal.cells for proposal in found)
