"""A judge that asks a fake server about them."""

import pytest

from filters.fake_server import MODEL, Behaviour, FakeServer
from filters.judge_step import JudgeConfig
from serving import starting
from shards.ledger import Ledger
from shards.stage import Work
from shards.storage import Storage
from tiny_samples import make_sample

QUICK = {"in_flight": 4, "timeout_s": 5, "attempts": 3, "outage_s": 5, "samples_at_once": 64}


@pytest.fixture
def samples():
    return [make_sample(number) for number in range(12)]


@pytest.fixture
def ledger_at(tmp_path):
    return Storage(str(tmp_path / "ledger"))


@pytest.fixture
def serve():
    """Starts fake servers that end with the test."""
    with starting(FakeServer, Behaviour) as start:
        yield start


@pytest.fixture
def judge(ledger_at):
    """Judges samples at servers: rows by question, and what was counted."""

    def run(servers, samples, questions=("consistency", "presence"), **engine):
        engine = {
            "kind": "served",
            "model": MODEL,
            "revision": "r1",
            "endpoints": [getattr(server, "url", server) for server in servers],
            **QUICK,
            **engine,
        }
        stage = JudgeConfig(questions=questions, engine=engine).build(Ledger(ledger_at))
        try:
            outcomes = stage([Work(key=sample.key, parents=(sample,)) for sample in samples])
            counts = stage.take_counts()
        finally:
            stage.close()
        rows = {name: [row for o in outcomes for row in o.rows[name]] for name in questions}
        return rows, counts

    return run
