"""The embedded verifier on rendered samples: each fault moves its own check; drifts of an editor do not."""

import io
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pytest
from PIL import Image

from datagen.multi_candidate import MultiCandidateConfig
from datagen.single_candidate import SingleCandidateConfig
from filters.checks import CHECKS, QUESTIONS, check_rows, is_asked
from filters.embedded_checks import CHECK_HEADS, NAMES, EmbeddedChecksConfig
from filters.judge import make_requests, make_rows
from filters.names import Names
from filters.raw import beside_raw
from filters.rubrics import pick_questions
from shards.sample import EncodedImage, Sample
from shards.stage import IndexRow, Work


@cache
def engine():
    return EmbeddedChecksConfig().build()


@cache
def parents():
    config = SingleCandidateConfig(samples=10, seed=8, split="heldout")
    stage = config.build()
    made = [stage.make(Work(key=planned.key, spec=planned.spec)) for planned in config.plan()]
    return {sample.key: sample for sample in made}


@cache
def variants(fault):
    """A few variants that all have a fault, with the raw form of what was edited."""
    faults = {fault: 1.0} if fault else {}
    config = MultiCandidateConfig(samples=6, swap=0.34, seed=2, split="heldout", faults=faults)
    stage = config.build()
    rows = [
        IndexRow(
            key=sample.key,
            task=sample.provenance.task,
            case=sample.provenance.case,
            source="",
            licence="",
            references=len(sample.references),
            directory=0,
            shard=0,
            row=number,
        )
        for number, sample in enumerate(parents().values())
    ]
    found = []
    for planned in config.plan(rows):
        parent = parents()[planned.parents[0].key]
        made = stage.make(Work(key=planned.key, spec=planned.spec, parents=(parent,)))
        if isinstance(made, Sample) and (not fault or planned.spec["fault"] == fault):
            found.append(SimpleNamespace(sample=made, parent=parent))
    return found


def drifted(image):
    """A picture as a generative editor gives it back: shifted by 10 and 8 pixels, and zoomed by 2 %."""
    picture = Image.open(io.BytesIO(image.data))
    moved = picture.transform(
        picture.size, Image.Transform.AFFINE, (1.02, 0, -10, 0, 1.02, 8), fillcolor="#eee"
    )
    file = io.BytesIO()
    moved.save(file, "JPEG", quality=92)
    return EncodedImage(file.getvalue(), "jpg")


def edited(one, *, drifts):
    """A variant with the raw form of what was edited."""
    found = beside_raw(one.sample, one.parent.references)
    if not drifts:
        return found
    shown = enumerate(found.references)
    return replace(found, references=tuple(drifted(image) if n in found.raw else image for n, image in shown))


def shrunk(sample):
    """With every edited reference as an editor gives it back that was asked for a smaller picture."""
    references, subjects = list(sample.references), list(sample.subjects)
    for n in sample.raw:
        picture = Image.open(io.BytesIO(references[n].data))
        file = io.BytesIO()
        picture.resize((picture.width * 5 // 8, picture.height * 5 // 8)).save(file, "JPEG", quality=95)
        references[n] = EncodedImage(file.getvalue(), "jpg")
        subjects[n] = tuple(replace(c, box=tuple(at * 5 // 8 for at in c.box)) for c in subjects[n])
    return replace(sample, references=tuple(references), subjects=tuple(subjects))


def failed(one, *, drifts=False):
    """The checks that a variant fails."""
    return failed_of(edited(one, drifts=drifts))


def failed_of(sample):
    questions = pick_questions(QUESTIONS)
    requests = [
        request
        for request in make_requests(sample, questions, engine().identity)
        if is_asked(sample, request.question, request.reference, request.candidate, sample.known)
    ]
    rows = make_rows(sample.key, questions, requests, engine().answer(sample, requests))
    checks = check_rows(sample, rows)
    return {name for name in CHECKS if any(row["expected"] < 0.5 for row in checks[name])}


@pytest.mark.parametrize("drifts", [False, True])
def test_clean_samples_pass_whether_the_editor_shifted_them_or_not(drifts):
    found = [failed(one, drifts=drifts) for one in variants("")]
    assert len(found) >= 5
    assert sum(not each for each in found) >= len(found) - 1


def test_an_original_is_looked_for_at_its_place_in_a_raw_reference_of_another_size():
    found = [shrunk(edited(one, drifts=False)) for one in variants("")]
    resized = [sample for sample in found if sample.raw]
    assert len(resized) >= 3
    assert not [sample.key for sample in resized if "check_original" in failed_of(sample)]


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("original_changed", "check_original"),
        ("nothing_added", "check_candidates"),
        ("wrong_category", "check_candidates"),
        ("two_candidates", "check_target"),
        ("target_shows_distractor", "check_target"),
        ("copy_paste", "check_copy"),
        ("ambiguous_phrase", "check_phrase"),
        ("wrong_index", "check_numbers"),
    ],
)
def test_each_fault_fails_its_own_check(fault, check):
    found = [check in failed(one) for one in variants(fault)[:3]]
    assert found
    assert sum(found) >= len(found) - (fault not in ("copy_paste", "ambiguous_phrase", "wrong_index"))


def test_a_damaged_picture_is_an_error_row_for_what_needs_it_and_no_low_score():
    sample = variants("")[0].sample
    broken = EncodedImage(sample.target.data[:200], sample.target.extension)
    fields = {name: getattr(sample, name) for name in Sample.__dataclass_fields__} | {"target": broken}
    questions = pick_questions(["target_shows"])
    requests = make_requests(Sample(**fields), questions, engine().identity)
    rows = make_rows("k", questions, requests, engine().answer(Sample(**fields), requests))
    assert {row["status"] for row in rows["target_shows"]} == {"error"}


def test_the_names_are_numbers_and_words_and_know_the_catalogue():
    names = Names.load(NAMES)
    assert "fox" in names
    assert "gadget nobody drew" not in names
    assert "fox" in names.nouns("fox")
    assert names.nouns("gadget nobody drew") == frozenset()


def test_the_identity_covers_every_vendored_file():
    identity = EmbeddedChecksConfig().identity
    assert {"network", "heads", "names", "checks", "version"} <= set(identity)
    assert CHECK_HEADS.exists()
