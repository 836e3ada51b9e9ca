"""Samples: what survives the round trip through JSON, and what is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_stage import fake_sample
from shards.sample import (
    MAX_JSON_BYTES,
    Candidate,
    EncodedImage,
    Provenance,
    Sample,
    SampleError,
    canonical_json,
    check_key,
    parse_sample,
    sample_json,
)

words = st.text(st.characters(codec="utf-8"), max_size=20)
candidates = st.builds(
    Candidate,
    name=words,
    category=words,
    phrase=words,
    is_target=st.booleans(),
    box=st.none() | st.tuples(*[st.integers(-(1 << 40), 1 << 40)] * 4),
)
scalars = st.none() | st.booleans() | st.integers() | words | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars, lambda each: st.lists(each, max_size=3) | st.dictionaries(words, each, max_size=3)
)
anything = st.recursive(
    scalars | st.floats() | st.just("\ud800"),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(words, each, max_size=4),
)
provenances = st.builds(
    Provenance,
    source=words,
    licence=words,
    task=words,
    case=words,
    parents=st.lists(words, max_size=3).map(tuple),
    origin=st.dictionaries(words, values, max_size=3),
    truth=st.dictionaries(words, values, max_size=3),
)
images = st.builds(EncodedImage, st.binary(max_size=8), st.sampled_from(["jpg", "jpeg", "png", "webp"]))


@st.composite
def samples(draw):
    references = draw(st.lists(images, min_size=1, max_size=4))
    subjects = draw(st.lists(st.lists(candidates, max_size=3).map(tuple), min_size=len(references)))
    return Sample(
        key=draw(st.from_regex(r"[a-z0-9_-]{1,80}", fullmatch=True)),
        instruction=draw(words.filter(str.strip)),
        references=tuple(references),
        target=draw(images),
        subjects=tuple(subjects[: len(references)]),
        provenance=draw(provenances),
    )


@given(samples())
def test_a_sample_comes_back_as_it_was_written(sample):
    text = sample_json(sample)
    assert parse_sample(sample.key, sample.images, text) == sample
    assert sample_json(parse_sample(sample.key, sample.images, text)) == text


MEMBERS = fake_sample().images


@given(anything)
def test_any_json_is_a_sample_or_a_sample_error(value):
    parse_or_refuse(json.dumps(value).encode())


@given(st.sampled_from(["instruction", "subjects", "provenance"]), anything)
def test_any_value_in_a_samples_place_is_a_sample_or_a_sample_error(name, value):
    entry = json.loads(sample_json(fake_sample()))
    parse_or_refuse(json.dumps(entry | {name: value}).encode())


@given(st.sampled_from(["name", "category", "phrase", "is_target", "box"]), anything)
def test_any_value_in_a_candidates_place_is_a_sample_or_a_sample_error(name, value):
    entry = json.loads(sample_json(fake_sample()))
    entry["subjects"][0][0][name] = value
    parse_or_refuse(json.dumps(entry).encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_a_sample_or_a_sample_error(text):
    parse_or_refuse(text)


def parse_or_refuse(text):
    try:
        sample = parse_sample("fake", MEMBERS, text)
    except SampleError as error:
        assert "sample fake" in str(error)
        assert len(str(error)) < 600
    else:
        assert parse_sample("fake", MEMBERS, sample_json(sample)) == sample


HOSTILE_JSON = {
    "nan": (b'{"instruction": NaN}', "finite"),
    "infinity": (b'{"instruction": -Infinity}', "finite"),
    "overflows to infinity": (b'{"instruction": 1e999}', "finite"),
    "deep list": (b"[" * 100_000, "deep"),
    "deep object": (b'{"a":' * 70 + b"1" + b"}" * 70, "deep"),
    "huge": (b'"' + b"a" * MAX_JSON_BYTES + b'"', "at most"),
    "huge number": (b"1" * 5000, "4300"),
    "not utf-8": (b'{"instruction": "caf\xe9"}', "UTF-8"),
    "utf-16": ('{"instruction": "a"}'.encode("utf-16"), "UTF-8"),
    "half a surrogate": (rb'{"instruction": "\ud800"}', "surrogate"),
    "half a surrogate as a name": (rb'{"\udfff": 1}', "surrogate"),
    "cut off": (b'{"instruction": "a', "expected JSON"),
    "empty": (b"", "expected JSON"),
    "no object": (b"3", "expected an object"),
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json_is_refused_in_words(name):
    text, words = HOSTILE_JSON[name]
    with pytest.raises(SampleError, match=words):
        parse_sample("fake", MEMBERS, text)


def test_a_pair_of_surrogates_is_a_character():
    text = sample_json(fake_sample()).replace("café".encode(), rb"\ud83e\udd8a")
    assert "🦊" in parse_sample("fake", MEMBERS, text).instruction


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "a.b"}, "first dot"),
        ({"key": ""}, "1 to 80"),
        ({"key": "A"}, "a-z"),
        ({"key": "a\n"}, "a-z"),
        ({"key": "a" * 81}, "1 to 80"),
        ({"instruction": " \n"}, "expected words"),
        ({"references": (), "subjects": ()}, "at least one"),
        ({"subjects": ()}, "one list per reference"),
    ],
)
def test_a_sample_that_breaks_the_format_cannot_be_made(changes, words):
    with pytest.raises(SampleError, match=words):
        replace(fake_sample(references=1), **changes)


@pytest.mark.parametrize("extension", ["gif", "JPG", "", "json", "tar"])
def test_an_image_of_another_type_cannot_be_made(extension):
    with pytest.raises(SampleError, match="jpg, jpeg, png, webp"):
        EncodedImage(b"", extension)


@pytest.mark.parametrize(
    "names",
    [["target"], ["ref0"], ["ref0", "ref2", "target"], ["ref0", "mask", "target"], ["ref00", "target"]],
)
def test_members_must_be_references_without_a_gap_and_a_target(names):
    image = EncodedImage(b"x", "png")
    with pytest.raises(SampleError, match="expected"):
        parse_sample("fake", dict.fromkeys(names, image), sample_json(fake_sample(references=1)))


def test_json_has_one_form_and_no_nan():
    assert canonical_json({"b": 1, "a": {"d": 2, "c": 3}}) == canonical_json({"a": {"c": 3, "d": 2}, "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


@given(st.text())
def test_a_key_that_passes_is_one_that_webdataset_keeps_whole(key):
    try:
        check_key(key)
    except SampleError:
        return
    from webdataset.tariterators import base_plus_ext

    assert base_plus_ext(f"{key}.ref0.jpg") == (key, "ref0.jpg")
