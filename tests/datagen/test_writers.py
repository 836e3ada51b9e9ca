"""Writers of text: templates, and a chat server with every fault; what is paid once and what is refused."""

import asyncio
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from datagen.chat_writer import ChatWriterConfig
from datagen.fake_chat_server import MODEL
from datagen.instructions import STYLES
from datagen.naming import rests_on_position
from datagen.prompts import check_fields, load_prompts
from datagen.template_writer import TemplateWriterConfig
from datagen.text_checks import (
    BadTextError,
    check_english,
    check_instruction,
    check_line,
    check_phrase,
    check_unlike,
)
from datagen.writers import TextRequest, Written
from shards.chat import UnfinishedError, parse_json
from shards.http_client import EndpointError, EndpointsDownError, JsonClient
from shards.ledger import Ledger
from shards.served_model import WrongModelError
from shards.stage import Reject
from shards.storage import Storage
from tiny_samples import picture

DEAD = "http://127.0.0.1:9"
FACTS = {
    "subjects": [
        {"subject": "the chef", "image": 1, "called": "the first picture"},
        {"subject": "the teapot", "image": 2, "called": "the second picture"},
    ],
    "scene": None,
    "place": "in a garden",
    "ordered": False,
}


def check(fields):
    check_instruction(fields["instruction"], 2, called=["the first picture", "the second picture"])


ASK = TextRequest(prompt="instruction", facts=FACTS, seed=7, check=check)


def refused(written):
    return [entry["reason"] for entry in written.made_by["refused"]]


def test_templates_and_a_model_answer_the_same_request(serve_chat, write):
    (by_model,), _ = write([serve_chat()], [ASK])
    (by_template,) = TemplateWriterConfig().build(Ledger(Storage("/nonexistent"))).write([ASK])
    for written in (by_model, by_template):
        assert isinstance(written, Written)
        assert "the second picture" in written.fields["instruction"].lower()


def test_a_text_comes_with_all_that_made_it(serve_chat, write):
    server = serve_chat()
    (written,), counts = write([server], [ASK], temperature=0.3)
    assert written.made_by["model"] == MODEL
    assert written.made_by["prompt"] == "instruction 2"
    assert written.made_by["seed"] == server.asked[0].seed == 7
    assert written.made_by["temperature"] == 0.3
    assert refused(written) == []
    assert counts["requests"] == 1
    assert counts["prompt_tokens"] == 200


def test_images_are_sent_as_they_are_in_order(serve_chat, write):
    server = serve_chat()
    facts = {"subjects": [{"name": "chef"}, {"name": "teapot"}]}
    images = (picture(1), picture(2))
    write([server], [TextRequest(prompt="identify", facts=facts, images=images, seed=1)])
    assert len(server.asked[0].images) == len(set(server.asked[0].images)) == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("wrong_index", "wrong_index"),
        ("repeats", "repeats"),
        ("prose", "not_json"),
        ("german", "not_english"),
        ("empty", "empty"),
        ("quotes", "quotes"),
        ("newline", "not_one_line"),
        ("missing_field", "wrong_fields"),
        ("long", "too_long"),
        ("cut", "unfinished"),
        ("refusal", "not_json"),
    ],
)
def test_an_answer_of_no_use_is_paid_once_and_asked_again_with_another_seed(serve_chat, write, fault, reason):
    server = serve_chat(script=[fault])
    (written,), counts = write([server], [ASK])
    assert refused(written) == [reason]
    assert written.made_by["seed"] != 7
    assert counts[f"unusable: {reason}"] == 1
    assert write([DEAD], [ASK])[0] == [written]
    assert len({asked.seed for asked in server.asked}) == len(server.asked) == 2


@pytest.mark.parametrize("habit", ["fenced", "thinking", "talkative"])
def test_what_models_put_around_an_answer_where_no_grammar_holds_them_is_passed_over(
    serve_chat, write, habit
):
    server = serve_chat(always=habit)
    (written,), _ = write([server], [ASK])
    assert refused(written) == []
    (plain,), _ = write([serve_chat()], [replace(ASK, seed=8)])
    assert written.fields.keys() == plain.fields.keys()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("<think>It is {1}", UnfinishedError),
        ('```json\n{"a": "b}', UnfinishedError),
        ('{"a": 1} or {"a": 2}', ValueError),
        ("[1]", ValueError),
        ("{" * 5000 + "}" * 5000, ValueError),
    ],
)
def test_an_answer_without_one_json_object_is_refused(said, error):
    with pytest.raises(error):
        parse_json(said)


def test_brackets_in_strings_and_line_ends_are_read():
    assert parse_json('Sure: {"a": "}{\\"", "b": {"c": "x\ny"}}.') == {"a": '}{"', "b": {"c": "x\ny"}}


def test_seeds_are_bounded_and_the_reject_says_what_came(serve_chat, write):
    server = serve_chat(always="prose")
    (rejected,), _ = write([server], [ASK])
    assert isinstance(rejected, Reject)
    assert rejected.reason == "unusable_text"
    assert "instruction: 3 seeds, last not_json: expected JSON, got b'Sure!" in rejected.detail
    assert len(server.asked) == 3


@pytest.mark.parametrize("fault", ["500", "garbage", "429", "no_text"])
def test_what_a_server_fails_once_is_not_paid(serve_chat, write, fault):
    server = serve_chat(script=[fault, fault] if fault == "no_text" else [fault])
    texts, _ = write([server], [ASK])
    if fault == "no_text":
        assert texts[0].reason == "no_text"
        texts, _ = write([server], [ASK], attempts=3)
        texts, _ = write([server], [ASK])
    assert texts[0].made_by["seed"] == 7


def test_a_server_that_hangs_costs_one_timeout_not_the_run(serve_chat, write):
    (written,), _ = write([serve_chat(script=["hang"])], [ASK], timeout_s=0.3)
    assert isinstance(written, Written)


def test_a_refused_text_is_a_reject_with_the_reason(serve_chat, write):
    (rejected,), counts = write([serve_chat(script=["400"])], [ASK])
    assert rejected.reason == "http_400"
    assert counts["error: http_400"] == 1


def test_another_model_and_no_server_at_all_end_the_step(serve_chat, write):
    with pytest.raises(WrongModelError, match="expected a server of 'fake-chat', got one of other"):
        write([serve_chat(model="other")], [ASK])
    with pytest.raises(EndpointsDownError, match="start a server and run again"):
        write([DEAD], [ASK], outage_s=0.2)


def test_several_endpoints_share_the_work_and_more_seeds_ask_nothing_anew(serve_chat, write):
    servers = [serve_chat(latency_s=0.05), serve_chat(latency_s=0.05)]
    asks = [replace(ASK, seed=seed) for seed in range(8)]
    write(servers, asks, in_flight=2)
    assert all(server.asked for server in servers)
    _, counts = write([DEAD], asks, seeds=5, endpoints_at="")
    assert "requests" not in counts


def test_replies_that_come_while_the_disk_is_at_work_are_committed_together(
    serve_chat, chat_writer, tmp_path, monkeypatch
):
    committed = []
    commit = Ledger.commit

    def slow_commit(ledger, replies):
        time.sleep(0.1)
        commit(ledger, replies)
        committed.append(len(replies))

    monkeypatch.setattr(Ledger, "commit", slow_commit)
    ledger = Ledger(Storage(str(tmp_path)))
    with closing(chat_writer(serve_chat(), in_flight=16).build(ledger)) as writer:
        texts = writer.write([replace(ASK, seed=seed) for seed in range(32)])
    assert all(isinstance(text, Written) for text in texts)
    assert sum(committed) == len(ledger) == 32
    assert len(committed) < 16


def test_what_was_answered_before_another_request_ends_the_step_is_committed(
    serve_chat, chat_writer, tmp_path, monkeypatch
):
    """One request is refused for good; the others' answers wait for a slow disk by then."""
    commit = Ledger.commit

    def slow_commit(ledger, replies):
        time.sleep(0.3)
        commit(ledger, replies)

    monkeypatch.setattr(Ledger, "commit", slow_commit)
    ledger = Ledger(Storage(str(tmp_path)))
    server = serve_chat()
    with closing(chat_writer(server, in_flight=16).build(ledger)) as writer:
        ask, first = JsonClient.ask, []

        async def ask_or_refuse(client, url, path, body=None):
            if body is not None and not first:
                first.append(body)
                while len(server.asked) < 15:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)
                raise EndpointError("refused")
            return await ask(client, url, path, body)

        monkeypatch.setattr(JsonClient, "ask", ask_or_refuse)
        with pytest.raises(EndpointError, match="refused"):
            writer.write([replace(ASK, seed=seed) for seed in range(16)])
    assert len(Ledger(Storage(str(tmp_path)))) == len(server.asked) == 15


def test_a_second_caller_is_served_beside_the_first(serve_chat, chat_writer, tmp_path):
    server = serve_chat(latency_s=0.1)
    with closing(chat_writer(server).build(Ledger(Storage(str(tmp_path))))) as writer:
        with ThreadPoolExecutor(2) as callers:
            asks = [[replace(ASK, seed=10 * caller + n) for n in range(6)] for caller in range(2)]
            texts = [text for found in callers.map(writer.write, asks) for text in found]
        assert writer.take_counts()["requests"] == 12
    assert [text.made_by["seed"] for text in texts] == [ask.seed for each in asks for ask in each]


def test_what_two_callers_want_at_once_is_asked_once(serve_chat, chat_writer, tmp_path):
    server = serve_chat(latency_s=0.2)
    with closing(chat_writer(server).build(Ledger(Storage(str(tmp_path))))) as writer:
        with ThreadPoolExecutor(2) as callers:
            asks = [[replace(ASK, seed=n) for n in range(4)]] * 2
            first, second = callers.map(writer.write, asks)
        assert writer.take_counts()["requests"] == 4
    assert first == second


def test_where_and_how_fast_is_in_no_identity():
    one = ChatWriterConfig(model="m", revision="r", endpoints=["http://a:1"], in_flight=2)
    assert one.identity == ChatWriterConfig(model="m", revision="r", timeout_s=9, seeds=9).identity
    assert one.identity != ChatWriterConfig(model="m", revision="r2").identity


@pytest.mark.parametrize("prompt", load_prompts().values(), ids=lambda prompt: prompt.id)
def test_prompts_are_versioned_data_with_a_source_and_facts_last(prompt):
    assert prompt.version >= 1
    assert "wording ours" in prompt.source
    assert json.loads(prompt.filled({"a": "{x}"}).rsplit("\n", 1)[1]) == {"a": "{x}"}
    with pytest.raises(BadTextError):
        check_fields({}, prompt.schema)


@pytest.mark.parametrize(
    "value",
    [[], {"phrases": [{"phrase": "x"}]}, {"phrases": [{"phrase": 1, "cue": "size"}]}, {"phrases": "x"}],
)
def test_an_answer_of_another_shape_is_named(value):
    with pytest.raises(BadTextError, match=r"answer.*expected"):
        check_fields(value, load_prompts()["phrases"].schema)


@pytest.mark.parametrize("prompt", sorted(set(load_prompts()) - {"identify", "locate"}))
def test_a_prompt_asks_for_what_its_texts_are_held_to(prompt):
    with pytest.raises(BadTextError):
        check_line('the "chef"', prompt, 100)
    assert re.search(
        r"\bno quotation marks|without quotation marks", load_prompts()[prompt].text, re.IGNORECASE
    )
    assert "English" in load_prompts()[prompt].text


WRONG_LINES = {
    "empty": " ",
    "not_one_line": "the chef\nand the cup",
    "too_long": f"the {'big ' * 24}fox!",
    "quotes": "the “chef”",
    "not_english": "der Koch und die Tasse auf dem Tisch",
    "no_phrase": "a chef with the cup",
    "no_phrase ": "the chef of image 2",
}


@pytest.mark.parametrize("wrong", WRONG_LINES)
def test_a_phrase_that_cannot_be_used_has_its_reason(wrong):
    with pytest.raises(BadTextError, match="phrase: expected") as told:
        check_phrase(WRONG_LINES[wrong], "phrase")
    assert told.value.reason == wrong.strip()


def test_a_phrase_as_long_as_it_may_be_is_used():
    check_phrase(f"the {'big ' * 23}fox!", "phrase")
    check_line("x" * 100, "phrase", 100)
    with pytest.raises(BadTextError, match="at most 100 letters, got 101"):
        check_line("x" * 101, "phrase", 100)


def test_a_repetition_is_no_text_and_a_short_one_is():
    given = "Write one sentence: put the chef of image 1 on the table of image 2."
    check_unlike("put the chef on the table", given)
    check_unlike("the chef of image 1", given)
    with pytest.raises(BadTextError) as told:
        check_unlike("Put the CHEF of image 1, on the table", given)
    assert told.value.reason == "repeats"


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_held_by_its_check(style):
    first, second = (STYLES[style](n) for n in (1, 2))
    text = f"Put the chef from {first} beside the cup of {second}."
    check_instruction(text, 2, called=[first, second])
    with pytest.raises(BadTextError, match="expected images 1 to 1"):
        check_instruction(text, 1)
    with pytest.raises(BadTextError, match="in it"):
        check_instruction(f"Put the chef from {first} there.", 2, called=[first, second])


@pytest.mark.parametrize(
    "text", ["厨师在花园里的图片", "Mets le chef avec la tasse dans le jardin", "\ud800 the"]
)
def test_other_languages_are_told(text):
    with pytest.raises(BadTextError):
        check_phrase(f"the {text}", "phrase")


def test_english_with_foreign_words_passes():
    check_english("Put the piñata from image 1 beside the café table, under a blue sky.", "instruction")


def test_a_position_with_another_cue_does_not_rest_on_it():
    assert rests_on_position("the person on the far left of the image", ["chef"])
    assert not rests_on_position("the taller chef on the left", ["chef"])
