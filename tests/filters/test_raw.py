"""Raw references: what was edited is known where a sample has one parent that is found, and nowhere else."""

from dataclasses import replace

import pytest

from filters.raw import RawReferences, beside_raw
from shards.sample import Provenance
from tiny_samples import make_sample, picture

PARENT = make_sample(1, references=2)
KEPT, BEFORE = PARENT.references
NOW = picture(500)


class Held(dict):
    """Samples by key, as a directory holds them."""

    @property
    def places(self):
        return self


def edited(parents=(PARENT.key,), method="add", references=(KEPT, NOW)):
    provenance = Provenance(
        source="tiny", licence="CC0-1.0", task="distinction", parents=parents, origin={"method": method}
    )
    return replace(PARENT, key="edited", references=references, provenance=provenance)


def beside(sample, *directories):
    raw = RawReferences([])
    raw._directories = [Held({each.key: each for each in samples}) for samples in directories]
    return raw.beside(sample)


def test_what_differs_from_the_parent_is_shown_beside_it():
    found = beside(edited(), [], [PARENT], [replace(PARENT, references=(BEFORE, KEPT))])
    assert found.raw == {1: BEFORE}
    assert found.known == {0, 1}
    assert list(found.images) == ["ref0", "ref1", "target", "raw1"]
    assert found.images["raw1"] == BEFORE
    assert found.provenance == edited().provenance


def test_where_nothing_was_edited_that_is_known():
    found = beside(edited(references=PARENT.references), [PARENT])
    assert (found.raw, found.known) == ({}, {0, 1})


@pytest.mark.parametrize(
    "sample",
    [
        edited(method="swap"),
        edited(parents=()),
        edited(parents=("another",)),
        edited(parents=(PARENT.key, "another")),
    ],
)
def test_without_one_parent_that_was_edited_nothing_is_known(sample):
    found = beside(sample, [PARENT])
    assert (found.raw, found.known) == ({}, frozenset())


def test_a_parent_of_fewer_references_tells_nothing():
    found = beside_raw(edited(), PARENT.references[:1])
    assert (found.raw, found.known) == ({}, frozenset())
    assert beside_raw(edited(method="swap"), PARENT.references).known == frozenset()
