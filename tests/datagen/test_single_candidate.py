"""The base builder: exact plans, repeatable bytes, faults that are what their name says."""

import hashlib
import io
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from datagen.catalogue import CatalogueError, is_held_out, load_catalogue
from datagen.faults import FAULTS
from datagen.layout import centre_x, overlaps
from datagen.mentions import named_images
from datagen.renderer import Renderer
from datagen.single_candidate import SingleCandidateBuilder, SingleCandidateConfig
from datagen.sprites import MIN_COLOUR_DIFFERENCE, Pose, colour_difference
from shards.sample import Sample, canonical_json, parse_sample, sample_json
from shards.stage import Planned, Reject, Work

SMALL = SingleCandidateConfig(samples=12, seed=5, size_px=192)


@cache
def builder() -> SingleCandidateBuilder:
    return SMALL.build()


def works(config: SingleCandidateConfig, fault: str | None = None) -> list[Work]:
    found = [Work(key=planned.key, spec=planned.spec) for planned in config.plan()]
    return [work for work in found if fault is None or work.spec["fault"] == fault]


def make(fault: str, number: int = 12) -> list[tuple[Sample, Sample]]:
    """Samples with a fault, each beside the same one without it."""
    config = SMALL.model_copy(update={"samples": number, "faults": {fault: 1.0}})
    pairs = []
    for work in works(config):
        faulty = builder().make(work)
        clean = builder().make(replace(work, spec={**work.spec, "fault": "none"}))
        assert isinstance(faulty, Sample)
        assert isinstance(clean, Sample)
        pairs.append((faulty, clean))
    return pairs


def digest(config: SingleCandidateConfig) -> str:
    hasher = hashlib.sha256()
    for work in works(config):
        sample = config.build().make(work)
        assert isinstance(sample, Sample)
        hasher.update(sample_json(sample))
        for image in sample.images.values():
            hasher.update(image.data)
    return hasher.hexdigest()


def test_plan_holds_each_fault_exactly_as_often_as_asked():
    config = SingleCandidateConfig(
        samples=400, faults={"wrong_subject": 0.1, "missing_subject": 0.05, "copy_paste": 0.02}
    )
    counts = Counter(planned.spec["fault"] for planned in config.plan())
    assert counts == {"wrong_subject": 40, "missing_subject": 20, "copy_paste": 8, "none": 332}


def test_longer_plan_begins_as_the_shorter_one():
    faults = dict.fromkeys(FAULTS, 0.05)
    short = list(SingleCandidateConfig(samples=100, faults=faults).plan())
    longer = list(SingleCandidateConfig(samples=300, faults=faults).plan())
    assert longer[:100] == short
    assert len({planned.key for planned in longer}) == 300


@pytest.mark.parametrize(
    "table",
    [
        {"faults": {"copy_paste": 0.2, "wrong_subject": 0.3, "missing_subject": 0.1}},
        {"cases": {"object+scene": 1, "character": 2, "object": 1}},
        {"references": {3: 0.2, 1: 0.5, 2: 0.3}},
    ],
)
def test_a_plan_does_not_depend_on_the_order_that_a_recipe_lists_shares_in(table):
    ((name, shares),) = table.items()
    turned = {name: dict(reversed(shares.items()))}
    one, other = (SingleCandidateConfig(samples=60, **given) for given in (table, turned))
    assert canonical_json(one.computed()) == canonical_json(other.computed())
    assert list(one.plan()) == list(other.plan())


def test_another_seed_or_prefix_makes_other_keys():
    keys = [
        {planned.key for planned in SingleCandidateConfig(samples=5, seed=seed, prefix=prefix).plan()}
        for seed, prefix in ((0, "base"), (1, "base"), (0, "more"))
    ]
    assert len(set.union(*keys)) == 15


def test_same_plan_gives_the_same_bytes_in_another_process():
    config = SMALL.model_copy(update={"samples": 3})
    script = (
        "import hashlib; from datagen.single_candidate import *; from shards.sample import *; "
        "from shards.stage import Work\n"
        f"config = SingleCandidateConfig(**{config.model_dump()!r})\n"
        "h = hashlib.sha256()\n"
        "for p in config.plan():\n"
        "    s = config.build().make(Work(key=p.key, spec=p.spec))\n"
        "    h.update(sample_json(s)); [h.update(i.data) for i in s.images.values()]\n"
        "print(h.hexdigest())"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert found.stdout.strip() == digest(config)


def test_sample_does_not_depend_on_the_batch_it_is_made_in():
    batch = works(SMALL)[:4]
    assert SMALL.build()(batch) == [SMALL.build().make(work) for work in batch]


def test_clean_sample_is_complete_and_survives_its_own_format():
    for work in works(SMALL):
        sample = builder().make(work)
        assert isinstance(sample, Sample)
        assert len(sample.references) == work.spec["references"] == len(sample.subjects)
        expected = "composition_single" if len(sample.references) == 1 else "composition_multi"
        assert sample.provenance.task == expected
        text = sample_json(sample)
        assert sample_json(parse_sample(sample.key, sample.images, text)) == text
        assert named_images(sample.instruction) <= set(range(1, len(sample.references) + 1))


def test_claims_do_not_give_the_fault_away():
    for faulty, clean in make("wrong_subject", 4):
        assert faulty.subjects == clean.subjects
        assert faulty.instruction == clean.instruction
        assert faulty.references == clean.references
        assert faulty.provenance.origin == clean.provenance.origin
        assert faulty.target != clean.target
        assert faulty.provenance.truth != clean.provenance.truth


def test_wrong_subject_shows_another_one_in_the_same_place():
    categories = load_catalogue()
    variants = Counter()
    for faulty, clean in make("wrong_subject", 20):
        truth, shown = faulty.provenance.truth, faulty.provenance.truth["target"]
        wrong = truth["faulty"]
        right = clean.provenance.truth["target"][wrong]
        assert shown[wrong]["subject"] == truth["shown_instead"] != right["subject"]
        same = [categories.by_id(e["subject"]).category for e in (shown[wrong], right)]
        assert (same[0] == same[1]) == (truth["variant"] == "same_category")
        assert shown[wrong]["box"][3] == right["box"][3]
        variants[truth["variant"]] += 1
    assert min(variants["same_category"], variants["other_category"]) > 3


def test_other_design_shows_the_twin():
    for faulty, clean in make("other_design", 4):
        wrong = faulty.provenance.truth["faulty"]
        right = clean.provenance.truth["target"][wrong]["subject"]
        assert faulty.provenance.truth["shown_instead"] == right.replace("fluent/", "noto/")


def test_colour_variant_differs_by_25_of_255_over_the_subjects_opaque_pixels():
    renderer = Renderer(load_catalogue(), SMALL.size_px)
    for faulty, clean in make("colour_variant", 16):
        wrong = faulty.provenance.truth["faulty"]
        one, other = (s.provenance.truth["target"][wrong] for s in (clean, faulty))
        sprites = [renderer.sprite(e["subject"], Pose(**e["pose"])) for e in (one, other)]
        assert one["subject"] == other["subject"]
        assert colour_difference(*sprites) >= MIN_COLOUR_DIFFERENCE
        pictures = [Image.open(io.BytesIO(s.target.data)).crop(one["box"]) for s in (clean, faulty)]
        opaque = np.asarray(sprites[0])[..., 3] >= 250
        before, after = (np.asarray(picture, dtype=float) for picture in pictures)
        assert np.abs(before - after)[opaque].mean() >= 0.8 * MIN_COLOUR_DIFFERENCE


def test_missing_and_extra_subjects_are_one_fewer_and_one_more():
    for fault, change in (("missing_subject", -1), ("extra_subject", 1)):
        for faulty, clean in make(fault, 6):
            shown, claimed = (s.provenance.truth["target"] for s in (faulty, clean))
            assert len(shown) - len(claimed) == change
            boxes = [tuple(entry["box"]) for entry in shown]
            assert not any(overlaps(a, b) for n, a in enumerate(boxes) for b in boxes[:n])


def test_swapped_order_contradicts_an_instruction_that_fixes_positions():
    for faulty, clean in make("swapped_order", 8):
        shown, claimed = (s.provenance.truth["target"] for s in (faulty, clean))
        assert "left" in faulty.instruction.lower()
        assert len(claimed) > 1
        centres = [centre_x(tuple(entry["box"])) for entry in claimed]
        assert centres == sorted(centres)
        assert centre_x(tuple(shown[0]["box"])) > centre_x(tuple(shown[-1]["box"]))
        assert [entry["subject"] for entry in shown] == [entry["subject"] for entry in claimed]


def test_copy_paste_target_is_a_whole_reference():
    for faulty, _ in make("copy_paste", 6):
        assert faulty.target == faulty.references[faulty.provenance.truth["copied_reference"]]


def test_damaged_file_is_a_reject_and_names_the_member():
    config = SMALL.model_copy(update={"faults": {"damaged_file": 1.0}})
    outcomes = builder()(works(config))
    assert all(isinstance(outcome, Reject) for outcome in outcomes)
    assert {outcome.reason for outcome in outcomes} == {"undecodable"}
    assert all(work.key in outcome.detail for work, outcome in zip(works(config), outcomes, strict=True))


def test_held_out_samples_use_held_out_subjects_and_panoramas_only():
    config = SMALL.model_copy(
        update={"split": "heldout", "faults": {"extra_subject": 0.5, "wrong_subject": 0.5}}
    )
    catalogue = load_catalogue()
    for work in works(config):
        sample = config.build().make(work)
        shown = sample.provenance.truth["target"] + sample.provenance.origin["target"]
        assert all(is_held_out(catalogue.by_id(entry["subject"]).group) for entry in shown)
        assert is_held_out(f"panorama {sample.provenance.origin['view']['panorama']}")


def test_candidate_boxes_are_where_the_reference_shows_the_subject():
    for work in works(SMALL):
        sample = builder().make(work)
        for candidates, made in zip(sample.subjects, sample.provenance.origin["references"], strict=True):
            if candidates[0].category != "scene":
                assert list(candidates[0].box) == made["figure"]["box"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"faults": {"wrong": 0.1}}, "expected names of wrong_subject, .*got 'wrong'"),
        ({"faults": {"wrong_subject": 0.8, "copy_paste": 0.3}}, "at most 1 together"),
        ({"faults": {"wrong_subject": -0.1}}, "faults.wrong_subject: expected 0 or more, got -0.1"),
        ({"references": {5: 1.0}}, "got 5"),
        ({"references": {1: 1.0}, "cases": {"character+object": 1.0}}, "add `object`"),
        ({"references": {1: 1.0}, "faults": {"swapped_order": 0.1}}, "faults.swapped_order"),
        ({"cases": {"creature": 1.0}}, "got 'creature'"),
        ({"sample": 3}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_setting_is_refused_at_once(settings, message):
    with pytest.raises(ValidationError, match=message):
        SingleCandidateConfig(samples=10, **settings)


def test_config_imports_quickly_and_light():
    script = "import sys, json, datagen.multi_candidate as m; print(json.dumps(list(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"scipy", "onnxruntime", "torch", "ray", "sklearn", "pyarrow.dataset"}
    assert not heavy & set(json.loads(found.stdout))


def test_planned_work_is_small():
    assert all(len(str(planned)) < 400 for planned in SMALL.plan() if isinstance(planned, Planned))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalogue of one's own: six coloured boxes."""
    lines = ["file,name,category,subgroup,attributes"]
    for number, colour in enumerate(("red", "blue", "green", "yellow", "purple", "black")):
        cutout = Image.new("RGBA", (80, 60))
        cutout.paste(colour, (10, 5, 70, 50 - number))
        cutout.save(tmp_path / f"{colour}.png")
        lines.append(f"{colour}.png,thing{number},things,,colour={colour}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return tmp_path


def test_any_folder_of_cutouts_serves(folder: Path):
    config = SingleCandidateConfig(
        samples=6,
        size_px=192,
        catalogue=str(folder),
        cases={"object": 1},
        licence="CC-BY-4.0",
        faults={"extra_subject": 0.5},
    )
    outcomes = config.build()(works(config))
    assert all(isinstance(outcome, Sample) for outcome in outcomes)
    assert {outcome.provenance.licence for outcome in outcomes} == {"CC-BY-4.0 AND CC0-1.0"}
    assert str(folder) not in json.dumps([config.computed(), config.content()])


def test_catalogue_without_a_kind_that_the_cases_need_is_refused(folder: Path):
    config = SingleCandidateConfig(samples=6, catalogue=str(folder))
    (told,) = config.missing()
    assert "expected subjects of kind 'character'" in told
    with pytest.raises(CatalogueError, match=r"subjects of kind 'character'.*leave the case out"):
        list(config.plan())


def test_bad_rows_of_a_catalogue_are_told_before_a_run(folder: Path):
    with (folder / "table.csv").open("a") as file:
        file.write("\ngone.png,a,b,,\nred.png,,b,,\n")
    told = SingleCandidateConfig(samples=6, catalogue=str(folder), cases={"object": 1}).missing()
    assert ["gone.png" in told[0], "name: expected text" in told[1], len(told)] == [True, True, 2]


def test_fault_that_the_catalogue_cannot_serve_is_a_reject(folder: Path):
    config = SingleCandidateConfig(
        samples=2, size_px=192, catalogue=str(folder), cases={"object": 1}, faults={"other_design": 1}
    )
    assert {outcome.reason for outcome in config.build()(works(config))} == {"no_such_subject"}
