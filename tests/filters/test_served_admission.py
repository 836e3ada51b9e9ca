"""Which endpoints a served judge lets in, waits for or refuses, and what it does with their key."""

import logging
import re
import socket
import threading

import pytest
from aiohttp import web

from asked import statuses
from filters.fake_server import MODEL, FakeJudge
from shards.http_client import EndpointError, EndpointsDownError
from shards.ledger import Ledger
from tiny_samples import make_sample


def test_a_server_of_another_model_is_refused_at_start(serve, judge, samples):
    server = serve(model="another")
    with pytest.raises(EndpointError, match=f"expected a server of '{MODEL}', got one of another"):
        judge([server], samples)
    assert not server.asked


def test_a_server_that_changes_its_model_ends_the_step(serve, judge, samples):
    server = serve(script=["", "", "wrong_model"])
    with pytest.raises(EndpointError, match="got one of 'another-model'"):
        judge([server], samples)


def test_labels_of_several_tokens_are_refused_with_the_tokenizers_answer(serve, judge, monkeypatch):
    monkeypatch.setattr("filters.fake_answers.WORDS", ("0", "1", "2", "3", "4", "no"))
    with pytest.raises(EndpointError, match=r"label 'yes': expected one token, got 3: \['y', 'e', 's'\]"):
        judge([serve()], [make_sample(1)], ["presence"])


def test_an_endpoint_whose_probe_differs_is_refused(serve, judge, samples):
    with pytest.raises(EndpointError, match="another revision, dtype or quantization"):
        judge([serve(), serve(shift=0.5)], samples)


def test_a_further_question_lets_no_other_model_in(serve, judge, samples):
    judge([serve()], samples, ["presence"])
    with pytest.raises(EndpointError, match="expected the probe's answer"):
        judge([serve(shift=0.3)], samples, ["presence", "consistency"])


def test_the_probe_is_remembered_from_run_to_run(serve, judge, samples):
    judge([serve()], samples[:3])
    with pytest.raises(EndpointError, match="as first recorded"):
        judge([serve(shift=0.5)], samples)


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ({"missing": ["/health"]}, "got http_404: /health: HTTP 404: Not Found"),
        ({"missing": ["/tokenize"]}, "got http_404: /tokenize: HTTP 404: Not Found"),
        ({"missing": ["/v1/chat/completions"]}, "got http_404: /v1/chat/completions: HTTP 404"),
        ({"always": "400"}, "got http_400: /v1/chat/completions: HTTP 400"),
        ({"always": "no_logprobs"}, "got no_logprobs: expected the labels' logprobs"),
        ({"always": "garbage"}, "got not_json: /v1/chat/completions: expected JSON"),
    ],
)
def test_a_server_of_another_kind_is_told_at_once_and_not_waited_for(serve, judge, samples, behaviour, told):
    good, wrong = serve(), serve(**behaviour)
    for servers in ([wrong], [good, wrong], [wrong, good]):
        with pytest.raises(EndpointError, match=re.escape(f"{wrong.url}: expected the server")) as caught:
            judge(servers, samples, outage_s=600)
        assert told in str(caught.value)
    assert "correct the address, or serve the model there" in str(caught.value)


def test_what_speaks_no_http_is_told_at_once(judge, samples):
    """Its first words are no status line, as of a mail server."""

    def greet(listening):
        with listening.accept()[0] as caller:
            caller.sendall(b"220 mail ready\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=greet, args=[listening])
        thread.start()
        with pytest.raises(EndpointError, match="got no_http"):
            judge([f"http://127.0.0.1:{listening.getsockname()[1]}"], samples, outage_s=600)
        thread.join()


def test_a_slow_start_is_waited_for(serve, judge, samples):
    rows, _ = judge([serve(start_s=1.5)], samples[:2])
    assert statuses(rows) == {"ok"}


def test_work_goes_on_at_the_endpoint_that_lives(serve, judge, samples):
    rows, _ = judge([serve(), "http://127.0.0.1:9"], samples)
    assert statuses(rows) == {"ok"}


def test_all_endpoints_dead_stops_with_each_ones_last_error_and_keeps_what_was_paid(
    serve, judge, samples, ledger_at
):
    server = serve(script=[""] * 21, always="500")
    with pytest.raises(
        EndpointsDownError, match=r"expected one of 1 to answer within 1 s, got none: http://"
    ):
        judge([server], samples, attempts=50, outage_s=1, in_flight=2)
    assert len(Ledger(ledger_at)) == 21


def test_the_key_goes_to_the_server_and_nowhere_else(serve, judge, samples, monkeypatch, caplog, ledger_at):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    server = serve(api_key="sk-very-secret")
    rows, counts = judge([server], samples[:2], api_key_env="JUDGE_KEY")
    assert statuses(rows) == {"ok"}
    told = [caplog.text, repr(rows), repr(counts), repr(server.asked)]
    told += [str(ledger_at.read(name)) for name in ledger_at.names() if name.endswith(".arrow")]
    assert not any("very-secret" in text for text in told)


def test_a_refused_key_is_an_error_that_names_the_variable_and_hides_the_key(
    serve, judge, samples, monkeypatch
):
    monkeypatch.setenv("JUDGE_KEY", "sk-wrong")
    with pytest.raises(EndpointError, match=r"let in with the key in \$JUDGE_KEY") as caught:
        judge([serve(api_key="sk-right")], samples, api_key_env="JUDGE_KEY")
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize("at", [10, 185, 285])
def test_a_server_that_repeats_the_key_puts_it_in_no_message(serve, judge, samples, monkeypatch, at):
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    said = {"note": "." * at + "sk-very-secret"}  # where a message cuts it, too
    answers = {
        "the server that is declared, got no_models": lambda: web.json_response(said),
        "got none: http": lambda: web.Response(text=str(said), status=500),
    }
    for told, send in answers.items():

        async def models(_, request, send=send):
            return send()

        monkeypatch.setattr(FakeJudge, "_models", models)
        with pytest.raises(EndpointError, match=told) as caught:
            judge([serve()], samples[:1], api_key_env="JUDGE_KEY", outage_s=0.2)
        assert "sk-" not in str(caught.value)


def test_an_unset_key_is_named(judge, samples):
    with pytest.raises(EndpointError, match=r"expected a key in \$NO_SUCH_KEY"):
        judge(["http://127.0.0.1:9"], samples, api_key_env="NO_SUCH_KEY")
