"""Checks from answers: exactly one yes, both orders, numbers read from words; unreadable is no low score."""

import pytest

from filters.checks import ALL, CHECKS, LIKENESS, check_rows, is_asked, position_row
from filters.wording import number_fault, numbers_named
from shards.sample import Candidate, Provenance
from tiny_samples import make_sample

FOX = Candidate(name="fox", category="Animals", phrase="the larger animal")
CAT = Candidate(name="cat", category="Animals", phrase="the smaller animal", is_target=False)
MUG = Candidate(name="mug", category="Objects", phrase="the mug")
PARK = Candidate(name="a park", category="scene", phrase="a park")


def sample(*subjects, instruction="The larger animal from image 1 beside the mug of image 2.", method="add"):
    return make_sample(
        1,
        references=len(subjects),
        subjects=subjects,
        instruction=instruction,
        provenance=Provenance(
            source="tiny", licence="CC0-1.0", task="distinction_multi_intra", origin={"method": method}
        ),
    )


def row(reference, candidate, expected, status="ok"):
    value = expected if status == "ok" else None
    return {
        "key": "tiny-0001",
        "reference": reference,
        "candidate": candidate,
        "expected": value,
        "label_mass": 0.9,
        "status": status,
    }


def answers(**changed):
    """Right answers about `[[FOX, CAT], [MUG]]`, by question and place, with some changed."""
    found = {
        "candidate_present": {(0, 0): 0.9, (0, 1): 0.8, (1, 0): 0.95},
        "phrase_describes": {(0, 0): 0.9, (0, 1): 0.1},
        "target_shows": {(0, 0): 0.9, (0, 1): 0.2, (1, 0): 0.85},
        "numbers_right": {(-1, -1): 0.9},
        "copy_paste": {(-1, -1): 0.05},
        "edit_raw_first": {(0, -1): 0.9},
        "edit_raw_last": {(0, -1): 0.7},
    }
    for question, places in changed.items():
        found[question] = {**found[question], **places}
    return {
        question: [
            row(*place, *(value if isinstance(value, tuple) else (value,))) for place, value in p.items()
        ]
        for question, p in found.items()
    }


def values(one, rows):
    return {
        name: {found["reference"]: found["expected"] for found in each}
        for name, each in check_rows(one, rows).items()
    }


def test_a_sound_sample_passes_with_its_least_sure_answer():
    found = values(sample((FOX, CAT), (MUG,)), answers())
    assert set(found) == {*CHECKS, ALL}
    assert found["check_original"] == {0: pytest.approx(0.7), 1: 1.0}
    assert found["check_phrase"] == {0: pytest.approx(0.9), 1: 1.0}
    assert found["check_target"] == {0: pytest.approx(0.8), 1: pytest.approx(0.85)}
    assert found[ALL] == {-1: pytest.approx(0.7)}


def test_a_check_is_a_row_as_a_questions_is():
    rows = answers()
    rows["target_shows"][1]["label_mass"] = 0.6
    found = check_rows(sample((FOX, CAT), (MUG,)), rows)
    place = {"key": "tiny-0001", "candidate": -1, "status": "ok"}
    least = {"expected": pytest.approx(0.8), "probabilities": pytest.approx([0.2, 0.8]), "mode": 1.0}
    assert found["check_target"][0] == {**place, **least, "reference": 0, "label_mass": 0.6}
    unasked = {"expected": 1.0, "probabilities": [0.0, 1.0], "mode": 1.0, "label_mass": 1.0}
    assert found["check_phrase"][1] == {**place, **unasked, "reference": 1}
    assert found[ALL][0]["label_mass"] == 0.6
    wrong = check_rows(sample((FOX, CAT), (MUG,)), answers(copy_paste={(-1, -1): 0.9}))
    assert (wrong["check_copy"][0]["mode"], wrong[ALL][0]["mode"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("check", "changed"),
    [
        ("check_phrase", {"phrase_describes": {(0, 1): 0.8}}),  # fits two
        ("check_phrase", {"phrase_describes": {(0, 0): 0.2}}),  # fits none
        ("check_candidates", {"candidate_present": {(0, 1): 0.3}}),
        ("check_target", {"target_shows": {(0, 1): 0.9}}),  # both are shown
        ("check_target", {"target_shows": {(1, 0): 0.1}}),  # one is not
        ("check_original", {"edit_raw_first": {(0, -1): 0.2}}),  # in one order only
        ("check_original", {"edit_raw_last": {(0, -1): 0.2}}),
        ("check_numbers", {"numbers_right": {(-1, -1): 0.1}}),
        ("check_copy", {"copy_paste": {(-1, -1): 0.9}}),
    ],
)
def test_each_check_fails_by_its_own_answers(check, changed):
    found = values(sample((FOX, CAT), (MUG,)), answers(**changed))
    failed = {name for name, places in found.items() if min(places.values()) < 0.5}
    assert failed == {check, ALL}


@pytest.mark.parametrize(
    ("likeness", "status", "expected"),
    [(0.49, "ok", 0.49), (0.5, "ok", 0.7), (0.9, "ok", 0.7), (None, "error", 0.7)],
)
def test_an_original_that_is_measured_to_be_another_fails_whatever_the_judge_says(likeness, status, expected):
    rows = {**answers(), LIKENESS: [row(0, -1, likeness, status), row(1, -1, 1.0)]}
    found = check_rows(sample((FOX, CAT), (MUG,)), rows)
    assert [each["expected"] for each in found["check_original"]] == [expected, 1.0]
    assert found[ALL][0]["expected"] == expected


def test_an_unreadable_answer_is_no_low_score():
    found = check_rows(sample((FOX, CAT), (MUG,)), answers(target_shows={(0, 1): (0.0, "unreadable")}))
    assert [each["status"] for each in found["check_target"]] == ["unreadable", "ok"]
    assert found["check_target"][0]["expected"] is None
    assert found[ALL][0]["status"] == "unreadable"


def test_wrong_numbers_fail_whatever_the_judge_says():
    wrong = "The larger animal from image 2 beside the mug of image 1."
    found = values(sample((FOX, CAT), (MUG,), instruction=wrong), answers())
    assert found["check_numbers"] == {-1: 0.0}


def test_only_what_can_decide_something_is_asked():
    one = sample((FOX, CAT), (MUG,), (PARK,))
    asked = {
        (question, reference, candidate)
        for question in ("phrase_describes", "candidate_present", "original_kept")
        for reference, candidates in enumerate(one.subjects)
        for candidate in (range(len(candidates)) if question != "original_kept" else [-1])
        if is_asked(one, question, reference, candidate, known=())
    }
    assert asked == {
        ("phrase_describes", 0, 0),
        ("phrase_describes", 0, 1),
        ("candidate_present", 0, 0),
        ("candidate_present", 0, 1),
        ("candidate_present", 1, 0),
        ("original_kept", 0, -1),
    }
    assert not is_asked(one, "original_kept", 0, -1, known=(0,))
    assert not is_asked(sample((FOX, CAT), method="swap"), "original_kept", 0, -1, known=())


NUMBERINGS = ("image {n}", "Image {n}", "photo {n}", "picture {n}", "<|image_{n}|>", "reference image #{n}")
WORDS = ("the {w} image", "the {w} picture", "the {w} photo", "the {w} reference image")


@pytest.mark.parametrize("style", [*NUMBERINGS, *WORDS])
@pytest.mark.parametrize("link", ["from", "of", "shown in", "that stands in"])
def test_numbers_are_read_in_every_style(style, link):
    first, second = (style.format(n=n, w=w) for n, w in ((1, "first"), (2, "second")))
    subjects = [(FOX, CAT), (MUG,)]
    right = f"Place the larger animal {link} {first} and the mug {link} {second} in a park."
    wrong = f"Place the larger animal {link} {second} and the mug {link} {first} in a park."
    assert number_fault(right, subjects) == ""
    assert "is named for" in number_fault(wrong, subjects)


@pytest.mark.parametrize(
    "text",
    [
        "Combine in a picture, in a park.",
        "The larger animal and the mug in a park, 1080p.",
        "Show image 1's larger animal with image 2's mug.",
        "Images 1 and 2 together.",
    ],
)
def test_what_contradicts_nothing_is_right(text):
    assert number_fault(text, [(FOX, CAT), (MUG,)]) == ""


def test_a_place_is_bound_to_the_image_that_gives_it():
    subjects = [(MUG,), (PARK,)]
    assert number_fault("The mug from image 1 in the scene of image 2.", subjects) == ""
    assert number_fault("The mug from image 1 with image 2 as the background.", subjects) == ""
    assert "as the place" in number_fault("The mug in the scene of the first photo.", subjects)


def test_an_image_beyond_the_references_is_named():
    assert number_fault("The mug from image 5.", [(MUG,), (PARK,)]) == "image 5 of 2 is named"
    assert [n for _, _, n in numbers_named("images 1, 2 and 3; the 4th photo")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("origin", "rests"),
    [
        ({"cue": "position"}, 1),
        ({"cue": "size"}, 0),
        ({"edits": [{"cue": "attribute"}, {"cue": "position"}]}, 1),
        ({"edits": [{"cue": "name"}]}, 0),
        ({}, 0),
        ({"edits": "by hand", "cue": None}, 0),
        ({"edits": [3, "position", {}]}, 0),
    ],
)
def test_what_a_phrase_rests_on_is_read_where_builders_say_it(origin, rests):
    told = make_sample(1, provenance=Provenance(source="x", licence="y", task="z", origin=origin))
    row = position_row(told)
    assert (row["key"], row["expected"], row["mode"], row["status"]) == (told.key, rests, rests, "ok")
    assert (row["reference"], row["candidate"]) == (-1, -1)
