"""Prompts: whatever a writer is told, its prompt says what it means."""

import json
import re
from contextlib import closing

import pytest

from composed_samples import PARENTS
from datagen.describe import DescribeConfig
from datagen.multi_input import MultiInputConfig
from datagen.prompts import load_prompts
from shards.ledger import Ledger
from shards.stage import Work
from shards.storage import Storage
from tiny_samples import make_sample

TERSE = {"terse": 1, "ordered": 0, "cases": {"character+character+object": 1}}
SCENES = {"terse": 0, "ordered": 1, "cases": {"object+object+scene": 1}}
PLAIN = {"name"}  # says what it is


def words_of(value):
    """The names of all fields of JSON, but for those of attributes, which are drawn."""
    if isinstance(value, dict):
        told = {name: each for name, each in value.items() if name != "attributes"}
        return {*value, *words_of(list(told.values()))}
    return {w for v in value for w in words_of(v)} if isinstance(value, list) else set()


@pytest.fixture
def told(serve, serve_chat, make, chat_writer, images_api, tmp_path):
    """The names of all facts that writers are told, by prompt."""
    chat, images = serve_chat(), serve()
    make([images], [chat], PARENTS, samples=28)
    ledger = Ledger(Storage(str(tmp_path / "other")))
    api, writer = images_api(images), chat_writer(chat)
    for changes in (TERSE, SCENES):
        config = MultiInputConfig(samples=1, size_px=128, inputs=api, output=api, writer=writer, **changes)
        with closing(config.build(ledger)) as stage:
            stage([Work(key=planned.key, spec=planned.spec) for planned in config.plan()])
    with closing(DescribeConfig(writer=writer).build(ledger)) as stage:
        stage([Work(key="tiny", parents=(make_sample(1),))])
    found = {}
    for asked in chat.asked:
        facts = json.loads(asked.text.rsplit("\n", 1)[1])
        found.setdefault(asked.prompt, set()).update(words_of(facts))
    return found


def test_every_fact_that_a_writer_is_told_is_explained(told):
    assert set(told) == set(load_prompts())
    for prompt, words in told.items():
        text = load_prompts()[prompt].text
        assert not {w for w in words - PLAIN if not re.search(rf"\b{w.removesuffix('s')}s?\b", text)}, prompt
