"""The served judge against a fake server: what is sent, what is paid once, and what each fault ends in."""

import hashlib
import time

import pytest

from asked import ids, statuses
from filters.chat import read_probabilities, read_text, written_body
from filters.fake_answers import answer_by_hash
from filters.fake_server import MODEL
from filters.judge_step import JudgeConfig
from filters.rationale import schema
from filters.rubrics import pick_questions
from filters.served import ServedEngineConfig
from shards.chat import count_tokens
from shards.http_client import RequestError, ServerWantedError
from shards.ledger import Ledger
from shards.sample import EncodedImage
from shards.stage import Work
from tiny_samples import make_sample, picture


def test_every_question_of_every_sample_is_asked_once(serve, judge, samples):
    server = serve()
    rows, counts = judge([server], samples)
    assert len(rows["consistency"]) == 12
    assert len(rows["presence"]) == 24
    assert statuses(rows) == {"ok"}
    assert len(ids(server)) == len(set(ids(server))) == 36
    assert counts["requests"] == 36
    assert counts["prompt_tokens"] > 36 * 500
    assert counts["completion_tokens"] == 36


def test_probabilities_are_those_of_the_label_tokens(serve, judge):
    sample = make_sample(1)
    server = serve()
    rows, _ = judge([server], [sample], ["presence"])
    digests = [hashlib.sha256(image.data).hexdigest() for image in sample.images.values()]
    prompt = server.asked[-1].prompt
    said = answer_by_hash(prompt, digests)
    expected = said["yes"] / (said["yes"] + said["no"])
    assert rows["presence"][1]["expected"] == pytest.approx(expected, abs=1e-6)


def test_images_come_first_and_the_question_last(serve, judge):
    server = serve()
    judge([server], [make_sample(1)], ["consistency"])
    asked = server.asked[-1]
    assert len(asked.images) == len(set(asked.images)) == 3
    assert asked.prompt.endswith("and nothing else.")


def test_a_schemas_fields_are_sent_in_its_order_as_what_is_written_first_decides():
    body = written_body("m", [], "why?", schema(["yes", "no"]), max_tokens=9, processor={}).decode()
    assert body.index('"reason"') < body.index('"answer"')


def test_the_uuid_is_of_the_bytes_as_sent_and_the_processor_settings(serve, judge):
    server = serve(trusts=True)
    for processor in ({}, {"max_pixels": 4096}):
        judge([server], [make_sample(1)], ["consistency"], processor=processor)
    first, second = ([*asked.images] for asked in server.asked if not asked.id.startswith("probe"))
    assert not set(first) & set(second)


def test_a_large_image_is_sized_once_and_a_small_one_is_sent_as_it_is(serve, judge):
    seen = []

    def answer(prompt, digests):
        seen.append(tuple(digests))
        return answer_by_hash(prompt, digests)

    sample = make_sample(1, target=picture(7, side_px=200))
    judge([serve(answer=answer)], [sample], ["consistency", "copy_paste"], max_pixels=10_000)
    asked = [digests for digests in seen if len(digests) == 3]
    assert len(asked) == 2
    assert len(set(asked)) == 1
    assert asked[0][0] == hashlib.sha256(sample.references[0].data).hexdigest()
    assert asked[0][2] != hashlib.sha256(sample.target.data).hexdigest()


def test_what_is_paid_for_is_never_asked_again(serve, judge, samples):
    server = serve()
    first, _ = judge([server], samples)
    before = len(server.asked)
    again, counts = judge([server], samples)
    assert again == first
    assert len(server.asked) == before
    assert "requests" not in counts


def test_all_paid_needs_no_server(serve, judge, samples):
    server = serve()
    first, _ = judge([server], samples)
    assert judge(["http://127.0.0.1:9"], samples)[0] == first


def test_a_new_question_asks_only_that_question(serve, judge, samples):
    server = serve()
    judge([server], samples, ["consistency"])
    before = len(ids(server))
    judge([server], samples, ["consistency", "copy_paste"])
    assert len(ids(server)) == before + len(samples)


def test_another_key_or_shard_of_the_same_content_pays_nothing(serve, judge):
    server = serve()
    judge([server], [make_sample(3)])
    before = len(server.asked)
    judge([server], [make_sample(3, key="imported-again")])
    assert len(server.asked) == before


def test_another_declared_revision_is_another_judge(serve, judge, samples):
    server = serve()
    judge([server], samples)
    before = len(ids(server))
    judge([server], samples, revision="r2")
    assert len(ids(server)) == 2 * before


def test_all_questions_of_a_sample_go_to_one_endpoint(serve, judge, samples):
    servers = [serve(latency_s=0.01), serve(latency_s=0.01)]
    judge(servers, samples)
    targets = [{asked.images[-1] for asked in s.asked if len(asked.images) > 1} for s in servers]
    assert all(targets)
    assert not targets[0] & targets[1]


@pytest.mark.parametrize("fault", ["429", "500", "reset", "garbage"])
def test_a_fault_that_passes_is_asked_again(serve, judge, samples, fault):
    server = serve(script=["", fault])  # the first is the probe
    rows, counts = judge([server], samples)
    assert statuses(rows) == {"ok"}
    assert counts["retries"] == 1


def test_a_busy_server_is_given_the_time_it_asks_for(serve, judge):
    server = serve(script=["", "429"], retry_after_s=1)
    began = time.monotonic()
    judge([server], [make_sample(1)], ["consistency"])
    assert time.monotonic() - began >= 1


def test_a_hanging_request_is_given_up_and_asked_again(serve, judge):
    server = serve(script=["", "hang"])
    rows, counts = judge([server], [make_sample(1)], ["consistency"], timeout_s=0.5)
    assert statuses(rows) == {"ok"}
    assert counts["retries"] == 1


@pytest.mark.parametrize(
    ("fault", "cause"), [("400", "error: http_400"), ("no_logprobs", "error: no_logprobs")]
)
def test_a_refused_request_is_an_error_row_and_others_are_answered(serve, judge, samples, fault, cause):
    server = serve(by_words={"number 7.": fault})
    rows, counts = judge([server], samples)
    assert [row["key"] for row in rows["consistency"] if row["status"] == "error"] == ["tiny-0007"]
    assert {row["status"] for row in rows["presence"]} == {"ok"}
    assert counts[cause] == 1
    assert counts["unread_samples"] == 1


def test_a_request_that_fails_every_time_is_an_error_row_and_no_outage(serve, judge, samples):
    server = serve(by_words={"number 7.": "500"})
    rows, _ = judge([server], samples)
    assert [row["key"] for row in rows["consistency"] if row["status"] == "error"] == ["tiny-0007"]


def test_an_error_is_not_kept_and_is_asked_again_next_time(serve, judge, samples):
    server = serve(by_words={"number 7.": "400"})
    judge([server], samples)
    server.judge.behaviour.by_words = {}
    before = len(ids(server))
    rows, _ = judge([server], samples)
    assert statuses(rows) == {"ok"}
    assert len(ids(server)) == before + 1


def test_a_prompt_that_does_not_fit_is_truncated_not_a_low_score(serve, judge):
    rows, counts = judge([serve(by_words={"number 1.": "too_long"})], [make_sample(1)], ["consistency"])
    assert rows["consistency"][0]["status"] == "truncated"
    assert rows["consistency"][0]["expected"] is None
    assert counts["truncated: http_400"] == 1


def test_low_label_mass_is_unreadable_and_paid(serve, judge):
    server = serve(by_words={"number 1.": "low_mass"})
    rows, counts = judge([server], [make_sample(1)], ["consistency"])
    assert rows["consistency"][0]["status"] == "unreadable"
    assert rows["consistency"][0]["label_mass"] == pytest.approx(0.05, abs=1e-3)
    assert counts["unreadable"] == 1
    before = len(server.asked)
    judge([server], [make_sample(1)], ["consistency"])
    assert len(server.asked) == before


def test_an_image_that_cannot_be_decoded_is_an_error_row(serve, judge):
    whole = picture(1)
    bad = make_sample(1, target=EncodedImage(whole.data[:60], "png"))
    rows, counts = judge([serve()], [bad, make_sample(2)])
    assert {row["status"] for row in rows["consistency"] if row["key"] == bad.key} == {"error"}
    assert {row["status"] for row in rows["consistency"] if row["key"] != bad.key} == {"ok"}
    assert counts["error: undecodable"] == 3


def test_a_server_that_a_run_starts_is_wanted_for_a_question_and_not_for_an_image_it_cannot_be_sent(
    serve, judge, ledger_at
):
    judge([serve()], [make_sample(2)])
    bad = make_sample(1, target=EncodedImage(picture(1).data[:60], "png"))
    settings = JudgeConfig(questions=("consistency",), engine=ServedEngineConfig(model=MODEL, revision="r1"))
    engine = settings.engine.model_copy(update={"server": "judge", "endpoints": ()})
    stage = settings.model_copy(update={"engine": engine}).build(Ledger(ledger_at))
    try:
        found = stage([Work(key=sample.key, parents=(sample,)) for sample in (bad, make_sample(2))])
        assert [rows.rows["consistency"][0]["status"] for rows in found] == ["error", "ok"]
        with pytest.raises(ServerWantedError, match="judge: expected a running server"):
            stage([Work(key="tiny-0003", parents=(make_sample(3),))])
    finally:
        stage.close()


def test_a_bill_of_no_sense_costs_no_reply():
    assert count_tokens({"usage": {"prompt_tokens": "many", "prompt_tokens_details": [1]}}) == {
        "prompt_tokens": 0,
        "cached_tokens": 0,
        "completion_tokens": 0,
    }


def test_in_flight_is_the_most_a_server_sees(serve, judge, samples):
    server = serve(latency_s=0.02)
    judge([server], samples, in_flight=3)
    assert max(asked.running for asked in server.asked) == 3


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"model": MODEL, "choices": []},
        {"model": MODEL, "choices": [{"logprobs": {"content": []}}]},
        {
            "model": MODEL,
            "choices": [{"logprobs": {"content": [{"top_logprobs": [{"token": "token_id:6"}]}]}}],
        },
        {
            "model": MODEL,
            "choices": [
                {"logprobs": {"content": [{"top_logprobs": [{"token": "token_id:6", "logprob": 7}]}]}}
            ],
        },
    ],
)
def test_an_answer_that_holds_no_probabilities_is_a_named_error(answer):
    with pytest.raises(RequestError, match="logprob"):
        read_probabilities(answer, MODEL, {"yes": 6})


def test_every_shipped_question_is_asked_as_it_is_written(serve, judge):
    names = [question.id for question in pick_questions(["consistency", "candidate_present", "target_shows"])]
    rows, _ = judge([serve()], [make_sample(1)], names)
    assert statuses(rows) == {"ok"}


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_nothing_written_is_no_paid_reply(content):
    with pytest.raises(RequestError, match="expected a message"):
        read_text({"choices": [{"message": {"content": content}}]})
