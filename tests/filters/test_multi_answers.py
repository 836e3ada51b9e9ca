"""The right answers about multi-candidate samples: what each fault changes, and what nobody can know."""

import pytest

from filters.checks import ALL, CHECKS
from filters.multi_answers import multi_answer
from shards.sample import Candidate, Provenance
from tiny_samples import make_sample

FOX = Candidate(name="fox", category="animal", phrase="the larger animal")
CAT = Candidate(name="cat", category="animal", phrase="the smaller animal", is_target=False)
CUP = Candidate(name="cup", category="object", phrase="the cup", is_target=False)
MUG = Candidate(name="mug", category="object", phrase="the mug")
PARK = Candidate(name="a park", category="scene", phrase="a park")
SUBJECTS = ((FOX, CAT), (MUG,), (PARK,))
OF_CANDIDATES = ("candidate_present", "phrase_describes", "target_shows")
OF_EDITS = ("original_kept", "edit_raw_first", "edit_raw_last")
OF_ALL = ("numbers_right", "copy_paste", "check_numbers", "check_copy", ALL)
SOUND = {
    "fault": "none",
    "references": [["fox", "cat"], ["mug"], []],
    "target": [{"subject": "fox"}, {"subject": "mug"}],
}


def answers(subjects=SUBJECTS, **truth):
    """Every answer, by question and place."""
    provenance = Provenance(
        source="tiny", licence="CC0-1.0", task="distinction_multi_intra", truth={**SOUND, **truth}
    )
    sample = make_sample(1, references=len(subjects), subjects=subjects, provenance=provenance)
    places = [(question, -1, -1) for question in OF_ALL]
    for number, candidates in enumerate(subjects):
        of_one = (*OF_EDITS, *(check for check in CHECKS if check not in OF_ALL))
        places += [(question, number, -1) for question in of_one]
        places += [(question, number, n) for question in OF_CANDIDATES for n in range(len(candidates))]
    return {place: multi_answer(place[0], sample, *place[1:]) for place in places}


def changed(subjects=SUBJECTS, **truth):
    """What differs from the answers about a sound sample."""
    sound = answers(subjects)
    return {place: value for place, value in answers(subjects, **truth).items() if value != sound[place]}


def test_of_a_sound_sample_all_is_well():
    no = {("phrase_describes", 0, 1), ("target_shows", 0, 1), ("copy_paste", -1, -1)}
    unknown = {(question, 2, 0) for question in OF_CANDIDATES}  # a place is no subject
    expected = {place: None if place in unknown else float(place not in no) for place in answers()}
    assert answers() == expected


WRONG = {(ALL, -1, -1): 0.0}
CHANGED = {(question, 0, -1): 0.0 for question in (*OF_EDITS, "check_original")} | {
    ("target_shows", 0, 0): None,
    ("check_target", 0, -1): None,
}


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        ({"fault": "wrong_index"}, {("numbers_right", -1, -1): 0.0, ("check_numbers", -1, -1): 0.0}),
        ({"fault": "copy_paste"}, {("copy_paste", -1, -1): 1.0, ("check_copy", -1, -1): 0.0}),
        ({"fault": "ambiguous_phrase"}, {("phrase_describes", 0, 1): 1.0, ("check_phrase", 0, -1): 0.0}),
        (
            {"fault": "nothing_added", "references": [["fox"], ["mug"], []]},
            {("candidate_present", 0, 1): 0.0, ("check_candidates", 0, -1): 0.0},
        ),
        (
            {"fault": "wrong_category", "faulty_reference": 0, "faulty_candidate": 1},
            {("candidate_present", 0, 1): 0.0, ("check_candidates", 0, -1): 0.0},
        ),
        (
            {"fault": "target_shows_distractor", "target": [{"subject": "cat"}, {"subject": "mug"}]},
            {
                ("target_shows", 0, 0): 0.0,
                ("target_shows", 0, 1): 1.0,
                ("check_target", 0, -1): 0.0,
            },
        ),
        (
            {"fault": "two_candidates", "target": [{"subject": each} for each in ("fox", "cat", "mug")]},
            {("target_shows", 0, 1): 1.0, ("check_target", 0, -1): 0.0},
        ),
        ({"fault": "original_changed", "changed_reference": 0, "change": "colour"}, CHANGED),
        (
            {"fault": "original_changed", "changed_reference": 0, "change": "subject"},
            CHANGED | {("candidate_present", 0, 0): None, ("check_candidates", 0, -1): None},
        ),
    ],
)
def test_a_fault_changes_the_answers_that_it_must_and_no_other(truth, expected):
    assert changed(**truth) == expected | WRONG


def test_an_ambiguous_phrase_fits_those_of_its_category_or_where_there_are_none_all():
    three = ((FOX, CAT, CUP),)
    fault = {"fault": "ambiguous_phrase", "references": [["fox", "cat", "cup"]]}
    fits = [answers(three, **fault)["phrase_describes", 0, number] for number in range(3)]
    assert fits == [1.0, 1.0, 0.0]
    across = answers(((FOX, CUP),), **fault)
    assert (across["phrase_describes", 0, 0], across["phrase_describes", 0, 1]) == (1.0, 1.0)


def test_where_the_truth_does_not_tell_there_is_no_right_answer():
    assert set(answers(inherited=True).values()) == {None}
    untold = answers(references=None)
    assert {untold[place] for place in untold if place[0] in OF_CANDIDATES} == {None}
    unsure = {"changed_reference": 0, "change": "subject", "fault": "none"}
    assert answers(**unsure)[ALL, -1, -1] == 0.0
    assert answers(((FOX,),), references=[["fox"]])["check_phrase", 0, -1] == 1.0
