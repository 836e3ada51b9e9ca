"""The judge's pure half: what enters a request, and how a reply is read."""

import json
from dataclasses import replace

import pytest

from filters.judge import make_requests, make_rows, read_reply, reply_bytes, request_bytes
from filters.rubrics import Question, pick_questions
from shards.sample import Candidate, EncodedImage, Provenance, Sample

NAMES = ["consistency", "presence"]
IDENTITY = {"engine": "test", "version": 1}


def make_sample(**changes):
    fields = {
        "key": "a",
        "instruction": "Put the fox {here} beside the mug.",
        "references": (EncodedImage(b"fox", "png"), EncodedImage(b"mug", "png")),
        "target": EncodedImage(b"both", "jpg"),
        "subjects": (
            (
                Candidate(name="cat", is_target=False),
                Candidate(name="fox", phrase="the red fox", box=(1, 2, 3, 4)),
            ),
            (Candidate(name="mug"),),
        ),
        "provenance": Provenance(source="x", licence="MIT", task="composition_multi"),
    }
    return Sample(**(fields | changes))


def all_bytes(sample, identity=IDENTITY, names=NAMES):
    return [request_bytes(r) for r in make_requests(sample, pick_questions(names), identity)]


def test_key_and_provenance_never_enter_a_request():
    told = Provenance(
        source="y", licence="CC0", task="t", truth={"fault": "swapped-order"}, origin={"seed": 3}
    )
    assert all_bytes(make_sample(key="b", provenance=told)) == all_bytes(make_sample())
    assert b"swapped-order" not in b"".join(all_bytes(make_sample(provenance=told), {"reads_claims": True}))


def test_images_judge_and_wording_enter_a_request():
    first = all_bytes(make_sample())
    assert not set(first) & set(all_bytes(make_sample(target=EncodedImage(b"other", "jpg"))))
    assert not set(first) & set(all_bytes(make_sample(), {"engine": "test", "version": 2}))
    assert first[0] != all_bytes(make_sample(instruction="Only the fox."))[0]


def test_the_images_as_sent_are_what_is_hashed():
    sample = make_sample()
    sent = {name: EncodedImage(b"small " + image.data, "png") for name, image in sample.images.items()}
    [request] = make_requests(sample, pick_questions(["consistency"]), IDENTITY, sent)
    [plain] = make_requests(sample, pick_questions(["consistency"]), IDENTITY)
    assert request.images == ("ref0", "ref1", "target")
    assert request_bytes(request) != request_bytes(plain)


def test_claims_enter_only_for_a_judge_that_reads_them():
    assert b'"box":[1,2,3,4]' not in all_bytes(make_sample())[0]
    assert b'"box":[1,2,3,4]' in all_bytes(make_sample(), {"reads_claims": True})[0]


def test_a_reference_question_is_asked_of_each_reference_by_its_number_and_phrase():
    requests = make_requests(make_sample(), pick_questions(NAMES), IDENTITY)
    assert [(r.question, r.reference, r.candidate) for r in requests] == [
        ("consistency", -1, -1),
        ("presence", 0, -1),
        ("presence", 1, -1),
    ]
    assert 'reference image 1:\nit gives the subject "the red fox"' in requests[1].text
    assert 'reference image 2:\nit gives the subject "mug"' in requests[2].text


def test_a_candidate_question_is_asked_of_each_candidate():
    question = Question(
        id="shown",
        version=1,
        text="{number} {candidate}",
        labels={"no": 0, "yes": 1},
        images=("reference",),
        scope="candidate",
        source="test",
    )
    requests = make_requests(make_sample(), [question], IDENTITY)
    assert [r.text for r in requests] == ["1 cat", "1 the red fox", "2 mug"]
    assert [r.images for r in requests] == [("ref0",), ("ref0",), ("ref1",)]


def test_an_instruction_with_braces_is_shown_as_it_is():
    assert (
        "Put the fox {here}"
        in make_requests(make_sample(), pick_questions(["consistency"]), IDENTITY)[0].text
    )


def read(name, probabilities, mass=1.0, **kwargs):
    [question] = pick_questions([name])
    return read_reply(question, reply_bytes(probabilities, mass, **kwargs))


def test_probabilities_are_read_by_label_order_and_normalised():
    row = read("consistency", {"4": 0.4, "3": 0.2, "2": 0.0, "1": 0.1, "0": 0.1}, 0.8)
    assert row["probabilities"] == pytest.approx([0.125, 0.125, 0, 0.25, 0.5])
    assert row["mode"] == 4
    assert row["expected"] == pytest.approx(0.125 + 0.75 + 2.0)
    assert (row["label_mass"], row["status"]) == (0.8, "ok")


def test_a_tie_reads_as_the_lower_label():
    assert read("presence", {"no": 0.5, "yes": 0.5})["mode"] == 0


@pytest.mark.parametrize("mass", [0.0, 0.3])
def test_low_label_mass_is_unreadable_and_has_no_score(mass):
    row = read("presence", {"no": mass, "yes": 0.0}, mass)
    assert (row["status"], row["mode"], row["expected"]) == ("unreadable", None, None)


def test_no_probability_at_all_is_unreadable_whatever_mass_is_claimed():
    assert read("presence", {"no": 0.0, "yes": 0.0}, 1.0)["status"] == "unreadable"


@pytest.mark.parametrize("status", ["truncated", "error"])
def test_a_reply_without_an_answer_keeps_its_status(status):
    row = read("presence", {}, 0.0, status=status)
    assert (row["status"], row["probabilities"], row["expected"]) == (status, [], None)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"status":"ok","label_mass":1,"probabilities":{"no":1}}',
        b'{"status":"ok","label_mass":1,"probabilities":{"no":-1,"yes":2}}',
        b'{"status":"ok","label_mass":NaN,"probabilities":{"no":0.5,"yes":0.5}}',
        b'{"status":"fine","label_mass":1,"probabilities":{"no":0.5,"yes":0.5}}',
        b"\xff",
    ],
)
def test_a_reply_that_is_no_reply_is_an_error_row(reply):
    [question] = pick_questions(["presence"])
    assert read_reply(question, reply)["status"] == "error"


def test_rows_carry_key_reference_and_candidate_one_for_each_request():
    sample, questions = make_sample(), pick_questions(NAMES)
    requests = make_requests(sample, questions, IDENTITY)
    replies = [reply_bytes(dict.fromkeys(r.labels, 1 / len(r.labels)), 1.0) for r in requests]
    rows = make_rows(sample.key, questions, requests, replies)
    assert [(row["key"], row["reference"], row["candidate"]) for row in rows["presence"]] == [
        ("a", 0, -1),
        ("a", 1, -1),
    ]
    assert len(rows["consistency"]) == 1
    with pytest.raises(ValueError, match="zip"):
        make_rows(sample.key, questions, requests, replies[:1])


def test_request_bytes_are_canonical_json():
    for request in make_requests(make_sample(), pick_questions(NAMES), {"b": 1, "a": 2}):
        again = replace(request, judge={"a": 2, "b": 1})
        assert request_bytes(again) == request_bytes(request)
        assert json.loads(request_bytes(request))["judge"] == {"a": 2, "b": 1}
