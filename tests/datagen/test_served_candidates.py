"""Multi-candidate samples by an editor and a writer: every cell, bad answers, bounded positions."""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image

from composed_samples import PARENTS, parent, reasons_of, samples_of
from datagen.distractor_ideas import draw_distractor_ideas
from datagen.kinds import ADD_CASES
from datagen.naming import rests_on_position
from datagen.picture_check import KEPT, kept_share
from shards.sample import Candidate, EncodedImage, parse_sample, sample_json
from shards.stage import keyed_random

DEAD = "http://127.0.0.1:9"


def test_every_cell_is_made_with_candidates_in_the_shape_of_sconeeval(serve, serve_chat, make):
    outcomes, _ = make([serve()], [serve_chat()])
    samples = samples_of(outcomes)
    assert len(samples) == len(outcomes) == 28
    tasks = {s.provenance.task for s in samples}
    assert tasks == {f"distinction_{n}_{r}" for n in ("single", "multi") for r in ("cross", "intra")}
    for sample in samples:
        assert sample.provenance.case in {"character", "object", *ADD_CASES}
        several = [candidates for candidates in sample.subjects if len(candidates) > 1]
        assert several
        for candidates in several:
            assert sum(c.is_target for c in candidates) == 1
            assert len({c.phrase.lower() for c in candidates}) == len(candidates)
            assert next(c.phrase for c in candidates if c.is_target).lower() in sample.instruction.lower()
        text = sample_json(sample)
        assert sample_json(parse_sample(sample.key, sample.images, text)) == text


def test_swap_makes_no_new_pixels_and_asks_who_the_target_is(serve_chat, make):
    chat = serve_chat()
    outcomes, _ = make([], [chat], swap=1.0, samples=12)
    for work, sample in outcomes:
        (origin,) = work.parents
        assert sample.references == (origin.target,)
        assert sample.target in origin.references
        chosen = next(c for c in sample.subjects[0] if c.is_target)
        assert origin.subjects[origin.references.index(sample.target)][0].name == chosen.name
    asked = Counter(asked.prompt for asked in chat.asked)
    assert asked == {"identify": 12, "locate": 12, "phrases": 6, "alone": 12}


def test_add_keeps_target_and_other_references_and_tells_all_that_made_it(serve, serve_chat, make):
    server = serve()
    outcomes, _ = make([server], [serve_chat()], swap=0.0)
    for work, sample in outcomes:
        (origin,) = work.parents
        assert sample.target == origin.target
        edits = {edit["reference"]: edit for edit in sample.provenance.origin["edits"]}
        for n, (now, before) in enumerate(zip(sample.references, origin.references, strict=True)):
            assert (now != before) == (n in edits)
            if n in edits:
                assert edits[n]["raw_sha256"] == hashlib.sha256(before.data).hexdigest()
                assert edits[n]["made_by"]["model"] == "fake-images"
                assert [a["name"] for a in edits[n]["added"]] == [c.name for c in sample.subjects[n][1:]]
    assert all(len(asked.references) == 1 for asked in server.asked)


def test_across_kinds_the_instruction_stays_and_no_word_is_paid(serve, serve_chat, make):
    chat = serve_chat()
    outcomes, _ = make([serve()], [chat], swap=0.0, intra=0.0)
    assert all(sample.instruction == work.parents[0].instruction for work, sample in outcomes)
    assert {asked.prompt for asked in chat.asked} == {"locate"}


def test_across_kinds_an_instruction_that_names_nobody_is_rewritten(serve, serve_chat, make):
    terse = {k: replace(s, instruction="Combine them in a picture.") for k, s in PARENTS.items()}
    outcomes, _ = make([serve()], [serve_chat()], terse, swap=0.0, intra=0.0, samples=5)
    for work, sample in outcomes:
        edited = [edit["reference"] for edit in sample.provenance.origin["edits"]]
        for n in edited:
            assert sample.subjects[n][0].phrase in sample.instruction
        assert sample.instruction != work.parents[0].instruction


def test_within_a_kind_every_edited_subject_gets_a_phrase_of_its_own(serve, serve_chat, make):
    outcomes, _ = make([serve()], [serve_chat()], swap=0.0, intra=1.0)
    for work, sample in outcomes:
        for edit in sample.provenance.origin["edits"]:
            chosen, *added = sample.subjects[edit["reference"]]
            assert {c.category for c in added} == {chosen.category}
            assert chosen.phrase != work.parents[0].subjects[edit["reference"]][0].phrase
            assert chosen.phrase in sample.instruction


def test_what_was_paid_gives_the_same_samples_without_servers(
    serve, serve_chat, make, images_api, chat_writer
):
    first, _ = make([serve()], [serve_chat(script=["prose", "quotes"])])
    again, counts = make([DEAD], [DEAD])
    assert again == first
    assert "requests" not in counts


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("wrong_size", "wrong_size"),
        ("other_scene", "other_scene"),
        ("black", "black"),
        ("unchanged", "unchanged"),
        ("truncated", "undecodable"),
    ],
)
def test_an_editor_s_bad_picture_is_asked_for_again_then_a_reject(serve, serve_chat, make, fault, reason):
    outcomes, _ = make([serve(script=[fault])], [serve_chat()], swap=0.0, samples=1)
    (edit, *_) = outcomes[0][1].provenance.origin["edits"]
    assert [r["reason"] for r in edit["made_by"]["refused"]] == [reason]
    bad = serve(by_words={"Add to this picture": fault})
    outcomes, _ = make([bad], [serve_chat()], swap=0.0, samples=3, seed=5)
    assert reasons_of(outcomes) == {"unusable_picture": 3}
    assert f"3 seeds, last {reason}" in outcomes[0][1].detail


@pytest.mark.parametrize(
    ("prompt", "fault", "reason"),
    [
        ("phrases", "quotes", "quotes"),
        ("phrases", "newline", "not_one_line"),
        ("phrases", "german", "not_english"),
        ("phrases", "long", "too_long"),
        ("phrases", "position", "ambiguous_phrase"),
        ("rewrite", "repeats", "repeats"),
        ("rewrite", "wrong_index", "wrong_index"),
        ("rewrite", "german", "not_english"),
        ("rewrite", "prose", "not_json"),
    ],
)
def test_a_writer_s_bad_words_end_as_a_reject_with_the_reason(serve, serve_chat, make, prompt, fault, reason):
    chat = serve_chat(by_prompt={prompt: fault})
    outcomes, _ = make([serve()], [chat], swap=0.0, intra=1.0, samples=2)
    assert reasons_of(outcomes) == {"unusable_text": 2}
    assert f"last {reason}: " in outcomes[0][1].detail
    assert len({asked.seed for asked in chat.asked if asked.prompt == prompt}) == len(
        [asked for asked in chat.asked if asked.prompt == prompt]
    )


def test_a_target_that_the_writer_does_not_find_is_no_silent_sample(serve_chat, make):
    outcomes, _ = make([], [serve_chat(by_prompt={"identify": "nobody"})], swap=1.0, samples=4)
    assert reasons_of(outcomes) == {"not_identified": 4}
    wrong = {k: replace(s, references=s.references[::-1]) for k, s in PARENTS.items()}
    outcomes, _ = make([], [serve_chat()], wrong, swap=1.0, samples=4, intra=1.0)
    assert set(reasons_of(outcomes)) == {"other_identified"}


def test_positions_alone_are_bounded_whatever_the_writer_says(serve_chat, make, monkeypatch):
    for share in (0.0, 0.5):
        outcomes, _ = make([], [serve_chat(sides=True)], swap=1.0, intra=1.0, samples=8, position=share)
        phrases = [next(c for c in s.subjects[0] if c.is_target) for s in samples_of(outcomes)]
        resting = [c for c in phrases if rests_on_position(c.phrase, [c.name])]
        assert len(resting) == 8 * share
        assert reasons_of(outcomes) == ({"unusable_text": 8 - len(resting)} if share < 1 else {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"subjects": ((Candidate(name=""),), (Candidate(name="cup", category="object"),))}, "no_subject"),
        ({"subjects": ((), (Candidate(name="cup", category="object"),))}, "no_subject"),
        ({"subjects": ((Candidate(name="a", category="object"),) * 2,) * 2}, "several_candidates"),
        ({"target": EncodedImage(b"\x89PNG", "png")}, "undecodable"),
        ({"subjects": ((Candidate(name='the "big" cup', category="object"),),) * 2}, "bad_name"),
        ({"subjects": ((Candidate(name="cup\nand pen", category="object"),),) * 2}, "bad_name"),
        ({"instruction": "Setze den Koch und die Lampe auf den Tisch."}, "not_english"),
        ({"instruction": "Put the chef from image 5 beside the pirate."}, "wrong_index"),
    ],
)
def test_a_parent_that_cannot_serve_is_a_reject(serve_chat, serve, make, changes, reason):
    parents = {"input-0000": parent(0, **changes)}
    outcomes, _ = make([serve()], [serve_chat()], parents, swap=0.0, samples=2, rounds=1)
    assert reasons_of(outcomes) == {reason: 2}


def test_an_editor_without_a_model_of_language_makes_what_templates_can(serve, make):
    outcomes, _ = make([serve()], [], swap=0.0, samples=10, intra=0.5)
    made = samples_of(outcomes)
    assert {s.provenance.task for s in made} >= {"distinction_multi_cross"}
    assert set(reasons_of(outcomes)) <= {"no_phrase", "names_no_subject"}


def test_no_added_name_can_mean_another_subject_of_the_sample():
    for seed in range(60):
        added = draw_distractor_ideas(keyed_random(seed), "character", "old chef", "intra", ["young woman"])
        names = [distractor.name for distractor in added]
        assert all(not name.endswith("woman") for name in names)
        assert len(set(names)) == len(names)


def test_an_animal_gets_no_hair_and_no_clothes():
    looks = {"old chef": set(), "golden retriever": set()}
    for seed in range(30):
        for name, found in looks.items():
            added = draw_distractor_ideas(keyed_random(seed), "character", name, "intra", [])
            found.update(distractor.look for distractor in added if distractor.name == name)
    assert all(", wearing " in look for look in looks["old chef"])
    (look,) = looks["golden retriever"]
    assert look.startswith("one more golden retriever, clearly another one")


def test_another_scene_is_told_from_an_edit():
    noise = keyed_random(0)
    scenes = [Image.frombytes("RGB", (8, 8), noise.randbytes(192)).resize((256, 256)) for _ in range(5)]
    edited = scenes[0].resize((266, 266)).crop((5, 5, 261, 261))
    edited.paste("orange", (96, 20, 180, 190))
    assert kept_share(edited, scenes[0]) > KEPT
    assert all(kept_share(other, scenes[0]) < KEPT for other in scenes[1:])
