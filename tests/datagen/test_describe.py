"""Describing: names and kinds where a set has none; nothing else of a sample changes."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from datagen.describe import DescribeConfig
from shards.ledger import Ledger
from shards.sample import Candidate, Sample
from shards.stage import Reject, Work
from shards.storage import Storage
from tiny_samples import make_sample

FOX = Candidate(name="fox", category="Animals & Nature", box=(1, 2, 3, 4))
CUP = Candidate(name="cup", category="object")
BEACH = Candidate(name="beach", category="scene")


@pytest.fixture
def describe(tmp_path, chat_writer):
    def run(chats, samples):
        writer = chat_writer(*chats) if chats else None
        stage = DescribeConfig(writer=writer).build(Ledger(Storage(str(tmp_path / "ledger"))))
        try:
            return stage([Work(key=sample.key, parents=(sample,)) for sample in samples])
        finally:
            stage.close()

    return run


def test_a_model_names_what_a_set_does_not(serve_chat, describe):
    chat = serve_chat()
    before = [make_sample(n, subjects=((), (Candidate(name="thing"),))) for n in range(5)]
    for sample, old in zip(describe([chat], before), before, strict=True):
        assert [c[0].category for c in sample.subjects] == ["character", "object"]
        assert all(c[0].phrase == f"the {c[0].name}" for c in sample.subjects)
        assert sample.provenance.case == "character+object"
        assert sample.provenance.origin["described"]["made_by"]["model"] == "fake-chat"
        assert (sample.key, sample.images, sample.instruction) == (old.key, old.images, old.instruction)
    assert Counter(asked.prompt for asked in chat.asked) == {"extract": 5}
    assert all(len(asked.images) == 2 for asked in chat.asked)


def test_a_name_has_no_article_and_no_full_stop(serve_chat, describe):
    (sample,) = describe([serve_chat(always="articles")], [make_sample(1)])
    assert all(re.fullmatch(r"\w+ thing", c[0].name) for c in sample.subjects)
    assert all(c[0].phrase == f"the {c[0].name}" for c in sample.subjects)


def test_what_says_all_of_itself_costs_nothing(serve_chat, describe):
    chat = serve_chat()
    (sample,) = describe([chat], [make_sample(1, references=3, subjects=((BEACH,), (CUP,), (FOX,)))])
    assert sample.provenance.case == "character+object+scene"
    assert sample.subjects == ((BEACH,), (CUP,), (FOX,))
    assert not chat.asked


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("nobody", "no_subject"), ("german", "unusable_text"), ("newline", "unusable_text")],
)
def test_a_picture_without_a_nameable_subject_is_a_reject(serve_chat, describe, fault, reason):
    (outcome,) = describe([serve_chat(always=fault)], [make_sample(1)])
    assert isinstance(outcome, Reject)
    assert outcome.reason == reason


def test_without_a_model_a_case_of_one_kind_and_names_are_enough(describe):
    named = make_sample(1, subjects=((Candidate(name="cup"),), (Candidate(name="pen"),)))
    told = replace(named, provenance=replace(named.provenance, case="object+object"))
    samples = describe([], [told, named])
    assert isinstance(samples[0], Sample)
    assert samples[0].provenance.case == "object+object"
    assert samples[1].reason == "no_subject"


def test_paid_descriptions_need_no_server(serve_chat, describe):
    first = describe([serve_chat()], [make_sample(1)])
    assert describe(["http://127.0.0.1:9"], [make_sample(1)]) == first
