"""What an endpoint must answer before it judges, asked of one that answers anything."""

import asyncio
import json
import math

import pytest

from filters.admission import PROBE_LABELS, Admission
from filters.rubrics import load_questions
from shards.http_client import EndpointError, RequestError

QUESTION = load_questions()["consistency"]
LABELS = [*PROBE_LABELS, *QUESTION.labels]
YES = 0.8


def endpoint(tokens=(), yes=YES, model="judge"):
    """How a server answers; `tokens` are those of some labels, of others they are 100 and on."""
    known = dict(zip(LABELS, range(100, 200), strict=False)) | dict(tokens)

    async def ask(path, body=None):
        if path == "/v1/models":
            return {"data": [{"id": "other"}, {"id": model}]}
        if path == "/tokenize":
            return {"tokens": [known[json.loads(body)["prompt"]]]}
        return {} if path == "/health" else answer({known["yes"]: yes, known["no"]: 1 - yes})

    return ask


def answer(shares):
    """A served answer with the shares of some tokens."""
    listed = [{"token": f"token_id:{number}", "logprob": math.log(p)} for number, p in shares.items()]
    return {"model": "judge", "choices": [{"logprobs": {"content": [{"top_logprobs": listed}]}}]}


def admit(*asks, known=None):
    admission = Admission("judge", {"model": "judge"}, [QUESTION], {}, known)
    for number, ask in enumerate(asks):
        asyncio.run(admission(f"http://{number}", ask))
    return admission


def test_one_that_answers_as_the_first_one_did_is_admitted():
    admission = admit(endpoint(), endpoint(yes=YES + 0.04))
    assert admission.tokens == dict(zip(LABELS, range(100, 200), strict=False))
    assert json.loads(admission.probe) == pytest.approx({"yes": YES, "no": 1 - YES})


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (endpoint({"0": 999}), r"http://1: expected label tokens .* as at the other endpoints, .*'0': 999"),
        (endpoint(yes=YES - 0.06), r"http://1: expected the probe's answer .*0\.8.* as first recorded"),
        (endpoint(model="judge-2"), r"expected a server of 'judge', got one of other, judge-2"),
    ],
)
def test_one_that_is_another_judge_than_the_first_is_refused(second, told):
    with pytest.raises(EndpointError, match=told):
        admit(endpoint(), second)


def test_labels_that_share_a_token_could_not_be_told_apart():
    with pytest.raises(EndpointError, match="http://0: expected a token of its own for each label, got"):
        admit(endpoint({"0": 102, "1": 102}))


@pytest.mark.parametrize("tokens", [[], "none", {"tokens": None}, {"tokens": ["a"]}, {"count": 3}], ids=repr)
def test_a_tokenizer_that_answers_something_else_is_not_ready(tokens):
    async def ask(path, body=None):
        return tokens if path == "/tokenize" else await endpoint()(path, body)

    with pytest.raises(RequestError, match="/tokenize: expected tokens, got"):
        admit(ask)


@pytest.mark.parametrize(
    "models", [[], {"data": None}, {"data": [3]}, {"data": [{"name": "judge"}]}], ids=repr
)
def test_a_list_of_models_that_is_none_is_not_ready(models):
    async def ask(path, body=None):
        return models if path == "/v1/models" else await endpoint()(path, body)

    with pytest.raises(RequestError, match="/v1/models: expected a list, got"):
        admit(ask)


def test_an_answer_recorded_by_an_earlier_run_counts_as_the_first():
    recorded = json.dumps({"yes": 0.3, "no": 0.7}).encode()
    with pytest.raises(EndpointError, match=r"as first recorded, got \{'yes': 0\.8, 'no': 0\.2\}"):
        admit(endpoint(), known=recorded)
    assert admit(endpoint(yes=0.33), known=recorded).probe == recorded


def test_one_that_breaks_off_at_its_probe_leaves_nothing_to_be_held_against_the_next():
    async def breaks_off(path, body=None):
        if path not in ("/health", "/v1/models", "/tokenize"):
            raise RequestError("reset", "connection reset")
        return await endpoint({"0": 999})(path, body)

    admission = Admission("judge", {"model": "judge"}, [QUESTION], {}, None)
    with pytest.raises(RequestError, match="connection reset"):
        asyncio.run(admission("http://0", breaks_off))
    asyncio.run(admission("http://0", endpoint()))
    assert admission.tokens == dict(zip(LABELS, range(100, 200), strict=False))
