"""Where candidates stand, as a writer that looks says: what boxes can be, else asked again, else a reject."""

import io

import numpy as np
import pytest
from PIL import Image

from composed_samples import parent, reasons_of
from datagen.candidate_boxes import Sought, ask_boxes, read_boxes
from datagen.text_checks import BadTextError

DEAD = "http://127.0.0.1:9"


def opened(image):
    return Image.open(io.BytesIO(image.data)).convert("RGB")


def test_each_candidate_of_an_edited_reference_has_the_box_where_it_stands(serve, serve_chat, make):
    chat = serve_chat()
    outcomes, _ = make([serve()], [chat], swap=0.0)
    for work, sample in outcomes:
        edits = {edit["reference"]: edit for edit in sample.provenance.origin["edits"]}
        for n, (image, candidates) in enumerate(zip(sample.references, sample.subjects, strict=True)):
            assert (n in edits) == all(c.box for c in candidates)
            if n not in edits:
                continue
            assert edits[n]["located_by"]["prompt"] == "locate 1"
            shown = opened(image)
            before = opened(work.parents[0].references[n]).resize(shown.size)
            chosen, *added = [c.box for c in candidates]
            assert shown.crop(chosen).tobytes() == before.crop(chosen).tobytes()
            for box in added:
                assert (np.asarray(shown.crop(box)) != np.asarray(before.crop(box))).any(axis=-1).all()
    asked = [asked for asked in chat.asked if asked.prompt == "locate"]
    assert len(asked) == sum(len(s.provenance.origin["edits"]) for _, s in outcomes)
    assert all(c.phrase not in each.text for each in asked for _, s in outcomes for c in s.subjects[0][1:])


def test_each_candidate_of_a_swapped_in_target_has_the_box_where_it_stands(serve_chat, make):
    outcomes, _ = make([], [serve_chat()], swap=1.0, samples=12)
    for work, sample in outcomes:
        (origin,) = work.parents
        assert sample.provenance.origin["texts"]["locate"]["prompt"] == "locate 1"
        alone = {found[0].name: n for n, found in enumerate(origin.subjects)}
        for candidate in sample.subjects[0]:
            left, _, right, _ = candidate.box
            middle = opened(sample.references[0]).crop((left + 8, 0, right - 8, 96))
            reference = opened(origin.references[alone[candidate.name]]).resize(middle.size)
            assert middle.tobytes() == reference.tobytes()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("outside", "outside"),
        ("swapped", "empty_box"),
        ("same_box", "same_box"),
        ("prose", "not_json"),
        ("nobody", "missing_candidate"),
        ("wrong_index", "missing_candidate"),
        ("missing_field", "wrong_fields"),
    ],
)
def test_a_box_of_no_use_is_asked_for_again_then_a_reject(serve, serve_chat, make, fault, reason):
    once = serve_chat(script=[fault])
    ((_, sample),), _ = make([serve()], [once], swap=0.0, samples=1)
    (edit, *_) = sample.provenance.origin["edits"]
    assert [r["reason"] for r in edit["located_by"]["refused"]] == [reason]
    chat = serve_chat(by_prompt={"locate": fault})
    outcomes, _ = make([serve()], [chat], samples=4, swap=0.5, seed=5)
    assert reasons_of(outcomes) == {"unusable_text": 4}
    assert f"locate: 3 seeds, last {reason}: " in outcomes[0][1].detail
    seeds = [asked.seed for asked in chat.asked if asked.prompt == "locate"]
    assert len(set(seeds)) == len(seeds)


def test_boxes_can_be_left_out_and_cost_no_other_answer_anew(serve, serve_chat, make):
    first, _ = make([serve()], [serve_chat()], locate=False)
    assert not any(c.box for _, sample in first for found in sample.subjects for c in found)
    chat = serve_chat()
    again, _ = make([DEAD], [chat])
    assert {asked.prompt for asked in chat.asked} == {"locate"}
    assert [sample.instruction for _, sample in again] == [sample.instruction for _, sample in first]


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ([[0, 0, 500, 1000], [500, 0, 1000, 1000]], None),
        ([[0, 0, 500, 1000], [400, 0, 1000, 1000]], None),
        ([[0, 0, 1000, 1000], [700, 700, 1000, 1000]], None),
        ([[0, 0, 500, 1000], [10, 0, 500, 990]], "same_box"),
        ([[0, 0, 500, 1000], [500, 0, 1000, 1001]], "outside"),
        ([[0, 0, 500, 1000], [-1, 0, 1000, 1000]], "outside"),
        ([[0, 0, 500, 1000], [500, 0, 1000]], "outside"),
        ([[0, 0, 500, 1000], [500, 0, 500, 1000]], "empty_box"),
        ([[0, 0, 500, 1000], [900, 0, 600, 1000]], "empty_box"),
        ([[0, 0, 500, 1000], []], "missing_candidate"),
        ([[0, 0, 500, 1000]], "missing_candidate"),
        ([[0, 0, 500, 1000], [500, 0, 1000, 1000], [0, 0, 90, 90]], "missing_candidate"),
    ],
)
def test_boxes_are_held_to_what_they_can_be(boxes, reason):
    request = ask_boxes([Sought(name="cup", image=1), Sought(name="cup", look="red")], (), 2, "key")
    fields = {"boxes": [{"number": n, "bbox_2d": box} for n, box in enumerate(boxes, start=1)]}
    if reason is None:
        request.check(fields)
        return
    with pytest.raises(BadTextError) as refused:
        request.check(fields)
    assert refused.value.reason == reason


def test_boxes_come_by_number_in_pixels_of_the_picture_that_was_searched():
    fields = {
        "boxes": [{"number": 2, "bbox_2d": [500, 0, 1000, 1000]}, {"number": 1, "bbox_2d": [0, 1, 9, 9]}]
    }
    assert read_boxes(fields, parent(0).target) == [(0, 0, 2, 1), (96, 0, 192, 96)]
