"""Phrases that the builder writes are read back: each fits its own candidate and no other."""

from random import Random

import pytest

from datagen.catalogue import load_catalogue
from datagen.phrases import Seen, ambiguous_phrase, referring_phrases, shared_noun
from filters.referring import Known, describes

WIDTH = 512


def scenes(number):
    """Two or three subjects of the catalogue that share a noun, in boxes of their own."""
    catalogue = load_catalogue()
    random = Random(4)
    while number:
        first = random.choice(catalogue.subjects)
        others = [
            s for s in catalogue.of_category(first.category) if s is not first and shared_noun(first, s)
        ]
        if len(others) < 2:
            continue
        subjects = [first, *random.sample(others, random.choice((1, 2)))]
        boxes = [
            (40 + 160 * n, 60, 40 + 160 * n + random.randint(40, 150), 200) for n in range(len(subjects))
        ]
        random.shuffle(boxes)
        yield [Seen(subject=s, box=b) for s, b in zip(subjects, boxes, strict=False)]
        number -= 1


def known(seen):
    return [
        Known(nouns=frozenset(s.subject.nouns), colour=s.subject.attributes.get("colour", ""), box=s.box)
        for s in seen
    ]


def test_every_phrase_of_the_builder_fits_its_candidate_alone():
    cues = set()
    for seen in scenes(150):
        for phrase in referring_phrases(seen[0], seen[1:], WIDTH):
            cues.add(phrase.cue)
            fits = [describes(phrase.text, n, known(seen), WIDTH) for n in range(len(seen))]
            assert fits == [True] + [False] * (len(seen) - 1), (phrase, seen)
    assert cues == {"name", "attribute", "size", "position"}


def test_every_ambiguous_phrase_fits_another_one_too():
    for seen in scenes(100):
        phrase = ambiguous_phrase(seen[0], seen[1:])
        fits = [describes(phrase.text, n, known(seen), WIDTH) for n in range(len(seen))]
        assert fits[0]
        assert any(fits[1:])


def test_nearly_equal_sizes_fit_both():
    pair = [
        Known(nouns=frozenset({"cup"}), box=(0, 0, 10, 10)),
        Known(nouns=frozenset({"cup"}), box=(20, 0, 30, 11)),
    ]
    assert [describes("the larger cup", n, pair, 100) for n in (0, 1)] == [True, True]


@pytest.mark.parametrize("phrase", ["the larger cup", "the cup on the left", "the left-hand cup"])
def test_without_boxes_size_and_place_cannot_be_told(phrase):
    pair = [Known(nouns=frozenset({"cup"})), Known(nouns=frozenset({"cup"}))]
    assert describes(phrase, 0, pair, 100) is None


def test_an_unknown_name_cannot_be_told():
    assert describes("the gadget", 0, [Known(nouns=frozenset())], 100) is None
