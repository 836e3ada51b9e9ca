"""Multi-candidate samples by an editor and a writer: exact cells, bad answers, bounded positions."""

import hashlib
import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from composed_samples import parent
from datagen.candidate_boxes import Sought, ask_boxes, read_boxes
from datagen.distractor_ideas import draw_distractor_ideas
from datagen.kinds import ADD_CASES, add_case, kinds_of_row
from datagen.multi_candidate import MultiCandidateConfig
from datagen.picture_check import KEPT, kept_share
from datagen.served_plan import Cell, cell_counts
from datagen.text_checks import BadTextError, rests_on_position
from shards.ledger import Ledger
from shards.sample import Candidate, EncodedImage, Sample, parse_sample, sample_json
from shards.stage import IndexRow, Reject, Work, keyed_random
from shards.storage import Storage

DEAD = "http://127.0.0.1:9"


def row(number, sample):
    made = sample.provenance
    return IndexRow(
        key=sample.key,
        task=made.task,
        case=made.case,
        source=made.source,
        licence=made.licence,
        references=len(sample.references),
        directory=0,
        shard=0,
        row=number,
    )


PARENTS = {sample.key: sample for sample in map(parent, range(42))}
ROWS = [row(number, sample) for number, sample in enumerate(PARENTS.values())]


@pytest.fixture
def make(tmp_path, images_api, chat_writer):
    """Outcomes of a config at servers, with a ledger of one folder."""

    def run(images, chats, parents=PARENTS, **changes):
        settings = {"samples": 28, "rounds": 4, "edit_px": 128, **changes}
        settings.setdefault("editor", images_api(*images, does=("edit",)) if images else None)
        settings.setdefault("writer", chat_writer(*chats) if chats else None)
        config = MultiCandidateConfig(**settings)
        planned = list(config.plan([row(n, s) for n, s in enumerate(parents.values())]))
        works = [Work(key=p.key, spec=p.spec, parents=(parents[p.parents[0].key],)) for p in planned]
        stage = config.build(Ledger(Storage(str(tmp_path / "ledger"))))
        try:
            return list(zip(works, stage(works), strict=True)), stage.take_counts()
        finally:
            stage.close()

    return run


def samples_of(outcomes, method=None):
    return [s for w, s in outcomes if isinstance(s, Sample) and method in (None, w.spec["method"])]


def reasons_of(outcomes):
    return Counter(o.reason for _, o in outcomes if isinstance(o, Reject))


def test_all_seven_case_types_cross_and_intra_are_planned_exactly():
    config = MultiCandidateConfig(samples=70, swap=0.4, rounds=4, writer=model(), editor=model(does=["edit"]))
    counts = Counter((p.spec["case"], p.spec["relation"]) for p in config.plan(ROWS))
    assert counts == {
        **{(case, relation): 7 for case in ("character", "object") for relation in ("cross", "intra")},
        **{(case, relation): n for case in ADD_CASES for relation, n in counts_of_add(counts, case)},
    }
    assert sum(counts.values()) == 70
    assert all(abs(n - 4.2) < 1 for (case, _), n in counts.items() if "+" in case)


def counts_of_add(counts, case):
    return [(relation, counts[case, relation]) for relation in ("cross", "intra")]


def model(**changes):
    return {"model": "m", "revision": "r", **changes}


def test_weights_of_cases_and_relations_are_met():
    cases = {"character": 3, "object": 1, "character+object": 1}
    config = MultiCandidateConfig(
        samples=160, swap=0.5, intra=0.25, cases=cases, writer=model(), editor=model()
    )
    assert cell_counts(config)[Cell("character", "intra")] == 15
    assert cell_counts(config)[Cell("character", "cross")] == 45
    assert cell_counts(config)[Cell("character+object", "intra")] == 20
    assert cell_counts(config)[Cell("object+object", "cross")] == 0


def test_a_plan_uses_no_parent_that_cannot_serve():
    config = MultiCandidateConfig(samples=200, rounds=1, writer=model(), editor=model())
    for planned in config.plan(ROWS):
        kinds = kinds_of_row(planned.parents[0])
        case, relation = planned.spec["case"], planned.spec["relation"]
        if "+" in case:
            assert add_case(kinds) == case
        else:
            assert (kinds.count(case) > 1) == (relation == "intra")


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


def test_another_scene_is_told_from_an_edit():
    noise = keyed_random(0)
    scenes = [Image.frombytes("RGB", (8, 8), noise.randbytes(192)).resize((256, 256)) for _ in range(5)]
    edited = scenes[0].resize((266, 266)).crop((5, 5, 261, 261))
    edited.paste("orange", (96, 20, 180, 190))
    assert kept_share(edited, scenes[0]) > KEPT
    assert all(kept_share(other, scenes[0]) < KEPT for other in scenes[1:])


def test_of_models_only_what_is_set_is_in_the_hash_of_an_embedded_step():
    one, two = MultiCandidateConfig(samples=1), MultiCandidateConfig(samples=1, edit_px=512)
    assert one.computed() == two.computed()
    assert not {"writer", "editor", "cases", "prompts"} & set(one.computed())
    served = MultiCandidateConfig(samples=1, editor=model(endpoints=["http://a:1"]))
    assert served.computed() == MultiCandidateConfig(samples=1, editor=model(in_flight=2)).computed()
    assert "prompts" in served.content()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"writer": model()}, "editor: expected one beside `writer`"),
        ({"editor": model(does=["generate"])}, "editor.does: expected edit"),
        ({"editor": model(), "faults": {"wrong_index": 0.1}}, "only the renderer can make them"),
        ({"editor": model(), "cases": {"character": 1}}, "cases: expected one of character"),
        ({"editor": model(), "cases": {"scene": 1}}, "cases: expected names of"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        MultiCandidateConfig(samples=1, **changes)
