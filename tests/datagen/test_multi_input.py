"""Multi-input samples: exact plans, the same step with the renderer and with image models."""

import json
import re
from collections import Counter

import pytest
from pydantic import ValidationError

from datagen.answered import UnansweredError
from datagen.cases import MULTI_INPUT_CASES
from datagen.describe import DescribeConfig
from datagen.draw import DrawConfig
from datagen.fake_chat_server import MODEL as CHAT_MODEL
from datagen.fake_images_server import MODEL
from datagen.generated import _check_plan, _check_terse
from datagen.ideas import draw_attributes, nouns
from datagen.instructions import STYLES
from datagen.mentions import named_images
from datagen.multi_candidate import MultiCandidateConfig
from datagen.multi_input import MultiInputConfig
from datagen.naming import is_ambiguous
from datagen.text_checks import BadTextError, check_order
from shards.image import check_sample
from shards.ledger import Ledger
from shards.sample import Sample, sample_json
from shards.stage import Reject, Work, keyed_random
from shards.storage import Storage

NOWHERE = Ledger(Storage("/nonexistent"))


def works(config):
    return [Work(key=planned.key, spec=planned.spec) for planned in config.plan()]


@pytest.fixture
def generate(tmp_path, images_api):
    """Samples of a config at servers, a stage and a ledger of one folder each time."""

    def run(servers, **changes):
        api = images_api(*servers)
        config = MultiInputConfig(**{"samples": 13, "size_px": 128, "inputs": api, "output": api, **changes})
        stage = config.build(Ledger(Storage(str(tmp_path / "ledger"))))
        try:
            return stage(works(config))
        finally:
            stage.close()

    return run


def test_there_are_four_case_types_of_three_inputs_and_nine_of_four():
    assert Counter(len(kinds) for kinds in MULTI_INPUT_CASES.values()) == {3: 4, 4: 9}


@pytest.mark.parametrize("samples", [13, 15_000])
def test_even_case_types_come_equally_often_to_within_one(samples):
    counts = Counter(planned.spec["case"] for planned in MultiInputConfig(samples=samples).plan())
    assert set(counts) == set(MULTI_INPUT_CASES)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_weights_of_case_types_are_met_exactly():
    cases = {"character+character+object": 3, "object+object+scene": 1}
    counts = Counter(planned.spec["case"] for planned in MultiInputConfig(samples=400, cases=cases).plan())
    assert counts == {"character+character+object": 300, "object+object+scene": 100}


def test_a_longer_plan_begins_as_the_shorter_one():
    short = list(MultiInputConfig(samples=20).plan())
    assert list(MultiInputConfig(samples=50).plan())[:20] == short


@pytest.mark.parametrize("name", ["cases", "styles"])
def test_a_plan_does_not_depend_on_the_order_that_a_recipe_lists_shares_in(name, images_api):
    known = {"cases": MULTI_INPUT_CASES, "styles": STYLES}[name]
    shares = {each: 1 + number for number, each in enumerate([*known][:4])}
    drawn = dict.fromkeys(("inputs", "output"), images_api("http://127.0.0.1:9"))
    one, other = (
        MultiInputConfig(samples=40, **drawn, **{name: table})
        for table in (shares, dict(reversed(shares.items())))
    )
    assert list(one.plan()) == list(other.plan())


def test_a_name_in_another_language_is_asked_for_again():
    plan = {"inputs": [{"name": "茶壶", "prompt": "A teapot on a table"}], "place": "in a garden"}
    with pytest.raises(BadTextError) as caught:
        _check_plan(1, plan)
    assert caught.value.reason == "not_english"


def test_the_renderer_makes_every_case_type_offline():
    config = MultiInputConfig(samples=13, size_px=192)
    for sample, work in zip(config.build(NOWHERE)(works(config)), works(config), strict=True):
        assert isinstance(sample, Sample)
        assert sample.provenance.source == "multi_input"
        assert sample.provenance.case == work.spec["case"]
        scenes = [candidates[0].category == "scene" for candidates in sample.subjects]
        assert scenes == [kind == "scene" for kind in work.spec["kinds"]]


def test_image_models_draw_each_input_then_the_output_from_the_inputs(serve, generate):
    server = serve()
    samples = generate([server])
    for sample in samples:
        facts = check_sample(sample)
        assert {(fact.width, fact.height) for fact in facts.values()} == {(128, 128)}
        assert len(set(sample.provenance.origin["target"]["prompt"].split("Image "))) > len(sample.references)
        named = named_images(sample.instruction)
        assert not named or named <= set(range(1, len(sample.references) + 1))
    counts = Counter(asked.path for asked in server.asked)
    assert counts == {"generations": 4 * 3 + 9 * 4, "edits": 13}
    assert Counter(len(asked.references) for asked in server.asked if asked.path == "edits") == {3: 4, 4: 9}


def test_no_noun_that_is_drawn_can_mean_another_of_its_sample():
    for seed in range(60):
        random, taken = keyed_random("nouns", seed), []
        for _ in range(4):
            noun = draw_attributes(random, "character", taken)["noun"]
            assert not is_ambiguous(noun, taken)
            taken.append(noun)
    with pytest.raises(LookupError, match="character: expected a noun that can mean none of "):
        draw_attributes(random, "character", nouns("character"))


def test_subjects_of_one_sample_have_names_of_their_own(serve, generate):
    for sample in generate([serve()]):
        names = [candidates[0].name for candidates in sample.subjects]
        assert len(set(names)) == len(names)


def test_origin_tells_all_that_made_each_picture(serve, generate):
    sample = generate([serve()], samples=1)[0]
    origin = json.loads(sample_json(sample))["provenance"]["origin"]
    for made_by in [*origin["references"], origin["target"]]:
        assert made_by["model"] == MODEL
        assert made_by["revision"] == "r1"
        assert isinstance(made_by["seed"], int)


def test_paid_pictures_give_the_same_samples_without_a_server(serve, generate):
    first = generate([serve()])
    assert generate(["http://127.0.0.1:9"]) == first
    assert generate(["http://127.0.0.1:9"], samples=5) == first[:5]


def test_an_output_that_is_an_input_again_rejects_only_its_sample(serve, generate):
    made = generate([serve(by_words={"Image 4 shows": "unchanged"})])
    rejects = [outcome for outcome in made if isinstance(outcome, Reject)]
    assert len(rejects) == 9
    assert {reject.reason for reject in rejects} == {"unusable_picture"}
    assert all("last unchanged" in reject.detail for reject in rejects)


def test_an_input_that_cannot_be_drawn_is_named_and_its_output_not_asked_for(serve, generate):
    server = serve(by_words={"A wide photo": "black"})
    made = generate([server], samples=13)
    rejects = [outcome for outcome in made if isinstance(outcome, Reject)]
    assert len(rejects) == 6
    assert all(reject.detail.startswith("input ") for reject in rejects)
    assert sum(asked.path == "edits" for asked in server.asked) == 7


@pytest.mark.parametrize(
    "config",
    [
        MultiInputConfig(samples=100),
        MultiCandidateConfig(samples=100),
        DescribeConfig(),
        DrawConfig(images={"model": "m", "revision": "r"}),
    ],
)
def test_a_step_stops_where_servers_answer_too_little_and_is_then_asked_anew(config):
    config = config.model_copy(update={"tolerate_unanswered": 0.1})
    for counts, planned in (
        ({"error: http_400": 19, "unusable: black": 60}, 100),  # too few to tell
        ({"error: http_400": 20, "error: timeout": 10}, 300),  # as many as are tolerated
    ):
        config.check_counts(counts, planned)
        assert not config.asks_again(counts, planned)
    counts = {"error: timeout": 11, "error: http_400": 20}
    assert config.asks_again(counts, 300)
    told = r"at most 10.0% of 300 .* got 31 \(20 error: http_400, 11 error: timeout\); see to the servers"
    with pytest.raises(UnansweredError, match=told):
        config.check_counts(counts, 300)


def test_where_and_how_fast_is_in_no_hash(images_api):
    here = images_api("http://127.0.0.1:1")
    there = images_api("http://127.0.0.1:2", in_flight=9, timeout_s=60)
    other = images_api("http://127.0.0.1:1", steps=30)
    one, two, three = (MultiInputConfig(samples=1, inputs=api, output=api) for api in (here, there, other))
    assert one.computed() == two.computed() != three.computed()
    assert one.content() == two.content() != three.content()


def test_a_language_model_plans_and_writes_in_the_planned_styles(serve, serve_chat, chat_writer, generate):
    chat = serve_chat()
    styles = {"the first picture": 2, "<|image_1|>": 1}
    samples = generate([serve()], writer=chat_writer(chat), styles=styles, terse=0, samples=12)
    assert Counter(s.provenance.origin["style"] for s in samples) == {
        "the first picture": 8,
        "<|image_1|>": 4,
    }
    for sample in samples:
        count = STYLES[sample.provenance.origin["style"]]
        for number in range(1, len(sample.references) + 1):
            assert count(number).lower() in sample.instruction.lower()
        assert sample.provenance.origin["texts"]["plan"]["model"] == CHAT_MODEL
    assert Counter(asked.prompt for asked in chat.asked) == {"case_plan": 12, "instruction": 12}


def test_paid_texts_give_the_same_samples_without_a_model(serve, serve_chat, chat_writer, generate):
    first = generate([serve()], writer=chat_writer(serve_chat()))
    assert generate(["http://127.0.0.1:9"], writer=chat_writer("http://127.0.0.1:9")) == first


def test_a_model_that_writes_nothing_of_use_rejects_and_draws_nothing(
    serve, serve_chat, chat_writer, generate
):
    server = serve()
    made = generate(
        [server], writer=chat_writer(serve_chat(by_prompt={"instruction": "wrong_index"})), samples=3
    )
    assert {outcome.reason for outcome in made} == {"unusable_text"}
    assert all("wrong_index: instruction: expected images 1 to" in outcome.detail for outcome in made)
    assert not server.asked


def test_a_model_that_gives_a_subject_another_s_image_is_asked_again(
    serve, serve_chat, chat_writer, generate
):
    chat = serve_chat(by_prompt={"instruction": "crossed"})
    (made,) = generate([serve()], writer=chat_writer(chat), samples=1, terse=0)
    assert "wrong_index: instruction: expected '" in made.detail


def test_names_and_places_have_no_article_and_no_full_stop(serve, serve_chat, chat_writer, generate):
    chat = serve_chat(by_prompt={"case_plan": "articles"})
    for sample in generate([serve()], writer=chat_writer(chat), samples=3, terse=0):
        for (candidate,) in sample.subjects:
            assert not re.match(r"(?i)(a|the) |.*\.$", candidate.name)


TERSE = {"terse": 1, "ordered": 0, "cases": {"character+character+object": 1}}


def test_a_terse_instruction_is_the_writer_s_and_the_output_is_still_told_all(
    serve, serve_chat, chat_writer, generate
):
    chat, images = serve_chat(), serve()
    samples = generate([images], writer=chat_writer(chat), samples=4, **TERSE)
    assert Counter(asked.prompt for asked in chat.asked) == {"case_plan": 4, "instruction": 4, "terse": 4}
    told = {asked.fields["prompt"] for asked in images.asked if asked.path == "edits"}
    for sample in samples:
        assert sample.provenance.origin["texts"]["terse"]["prompt"] == "terse 1"
        assert not named_images(sample.instruction)
        names = [candidates[0].name for candidates in sample.subjects]
        assert not any(name in sample.instruction for name in names)
        assert any(all(f"the {name}" in prompt for name in names) for prompt in told)


@pytest.mark.parametrize("fault", ["wrong_index", "german", "refusal"])
def test_a_terse_instruction_of_no_use_rejects_and_draws_nothing(
    serve, serve_chat, chat_writer, generate, fault
):
    images = serve()
    chat = serve_chat(by_prompt={"terse": fault})
    (made,) = generate([images], writer=chat_writer(chat), samples=1, **TERSE)
    assert made.reason == "unusable_text"
    assert not images.asked


def test_a_terse_instruction_that_names_a_subject_is_none():
    for text in ("Put the teapot in a garden.", "Combine image 2 in a garden.", "Combine them."):
        with pytest.raises(BadTextError):
            _check_terse(["teapot", "old chef"], "in a garden", {"instruction": text})
    _check_terse(["garden bench", "old chef"], "in a garden", {"instruction": "All in one, in a garden"})


@pytest.mark.parametrize("case", ["character+object+object+scene", "character+character+scene"])
def test_an_order_that_is_planned_is_said_as_planned(serve, serve_chat, chat_writer, generate, case):
    planned = {"cases": {case: 1}, "ordered": 1, "terse": 0, "samples": 12}
    for sample in generate([serve()], writer=chat_writer(serve_chat()), **planned):
        assert re.search(r"\bleft\b", sample.instruction)
    mirrored = serve_chat(by_prompt={"instruction": "mirrored"})
    made = generate([serve()], writer=chat_writer(mirrored, revision="r2"), **planned)
    assert all("wrong_order: instruction: expected " in outcome.detail for outcome in made)


@pytest.mark.parametrize(
    "text",
    [
        "From left to right: the cat of image 1, the dog of image 2 and the owl of image 3.",
        "From right to left: the owl of image 3, the dog of image 2, the cat of image 1.",
        "The cat of image 1 stands left of the dog of image 2, which has the owl of image 3 on its right.",
        "The owl of image 3 stands to the right of the dog of image 2, on whose left is the cat of image 1.",
    ],
)
def test_an_order_may_be_said_in_many_ways(text):
    check_order(text, ["image 1", "image 2", "image 3"])


@pytest.mark.parametrize(
    "text",
    [
        "Put the cat of image 1 beside the dog of image 2 and the owl of image 3.",
        "From left to right: the dog of image 2, the cat of image 1 and the owl of image 3.",
        "From right to left: the cat of image 1, the dog of image 2, the owl of image 3.",
        "The cat of image 1 on the right, the dog of image 2 in the middle, the owl of image 3 on the left.",
    ],
)
def test_no_order_or_another_one_is_refused(text):
    with pytest.raises(BadTextError, match="expected image 1 left of image 2 left of image 3"):
        check_order(text, ["image 1", "image 2", "image 3"])


@pytest.mark.parametrize("fault", ["quotes", "newline", "german", "prose"])
def test_a_plan_with_bad_words_is_asked_for_again(serve, serve_chat, chat_writer, generate, fault):
    (sample,) = generate([serve()], writer=chat_writer(serve_chat(script=[fault])), samples=1)
    (refused,) = sample.provenance.origin["texts"]["plan"]["refused"]
    assert refused["reason"] in ("quotes", "not_one_line", "not_english", "not_json")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"styles": {"snapshot 1": 1}}, "styles: expected names of"),
        ({"writer": {"model": "m", "revision": "r"}}, "writer: expected inputs and output beside it"),
        ({"cases": {"scene+scene+scene": 1}}, "cases: expected names of"),
        ({"cases": {"object+object+scene": 0}}, "expected one above 0"),
        ({"inputs": {"model": "m", "revision": "r"}}, "expected both or neither"),
        (
            {
                "inputs": {"model": "m", "revision": "r", "does": ["edit"]},
                "output": {"model": "m", "revision": "r"},
            },
            "inputs.does: expected generate",
        ),
        (
            {
                "inputs": {"model": "m", "revision": "r"},
                "output": {"model": "m", "revision": "r"},
                "faults": {"copy_paste": 0.1},
            },
            "only the renderer can make them",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        MultiInputConfig(samples=1, **changes)
