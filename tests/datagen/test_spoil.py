"""Faults of multi-candidate samples: each shows what its truth says, and nothing else changes."""

import hashlib
import io
from functools import cache

import numpy as np
import pytest
from PIL import Image

from composed_samples import row
from datagen.multi_candidate import FAULTS, MultiCandidateConfig
from datagen.single_candidate import SingleCandidateConfig
from shards.sample import Sample, sample_json
from shards.stage import Work

SIZE_PX = 192
NEW = ("original_changed", "wrong_category", "two_candidates", "copy_paste")
# Of 24 fault-free samples: what a fault is made of changes no other sample.
GOLDEN = "9fd01bd7e34500eca9dd3b12b7b3a9440de5ac095b3734147dda97ee2c90c3d8"


@cache
def parents():
    config = SingleCandidateConfig(samples=40, seed=5, size_px=SIZE_PX)
    stage = config.build()
    made = [stage.make(Work(key=planned.key, spec=planned.spec)) for planned in config.plan()]
    return {sample.key: sample for sample in made if isinstance(sample, Sample)}


def rows():
    return [row(number, sample) for number, sample in enumerate(parents().values())]


@cache
def make(fault):
    """Variants that all have a fault where they can, by key, those without it left out."""
    faults = {fault: 1.0} if fault else {}
    config = MultiCandidateConfig(samples=24, seed=1, faults=faults)
    stage = config.build()
    works = [
        Work(key=p.key, spec=p.spec, parents=(parents()[p.parents[0].key],))
        for p in config.plan(rows())
        if not fault or p.spec["fault"] == fault
    ]
    made = [stage.make(work) for work in works]
    return {sample.key: sample for sample in made if isinstance(sample, Sample)}


def pixels(image, box=None):
    picture = Image.open(io.BytesIO(image.data)).convert("RGB")
    return np.asarray(picture.crop(box) if box else picture, dtype=np.float32)


def differ(one, other, box=None):
    return float(np.abs(pixels(one, box) - pixels(other, box)).mean())


def test_fault_free_bytes_are_what_they_were():
    hasher = hashlib.sha256()
    for key, sample in sorted(make("").items()):
        hasher.update(key.encode() + sample_json(sample))
        for image in sample.images.values():
            hasher.update(image.data)
    assert hasher.hexdigest() == GOLDEN


@pytest.mark.parametrize("fault", NEW)
def test_fault_stands_in_the_truth_only(fault):
    clean, faulty = make(""), make(fault)
    assert len(faulty) >= 6
    for key, sample in faulty.items():
        assert sample.provenance.truth["fault"] == fault
        assert sample.instruction == clean[key].instruction
        assert sample.subjects == clean[key].subjects
        assert sample.provenance.origin == clean[key].provenance.origin


def test_changed_original_differs_where_it_stood_and_the_target_does_not():
    clean = make("")
    for key, sample in make("original_changed").items():
        changed = sample.provenance.truth["changed_reference"]
        assert sample.target == clean[key].target
        for number, image in enumerate(sample.references):
            if number == changed:
                box = sample.subjects[number][0].box
                assert differ(image, clean[key].references[number], box) > 8
                for candidate in sample.subjects[number][1:]:
                    assert differ(image, clean[key].references[number], candidate.box) < 6
            else:
                assert image == clean[key].references[number]


def test_wrong_category_changes_one_added_candidate():
    clean = make("")
    for key, sample in make("wrong_category").items():
        truth = sample.provenance.truth
        number, place = truth["faulty_reference"], truth["faulty_candidate"]
        assert place >= 1
        before = clean[key].provenance.truth["references"][number]
        assert truth["references"][number][place] == truth["shown_instead"] != before[place]
        assert truth["references"][number][0] == before[0]
        box = sample.subjects[number][place].box
        assert differ(sample.references[number], clean[key].references[number], box) > 8


def test_two_candidates_leaves_the_chosen_one_and_shows_another():
    clean = make("")
    for key, sample in make("two_candidates").items():
        truth = sample.provenance.truth
        assert truth["shown_besides"] in [one for ids in truth["references"] for one in ids]
        assert [entry["subject"] for entry in truth["target"]][-1] == truth["shown_besides"]
        assert sample.references == clean[key].references
        assert differ(sample.target, clean[key].target, truth["target"][-1]["box"]) > 8


def test_copy_paste_is_one_whole_reference():
    for sample in make("copy_paste").values():
        assert sample.target == sample.references[sample.provenance.truth["copied_reference"]]


def test_what_only_an_editor_can_do_is_planned_for_add_alone():
    assert set(NEW) < set(FAULTS)
    for fault in ("original_changed", "wrong_category"):
        assert {s.provenance.origin["method"] for s in make(fault).values()} == {"add"}
    assert {s.provenance.origin["method"] for s in make("copy_paste").values()} == {"add", "swap"}
