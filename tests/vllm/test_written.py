"""What a real vLLM of random weights writes: JSON after our schemas, by seeds, with images."""

import re
from contextlib import closing

import pytest

from datagen.chat_writer import ChatWriterConfig
from datagen.writers import TextRequest, Written
from filters.judge import make_requests, request_bytes
from filters.judge_step import pay
from filters.rationale import ask_in_words
from filters.rubrics import pick_questions
from filters.served import ServedEngineConfig
from shards.ledger import Ledger, request_hash
from shards.storage import Storage
from tiny_samples import make_sample, picture

pytestmark = pytest.mark.vllm


@pytest.fixture
def write(vllm, tmp_path):
    """Writes with one ledger, from the server or from elsewhere."""

    def write(*requests, url=vllm.url):
        config = ChatWriterConfig(
            model=vllm.model,
            revision="random",
            endpoints=(url,),
            dtype="float32",
            max_tokens=4000,
            seeds=1,
            outage_s=1,
        )
        with closing(config.build(Ledger(Storage(str(tmp_path))))) as writer:
            return writer.write(requests)

    return write


def ask(prompt, seed, *images):
    return TextRequest(prompt=prompt, facts={"instruction": "Put the cup there."}, images=images, seed=seed)


@pytest.mark.parametrize("prompt", ["instruction", "identify"])
def test_an_answer_keeps_to_its_schema(write, prompt):
    (answer,) = write(ask(prompt, 1, picture(1), picture(2)))
    assert isinstance(answer, Written), answer


def test_a_seed_repeats_and_another_one_does_not(write, tmp_path):
    first, second = write(ask("instruction", 1), ask("instruction", 2))
    assert first.fields != second.fields
    assert write(ask("instruction", 1), ask("instruction", 2), url="http://127.0.0.1:9") == [first, second]


def test_a_judge_writes_its_reason_down(vllm, tmp_path):
    engine = ServedEngineConfig(model=vllm.model, revision="random", endpoints=(vllm.url,), dtype="float32")
    questions, sample = pick_questions(["consistency"]), make_sample(1)
    requests = [ask_in_words(request) for request in make_requests(sample, questions, engine.identity)]
    asked = {request_hash(request_bytes(request)): request for request in requests}
    ledger = Ledger(Storage(str(tmp_path)))
    with closing(engine.build(questions, ledger)) as judge:
        replies = pay(judge, ledger, [(sample, asked)])  # the probe's among them
    (reply,) = (replies[address] for address in asked)
    # So many random tokens rarely end a reason, but it is what comes first: what is written first decides.
    assert re.match(rb'\{"reason": ?"', reply), reply
