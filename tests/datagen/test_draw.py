"""`draw`: every sample once more with a target that the measured model draws, in as many rounds as asked."""

import hashlib
import io
from contextlib import closing
from dataclasses import replace

import pytest
from PIL import Image
from pydantic import ValidationError

from composed_samples import parent, row
from datagen.draw import DrawConfig, DrawError
from datagen.fake_images_server import MODEL
from datagen.single_candidate import SingleCandidateConfig
from inline_run import run_inline
from shards.image import check_image
from shards.ledger import Ledger
from shards.local_executor import LocalExecutor
from shards.sample import EncodedImage, Provenance, sample_json
from shards.stage import Reject, Work
from shards.storage import Storage

DEAD = "http://127.0.0.1:9"
PARENTS = [parent(number) for number in range(6)]
IMAGES = {"model": MODEL, "revision": "r1"}


def planned(config, parents=PARENTS):
    return list(config.plan([row(n, sample) for n, sample in enumerate(parents)]))


@pytest.fixture
def drawn(tmp_path, images_api):
    """Outcomes of `draw` at servers, with a ledger of one folder, by key; and what was counted."""

    def run(servers, parents=PARENTS, images=(), **settings):
        config = DrawConfig(images=images_api(*servers, does=("edit",), **dict(images)), **settings)
        by_key = {sample.key: sample for sample in parents}
        plan = planned(config, parents)
        works = [Work(key=p.key, spec=p.spec, parents=(by_key[p.parents[0].key],)) for p in plan]
        stage = config.build(Ledger(Storage(str(tmp_path / "ledger"))))
        try:
            return dict(zip([w.key for w in works], stage(works), strict=True)), stage.take_counts()
        finally:
            stage.close()

    return run


def test_a_sample_keeps_all_but_its_target_and_tells_what_drew_it(serve, drawn):
    server = serve()
    found, _ = drawn([server])
    assert list(found) == [sample.key for sample in PARENTS]
    for before in PARENTS:
        sample = found[before.key]
        assert sample.references == before.references
        assert (sample.instruction, sample.subjects) == (before.instruction, before.subjects)
        assert sample.target != before.target
        was, made = before.provenance, sample.provenance
        assert (made.licence, made.task, made.case) == (was.licence, was.task, was.case)
        assert made.source == "draw"
        assert made.parents == (before.key,)
        assert not made.truth
        assert made.origin["case_key"] == before.key
        assert made.origin["round"] == 0
        assert made.origin["parent_source"] == "made"
        assert made.origin["target"]["model"] == MODEL
        assert made.origin["target"]["prompt"] == before.instruction
    (asked,) = (asked for asked in server.asked if asked.fields["prompt"] == PARENTS[2].instruction)
    assert asked.path == "edits"
    assert asked.references == [hashlib.sha256(image.data).hexdigest() for image in PARENTS[2].references]


def test_what_a_drawn_sample_says_is_what_it_said(serve, drawn):
    """Seeds, keys and provenance; the pixels are a server's. Where this changes, VERSION is to be raised."""
    found, _ = drawn([serve()], rounds=2)
    words = hashlib.sha256(b"".join(key.encode() + sample_json(each) for key, each in found.items()))
    assert words.hexdigest() == "d6ae85fa3d200bc4d9601ed28cad1bda79fa4861df0c88b0a223eafba9af3c94"


def test_what_is_true_of_a_sample_is_not_claimed_of_the_drawn_one(serve, drawn):
    known = replace(PARENTS[0].provenance, truth={"fault": "copy_paste"})
    found, _ = drawn([serve()], [replace(PARENTS[0], provenance=known)])
    assert found[PARENTS[0].key].provenance.truth == {}


def test_rounds_are_samples_of_their_own_from_other_seeds():
    config = DrawConfig(images=IMAGES, rounds=3)
    plan = planned(config)
    key = PARENTS[0].key
    assert [p.key for p in plan[:3]] == [key, f"{key}-r1", f"{key}-r2"]
    assert [p.spec["round"] for p in plan[:3]] == [0, 1, 2]
    assert len({p.key for p in plan}) == len(plan) == 18
    assert {p.parents[0].key for p in plan[:3]} == {key}


def test_every_round_is_another_picture_and_more_rounds_pay_for_the_new_ones_alone(serve, drawn):
    server = serve()
    once, _ = drawn([server])
    assert len(server.asked) == 6
    thrice, counts = drawn([server], rounds=3)
    assert counts["requests"] == 12
    assert {key: thrice[key] for key in once} == once
    rounds = [thrice[f"{PARENTS[0].key}{end}"] for end in ("", "-r1", "-r2")]
    assert len({sample.target for sample in rounds}) == 3
    assert [sample.provenance.origin["round"] for sample in rounds] == [0, 1, 2]
    assert {sample.provenance.origin["case_key"] for sample in rounds} == {PARENTS[0].key}
    assert len({asked.fields["seed"] for asked in server.asked}) == 18


def test_a_seed_hangs_on_the_recipe_s_and_the_case_and_not_on_who_else_is_drawn(serve, drawn):
    alone, _ = drawn([serve()], PARENTS[3:4])
    among, _ = drawn([serve()])
    assert among[PARENTS[3].key] == alone[PARENTS[3].key]
    other, _ = drawn([serve()], seed=1)
    assert other[PARENTS[3].key].target != alone[PARENTS[3].key].target


def test_what_is_paid_for_gives_the_same_samples_without_a_server(serve, drawn):
    first, _ = drawn([serve(script=["black", "500"])], rounds=2)
    again, counts = drawn([DEAD], rounds=2)
    assert again == first
    assert "requests" not in counts


def of_size(width, height):
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "png")
    return replace(PARENTS[0], target=EncodedImage(file.getvalue(), "png"))


@pytest.mark.parametrize(
    ("settings", "size", "asked"),
    [
        ({}, (100, 150), (96, 144)),  # 150 / 16 rounds to the even 144 of 9.375
        ({"largest_px": 512}, (2000, 1000), (512, 256)),
        ({"size_px": 256}, (100, 150), (256, 256)),
    ],
)
def test_a_picture_has_its_sample_s_size_or_the_one_that_is_asked_for(serve, drawn, settings, size, asked):
    found, _ = drawn([serve()], [of_size(*size)], **settings)
    (sample,) = found.values()
    facts = check_image(sample.target)
    assert (facts.width, facts.height) == asked


def test_a_reference_that_comes_back_as_it_was_is_what_the_model_drew(serve, drawn):
    """A builder asks for another; here it would flatter a model that copies."""
    server = serve(by_words={PARENTS[0].instruction: "unchanged"})
    found, _ = drawn([server], PARENTS[:2])
    (copied,) = (asked for asked in server.asked if asked.fault == "unchanged")
    assert found[PARENTS[0].key].provenance.origin["target"]["seed"] == int(copied.fields["seed"])
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ("black", "unusable_picture", "3 seeds, last black"),
        ("400", "http_400", "out of order"),
        ("no_picture", "no_picture", "expected data with one b64_json"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_a_reject_with_its_reason(serve, drawn, fault, reason, words):
    server = serve(by_words={PARENTS[1].instruction: fault})
    found, _ = drawn([server])
    rejects = {key: each for key, each in found.items() if isinstance(each, Reject)}
    assert list(rejects) == [PARENTS[1].key]
    assert rejects[PARENTS[1].key].reason == reason
    assert words in rejects[PARENTS[1].key].detail


def test_a_damaged_reference_is_told_and_nobody_is_asked_about_it(serve, drawn):
    server = serve()
    cut = replace(PARENTS[1].references[0], data=PARENTS[1].references[0].data[:-40])
    damaged = replace(PARENTS[1], references=(cut, *PARENTS[1].references[1:]))
    found, _ = drawn([server], [PARENTS[0], damaged])
    assert found[damaged.key].reason == "undecodable"
    assert found[damaged.key].detail.startswith(f"{damaged.key}.ref0: expected a whole image")
    assert {asked.fields["prompt"] for asked in server.asked} == {PARENTS[0].instruction}


def test_a_damaged_target_matters_only_where_its_size_does(serve, drawn):
    damaged = replace(PARENTS[0], target=EncodedImage(b"nothing", "png"))
    told, _ = drawn([serve()], [damaged])
    assert told[damaged.key].reason == "undecodable"
    assert told[damaged.key].detail.startswith(f"{damaged.key}.target: ")
    sized, _ = drawn([serve()], [damaged], size_px=256)
    assert check_image(sized[damaged.key].target).width == 256


def test_cases_of_a_benchmark_stay_told_by_its_name(serve, drawn):
    of = Provenance(source="sconeeval", licence="", task="composition_single")
    found, _ = drawn([serve()], [replace(PARENTS[0], provenance=of)])
    assert found[PARENTS[0].key].provenance.source == "sconeeval"


def test_a_long_key_leaves_room_for_its_rounds():
    long = replace(PARENTS[0], key="k" * 80)
    keys = [p.key for p in planned(DrawConfig(images=IMAGES, rounds=3), [long])]
    assert keys[0] == long.key
    assert len(set(keys)) == 3
    assert max(map(len, keys)) == 80


def test_a_set_that_was_drawn_in_rounds_is_drawn_in_one():
    drawn_before = [PARENTS[0], replace(PARENTS[0], key=f"{PARENTS[0].key}-r1")]
    told = (
        rf"expected no '{PARENTS[0].key}-r1' in the input, .* got one; draw from the set .* or with rounds: 1"
    )
    with pytest.raises(DrawError, match=told):
        planned(DrawConfig(images=IMAGES, rounds=2), drawn_before)
    assert len(planned(DrawConfig(images=IMAGES), drawn_before)) == 2


def test_books_of_a_directory_balance_over_rounds_and_rejects(serve, images_api, tmp_path):
    base = run_inline(tmp_path / "out", SingleCandidateConfig(samples=4, size_px=128), name="base")
    bad = base.samples[0].instruction
    server = serve(by_words={bad: "black"})
    config = DrawConfig(images=images_api(server, does=("edit",), seeds=1), rounds=3)
    with closing(LocalExecutor(1)) as executor:
        made = run_inline(tmp_path / "out", config, inputs=[base.storage], name="drawn", executor=executor)
    books = made.manifest.books
    failed = 3 * sum(sample.instruction == bad for sample in base.samples)
    assert (books.read, books.used, books.unused) == (4, 4, 0)
    assert (books.planned, books.made, books.failed) == (12, 12 - failed, failed)
    assert books.reasons == {"unusable_picture": failed}
    assert {reject["key"].partition("-r")[0] for reject in made.rejects} >= {base.samples[0].key}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": {**IMAGES, "does": ["generate"]}}, "images.does: expected edit in it, got"),
        ({"images": {**IMAGES, "kind": "diffusers"}}, "images.does: expected edit in it, got"),
        ({"size_px": 200}, "multiple of 16"),
        ({"rounds": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        DrawConfig(**{"images": IMAGES, **changes})


def test_rounds_decide_the_plan_alone_and_where_it_is_asked_decides_nothing(images_api):
    here, there = images_api("http://127.0.0.1:1"), images_api("http://127.0.0.1:2", in_flight=9)
    one, moved, more = (
        DrawConfig(images=images, rounds=rounds) for images, rounds in ((here, 1), (there, 1), (here, 3))
    )
    assert one.computed() == moved.computed() != more.computed()
    assert one.content() == more.content()
    assert one.content() != DrawConfig(images=images_api("http://127.0.0.1:1", steps=9)).content()
