"""Phrases for candidates: who is who is told, and words that tell nothing are none."""

import json

import pytest

from composed_samples import parent, samples_of
from datagen.candidate_boxes import Sought
from datagen.candidate_phrases import ask_phrases, read_phrases
from datagen.text_checks import BadTextError
from shards.sample import Candidate

SAME = {"subjects": tuple((Candidate(name=name, category="character"),) for name in ("chef", "Chef"))}


def facts(asked):
    return json.loads(asked.text.rsplit("\n", 1)[1])


def test_of_subjects_that_are_called_the_same_the_writer_is_told_which_is_which(serve_chat, make):
    chat = serve_chat()
    parents = {"input-0000": parent(0, **SAME)}
    outcomes, _ = make([], [chat], parents, swap=1.0, intra=1.0, samples=1, cases={"character": 1})
    (sample,) = samples_of(outcomes)
    assert len({candidate.phrase for candidate in sample.subjects[0]}) == 2
    identify, _, phrases, _ = chat.asked
    assert facts(identify)["subjects"] == [{"name": "Chef", "number": 1}]
    assert facts(phrases)["picture"] == 1
    assert [each["image"] for each in facts(phrases)["subjects"]] == [2, 3]
    assert len(phrases.images) == 3


def test_beside_the_original_its_raw_picture_and_the_looks_of_added_ones_are_told(serve, serve_chat, make):
    chat = serve_chat()
    outcomes, _ = make([serve()], [chat], swap=0.0, intra=1.0, samples=10)
    assert len(samples_of(outcomes)) == 10
    asked = [each for each in chat.asked if each.prompt == "phrases"]
    assert len(asked) >= 10
    for each in asked:
        first, *added = facts(each)["subjects"]
        assert (first["image"], facts(each)["picture"], len(each.images)) == (1, 2, 2)
        assert all(entry["look"] and "image" not in entry for entry in added)


def request(*names, may_use_position=True):
    sought = [Sought(name=name) for name in names]
    return ask_phrases(sought, (), 1, 7, may_use_position=may_use_position)


def said(*phrases):
    return {"phrases": [{"phrase": phrase, "cue": "attribute"} for phrase in phrases]}


@pytest.mark.parametrize(
    ("names", "phrases"),
    [
        (("woman", "old woman"), ("the woman", "the old woman")),
        (("chef", "nurse"), ("the person", "the nurse in white")),
        (("chef", "nurse"), ("the nurse", "the nurse in white")),
        (("man", "men in hats"), ("the man", "the men in hats")),
        (("woman", "woman"), ("A woman.", "the woman in red")),
    ],
)
def test_words_that_another_can_be_called_too_pick_nobody(names, phrases):
    with pytest.raises(BadTextError) as told:
        request(*names).check(said(*phrases))
    assert told.value.reason == "ambiguous_phrase"


def test_a_phrase_stands_in_a_sentence_whatever_article_or_stop_it_came_with():
    fields = said("A woman in a red coat.", "The woman in blue")
    request("woman", "woman").check(fields)
    assert [each.phrase for each in read_phrases(fields, ["woman", "woman"])] == [
        "the woman in a red coat",
        "the woman in blue",
    ]


def test_names_that_differ_are_enough_for_a_phrase():
    request("chef", "nurse").check(said("the chef", "the nurse"))
