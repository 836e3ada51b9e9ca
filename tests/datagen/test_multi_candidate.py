"""The multi-candidate builder: bytes kept, phrases that fit one, plans that hardly change."""

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
from pydantic import ValidationError

from composed_samples import row
from datagen.layout import overlaps
from datagen.mentions import named_images
from datagen.multi_candidate import FAULTS, MultiCandidateConfig
from datagen.single_candidate import SingleCandidateConfig
from shards.sample import Candidate, Sample, canonical_json, parse_sample, sample_json
from shards.stage import IndexRow, Planned, Reject, Work, content_key

SIZE_PX = 192


@cache
def parents() -> dict[str, Sample]:
    config = SingleCandidateConfig(samples=60, seed=5, size_px=SIZE_PX)
    stage = config.build()
    made = [stage.make(Work(key=planned.key, spec=planned.spec)) for planned in config.plan()]
    return {sample.key: sample for sample in made if isinstance(sample, Sample)}


def rows() -> list[IndexRow]:
    return [row(number, sample) for number, sample in enumerate(parents().values())]


def make(config: MultiCandidateConfig) -> list[tuple[Planned, Sample | Reject]]:
    stage = config.build()
    return [
        (
            planned,
            stage.make(
                Work(key=planned.key, spec=planned.spec, parents=(parents()[planned.parents[0].key],))
            ),
        )
        for planned in config.plan(rows())
    ]


@cache
def made() -> list[tuple[Planned, Sample]]:
    return [(p, s) for p, s in make(MultiCandidateConfig(samples=60, seed=1)) if isinstance(s, Sample)]


def by(method: str, relation: str | None = None) -> list[tuple[Sample, Sample]]:
    """Variants made by a method, each with its parent."""
    return [
        (sample, parents()[planned.parents[0].key])
        for planned, sample in made()
        if planned.spec["method"] == method and relation in (None, planned.spec["relation"])
    ]


def shown(sample: Sample) -> list[list[Candidate]]:
    return [[c for c in candidates if c.category != "scene"] for candidates in sample.subjects]


def test_plan_holds_methods_and_relations_as_asked():
    config = MultiCandidateConfig(samples=50, swap=0.4, intra=0.5, rounds=4)
    counts = Counter((p.spec["method"], p.spec["relation"]) for p in config.plan(rows()))
    assert counts == {
        ("swap", "cross"): 10,
        ("swap", "intra"): 10,
        ("add", "cross"): 15,
        ("add", "intra"): 15,
    }


def test_every_kind_of_variant_is_made_and_rejects_have_reasons():
    outcomes = make(MultiCandidateConfig(samples=60, seed=1))
    tasks = {o.provenance.task for _, o in outcomes if isinstance(o, Sample)}
    assert tasks == {
        f"distinction_{n}_{relation}" for n in ("single", "multi") for relation in ("cross", "intra")
    }
    rejects = [outcome for _, outcome in outcomes if isinstance(outcome, Reject)]
    assert len(rejects) < 20
    assert all(reject.reason.startswith("no_") and "base-" in reject.detail for reject in rejects)


def test_swap_makes_no_new_pixels():
    for sample, parent in by("swap"):
        assert sample.references == (parent.target,)
        assert sample.target in parent.references


def test_swap_target_is_the_reference_of_the_chosen_candidate():
    for sample, parent in by("swap"):
        chosen = [c for c in shown(sample)[0] if c.is_target]
        assert len(chosen) == 1
        original = parent.references.index(sample.target)
        assert parent.subjects[original][0].name == chosen[0].name


def test_swap_lists_every_claimed_candidate_of_the_composite():
    for sample, parent in by("swap"):
        claimed = [c.name for candidates in parent.subjects for c in candidates if c.category != "scene"]
        assert [c.name for c in shown(sample)[0]] == claimed
        assert all(c.box for c in shown(sample)[0])


def test_add_leaves_the_target_and_unedited_references_as_they_are():
    for sample, parent in by("add"):
        assert sample.target == parent.target
        edited = [n for n, candidates in enumerate(shown(sample)) if len(candidates) > 1]
        assert edited
        for number, (now, before) in enumerate(zip(sample.references, parent.references, strict=True)):
            assert (now != before) == (number in edited)


def test_added_candidates_are_marked_and_do_not_overlap():
    for sample, parent in by("add"):
        for candidates, before in zip(shown(sample), parent.subjects, strict=True):
            if not candidates:
                continue
            assert [c.is_target for c in candidates] == [True] + [False] * (len(candidates) - 1)
            assert (candidates[0].name, candidates[0].box) == (before[0].name, before[0].box)
            assert not any(overlaps(a.box, b.box) for n, a in enumerate(candidates) for b in candidates[:n])


def test_across_categories_the_instruction_is_kept_where_it_names_the_subject():
    for sample, parent in by("add", "cross"):
        named = all(c[0].phrase.lower() in parent.instruction.lower() for c in shown(parent) if c)
        assert (sample.instruction == parent.instruction) or not named


def test_instruction_holds_the_chosen_candidates_phrase_and_no_other():
    for _, sample in made():
        for candidates in shown(sample):
            if len(candidates) > 1:
                phrases = [c.phrase.lower() for c in candidates]
                assert len(set(phrases)) == len(phrases)
                assert phrases[
                    0 if candidates[0].is_target else [c.is_target for c in candidates].index(True)
                ] in (sample.instruction.lower())


def test_image_numbers_stay_within_the_references():
    for _, sample in made():
        assert named_images(sample.instruction) <= set(range(1, len(sample.references) + 1))


def test_no_more_phrases_rest_on_position_than_allowed():
    for share in (0.0, 0.35):
        samples = [
            s for _, s in make(MultiCandidateConfig(samples=40, position=share)) if isinstance(s, Sample)
        ]
        origins = [s.provenance.origin for s in samples]
        cues = [{o["cue"]} if "cue" in o else {edit["cue"] for edit in o["edits"]} for o in origins]
        assert sum("position" in found for found in cues) <= share * 40


def test_one_parent_less_changes_little():
    config = MultiCandidateConfig(samples=40, faults=dict.fromkeys(FAULTS, 0.05))
    whole = {p.key: p.spec for p in config.plan(rows())}
    gone = next(iter(config.plan(rows()))).parents[0].key
    rest = {p.key: p.spec for p in config.plan([r for r in rows() if r.key != gone])}
    same = [key for key in whole if key in rest and rest[key] == whole[key]]
    assert len(same) >= 32


def test_order_of_rows_does_not_matter():
    config = MultiCandidateConfig(samples=40)
    assert [p.key for p in config.plan(rows())] == [p.key for p in config.plan(reversed(rows()))]


def test_no_parent_serves_more_often_than_its_rounds():
    counts = Counter(
        (p.parents[0].key, p.spec["method"], p.spec["relation"])
        for p in MultiCandidateConfig(samples=200, rounds=2).plan(rows())
    )
    assert max(counts.values()) <= 2


EDITOR = {"model": "m", "revision": "r", "does": ["edit"], "endpoints": ["http://127.0.0.1:1"]}


@pytest.mark.parametrize("models", [{}, {"editor": EDITOR}])
def test_rounds_that_are_not_needed_are_not_planned(monkeypatch, models):
    made = []
    for module in ("datagen.multi_candidate", "datagen.served_plan"):
        monkeypatch.setattr(f"{module}.content_key", lambda *parts: made.append(parts) or content_key(*parts))
    parents = rows()
    planned = {}
    for rounds in (1, 16):
        config = MultiCandidateConfig(samples=8, rounds=rounds, **models)
        planned[rounds] = [(entry.key, entry.spec) for entry in config.plan(parents)], len(made)
        made.clear()
    assert planned[1] == planned[16]
    assert planned[1][1] > 0


def test_planned_faults_are_as_many_as_asked():
    config = MultiCandidateConfig(samples=40, faults=dict.fromkeys(FAULTS, 0.1), rounds=4)
    counts = Counter(p.spec["fault"] for p in config.plan(rows()))
    assert all(counts[fault] == 4 for fault in FAULTS)


def with_fault(fault: str) -> list[tuple[Planned, Sample]]:
    config = MultiCandidateConfig(samples=24, faults={fault: 0.25})
    found = [(p, s) for p, s in make(config) if p.spec["fault"] == fault and isinstance(s, Sample)]
    assert found
    return found


def test_target_shows_distractor_has_another_target_than_the_clean_variant():
    clean = {p.key: s for p, s in make(MultiCandidateConfig(samples=24)) if isinstance(s, Sample)}
    for planned, sample in with_fault("target_shows_distractor"):
        assert sample.subjects == clean[planned.key].subjects
        assert sample.target != clean[planned.key].target


def test_nothing_added_claims_candidates_that_are_not_there():
    for planned, sample in with_fault("nothing_added"):
        assert any(len(candidates) > 1 for candidates in sample.subjects)
        assert sample.references == parents()[planned.parents[0].key].references
        assert all(len(ids) <= 1 for ids in sample.provenance.truth["references"])


def test_wrong_index_names_the_same_images_in_another_order():
    clean = {p.key: s for p, s in make(MultiCandidateConfig(samples=24)) if isinstance(s, Sample)}
    for planned, sample in with_fault("wrong_index"):
        other = clean[planned.key]
        assert sample.instruction != other.instruction
        assert named_images(sample.instruction) == named_images(other.instruction)
        assert sample.references == other.references


def test_ambiguous_phrase_is_the_bare_noun():
    for _, sample in with_fault("ambiguous_phrase"):
        chosen = [
            c for candidates in shown(sample) for c in candidates if c.is_target and len(candidates) > 1
        ]
        assert any(c.phrase in sample.instruction.lower() for c in chosen)
        assert sample.provenance.truth["fault"] == "ambiguous_phrase"


def test_fault_of_the_parent_is_inherited():
    config = SingleCandidateConfig(samples=4, seed=5, size_px=SIZE_PX, faults={"colour_variant": 1.0})
    planned = next(iter(config.plan()))
    parent = config.build().make(Work(key=planned.key, spec=planned.spec))
    assert isinstance(parent, Sample)
    multi = MultiCandidateConfig(samples=1, swap=0)
    variant = next(iter(multi.plan([row(0, parent)])))
    sample = multi.build().make(Work(key=variant.key, spec=variant.spec, parents=(parent,)))
    assert isinstance(sample, Sample)
    assert sample.provenance.truth["fault"] == "colour_variant"
    assert sample.provenance.truth["inherited"] is True
    assert sample.provenance.parents == (parent.key,)


def test_foreign_parent_without_layout_or_names_is_a_reject_with_that_reason():
    parent = next(
        s for s in parents().values() if len(s.references) == 2 and s.provenance.case == "character+object"
    )
    foreign = replace(
        parent,
        subjects=tuple(tuple(replace(c, name=f"my {c.name}") for c in cs) for cs in parent.subjects),
        instruction="Put the thing from image 1 beside the thing from image 2.",
        provenance=replace(parent.provenance, origin={}, truth={}, source="elsewhere"),
    )
    outcomes = {}
    for method in ("swap", "add"):
        config = MultiCandidateConfig(samples=1, swap=float(method == "swap"), intra=0)
        planned = next(iter(config.plan([row(0, foreign)])))
        outcomes[method] = config.build().make(Work(key=planned.key, spec=planned.spec, parents=(foreign,)))
    assert isinstance(outcomes["swap"], Reject)
    assert outcomes["swap"].reason == "no_layout"
    assert isinstance(outcomes["add"], Reject)
    assert outcomes["add"].reason == "names_no_subject"


def test_parent_without_boxes_or_with_several_candidates_is_a_reject():
    parent = next(s for s in parents().values() if len(s.references) == 1)
    config = MultiCandidateConfig(samples=1, swap=0)
    planned = next(iter(config.plan([row(0, parent)])))
    for subjects, reason in (
        ((tuple(replace(c, box=None) for c in parent.subjects[0]),), "no_box"),
        ((parent.subjects[0] * 2,), "several_candidates"),
    ):
        work = Work(key=planned.key, spec=planned.spec, parents=(replace(parent, subjects=subjects),))
        outcome = config.build().make(work)
        assert isinstance(outcome, Reject)
        assert outcome.reason == reason


def test_variants_survive_their_own_format():
    for _, sample in made()[:10]:
        text = sample_json(sample)
        assert sample_json(parse_sample(sample.key, sample.images, text)) == text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"faults": {"blur": 0.1}}, "got 'blur'"),
        ({"faults": {"wrong_index": -1}}, "0 or more"),
        ({"swap": 2}, "less"),
    ],
)
def test_wrong_setting_is_refused_at_once(settings, message):
    with pytest.raises(ValidationError, match=message):
        MultiCandidateConfig(samples=10, **settings)


@pytest.mark.parametrize(
    "origin",
    [
        {"target": [{"subject": "x"}, {"box": "nowhere"}]},
        {"target": [{"box": [0, 0, 9, 9]}, {"box": [1, 2]}]},
        {"view": {"place": "the moon"}},
        {"view": {"panorama": "moon", "yaw_deg": 0, "pitch_deg": 0}},
        {"references": [{"style": "scene", "view": {"x": 1}}] * 4},
    ],
)
def test_a_layout_of_another_hand_is_a_reject_and_no_crash(origin):
    stage = MultiCandidateConfig(samples=40).build()
    outcomes = []
    for planned in MultiCandidateConfig(samples=40, seed=1).plan(rows()):
        parent = parents()[planned.parents[0].key]
        changed = replace(parent.provenance, origin={**parent.provenance.origin, **origin})
        work = Work(key=planned.key, spec=planned.spec, parents=(replace(parent, provenance=changed),))
        outcomes.append(stage.make(work))
    rejects = {outcome.reason for outcome in outcomes if isinstance(outcome, Reject)}
    assert "no_layout" in rejects


def test_a_truth_of_another_hand_is_a_reject_and_no_crash():
    stage = MultiCandidateConfig(samples=40).build()
    for planned in MultiCandidateConfig(samples=20, seed=1).plan(rows()):
        parent = parents()[planned.parents[0].key]
        changed = replace(parent.provenance, truth={"target": [{"pose": 7, "box": []}]})
        outcome = stage.make(
            Work(key=planned.key, spec=planned.spec, parents=(replace(parent, provenance=changed),))
        )
        assert isinstance(outcome, Reject)
        assert outcome.reason in ("no_layout", "no_intra_candidate", "no_cross_candidate", "no_phrase")


def test_a_plan_does_not_depend_on_the_order_that_a_recipe_lists_shares_in():
    shares = {"wrong_index": 0.2, "nothing_added": 0.2, "ambiguous_phrase": 0.2}
    turned = dict(reversed(shares.items()))
    one, other = (MultiCandidateConfig(samples=40, faults=table) for table in (shares, turned))
    assert canonical_json(one.computed()) == canonical_json(other.computed())
    assert list(one.plan(rows())) == list(other.plan(rows()))
