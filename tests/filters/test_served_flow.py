"""The served judge's flow: who is asked first, and that no server waits for a worker to come back."""

import threading
from contextlib import closing

import pytest

from filters.fake_server import MODEL, Behaviour, FakeServer
from filters.judge_step import JudgeConfig
from inline_run import run_inline
from shards.http_client import EndpointsDownError
from shards.ledger import Ledger
from shards.local_executor import LocalExecutor
from shards.server import publish_url
from shards.stage import Planned, Stage, Work
from shards.storage import Storage
from shards.worker_step import WorkerStep
from tiny_samples import make_sample


def config(*servers, questions=("consistency",), **engine):
    served = {
        "kind": "served",
        "model": MODEL,
        "revision": "r1",
        "endpoints": [getattr(server, "url", server) for server in servers],
        "in_flight": 4,
        "attempts": 1,
        "outage_s": 0.5,
    }
    return JudgeConfig(questions=questions, engine=served | engine, tolerate_unreadable=1)


class Scenes(WorkerStep):
    """A dozen samples that can be told by their instruction."""

    @property
    def batch_size(self):
        return 12

    def plan(self, rows):
        return (Planned(key=f"tiny-{number:04d}", spec={"number": number}) for number in range(12))

    def build(self, ledger):
        return Scene()


class Scene(Stage):
    def __call__(self, batch):
        return [
            make_sample(work.spec["number"], instruction=f"scene {work.spec['number']:02d}") for work in batch
        ]


def work(samples):
    return [Work(key=sample.key, parents=(sample,)) for sample in samples]


def instructions(server):
    return [asked.prompt for asked in server.asked if asked.id and not asked.id.startswith("probe")]


class Caller(threading.Thread):
    """Has a batch judged in a thread of its own."""

    def __init__(self, stage, samples):
        super().__init__(daemon=True)
        self._stage, self._samples = stage, samples
        self.outcomes, self.error = None, None
        self.start()

    def run(self):
        try:
            self.outcomes = self._stage(work(self._samples))
        except EndpointsDownError as error:
            self.error = error


def test_while_one_slice_waits_for_an_answer_the_slices_after_it_are_asked(serve, tmp_path):
    server = serve(by_words={"scene 00": "hang"})
    settings = config(server, questions=("consistency", "copy_paste"), samples_at_once=2, timeout_s=4)
    scenes = run_inline(tmp_path, Scenes(), shard_size=12)
    with closing(LocalExecutor(1)) as one:
        judged = run_inline(
            tmp_path,
            settings,
            name="judged",
            kind="scores",
            inputs=[scenes.storage],
            shard_size=12,
            opens=False,
            executor=one,
            slice_size=2,
        )
    assert judged.manifest.books.made == 12
    asked = instructions(server)
    assert len(asked) == 24
    assert "scene 00" in asked[-1]  # its second question; all others were asked before its first was given up


def test_what_came_first_is_asked_first(serve, tmp_path):
    server = serve(latency_s=0.02)
    stage = config(server, in_flight=1).build(Ledger(Storage(str(tmp_path))))
    first = Caller(stage, [make_sample(n, instruction="of the first") for n in range(12)])
    while not instructions(server):
        first.join(0.01)
    second = Caller(stage, [make_sample(n, instruction="of the second") for n in range(12, 24)])
    for caller in (first, second):
        caller.join()
        assert len(caller.outcomes) == 12
    stage.close()
    asked = ["second" in prompt for prompt in instructions(server)]
    assert len(asked) == 24
    assert not any(asked[:12])


def test_servers_that_come_later_are_kept_as_busy_as_the_first(serve, tmp_path):
    servers = [serve(latency_s=0.05) for _ in range(3)]
    folder = Storage(str(tmp_path / "servers"))
    for number, server in enumerate(servers[1:]):
        publish_url(folder, "judge", number, server.url)
    settings = config(servers[0], in_flight=8, server="judge", endpoints_at=folder.uri, outage_s=5)
    stage = settings.build(Ledger(Storage(str(tmp_path / "ledger"))))
    stage(work([make_sample(number) for number in range(96)]))
    stage.close()
    assert [max(asked.running for asked in server.asked) for server in servers] == [8, 8, 8]


def test_an_outage_ends_every_caller(tmp_path):
    stage = config("http://127.0.0.1:9").build(Ledger(Storage(str(tmp_path))))
    callers = [Caller(stage, [make_sample(number)]) for number in range(2)]
    for caller in callers:
        caller.join(30)
        assert isinstance(caller.error, EndpointsDownError)
    stage.close()


def test_after_an_outage_the_next_caller_is_told_too(tmp_path):
    stage = config("http://127.0.0.1:9").build(Ledger(Storage(str(tmp_path))))
    for first in (0, 40):
        caller = Caller(stage, [make_sample(number) for number in range(first, first + 40)])
        caller.join(30)
        assert isinstance(caller.error, EndpointsDownError)
    stage.close()


def test_counts_of_two_callers_add_up(serve, tmp_path):
    server = serve(latency_s=0.01)
    stage = config(server).build(Ledger(Storage(str(tmp_path))))
    callers = [Caller(stage, [make_sample(n) for n in range(k * 20, k * 20 + 20)]) for k in range(2)]
    total = 0
    while any(caller.is_alive() for caller in callers):
        total += stage.take_counts().get("requests", 0)
    total += stage.take_counts().get("requests", 0)
    stage.close()
    assert total == 40


@pytest.mark.parametrize("count", [0, 1])
def test_a_caller_that_asks_nothing_gets_nothing(serve, tmp_path, count):
    server = serve()
    stage = config(server).build(Ledger(Storage(str(tmp_path))))
    assert len(stage(work([make_sample(n) for n in range(count)]))) == count
    assert len(instructions(server)) == count
    stage.close()


def test_what_two_slices_want_at_once_is_asked_once(serve, tmp_path):
    server = serve(latency_s=0.2)
    stage = config(server, in_flight=16).build(Ledger(Storage(str(tmp_path))))
    batches = [[make_sample(n, key=f"{k}-{n}") for n in range(k, k + 8)] for k in (0, 4)]
    callers = [Caller(stage, batch) for batch in batches]
    for caller in callers:
        caller.join()
    stage.close()
    assert len(instructions(server)) == 12
    first, second = ([o.rows["consistency"][0] for o in caller.outcomes] for caller in callers)
    assert [row["probabilities"] for row in first[4:]] == [row["probabilities"] for row in second[:4]]


def test_what_one_slice_got_no_reply_to_the_other_asks_itself(serve, tmp_path):
    server = serve(latency_s=0.2, script=["", "400"])
    stage = config(server).build(Ledger(Storage(str(tmp_path))))
    callers = [Caller(stage, [make_sample(1, key=f"tiny-{k}")]) for k in range(2)]
    for caller in callers:
        caller.join()
    stage.close()
    statuses = [caller.outcomes[0].rows["consistency"][0]["status"] for caller in callers]
    assert sorted(statuses) == ["error", "ok"]
    assert len(instructions(server)) == 2


def test_mixed_faults_and_a_server_that_dies_and_comes_back_lose_nothing_and_pay_nothing_twice(
    serve, tmp_path
):
    """What was in flight where a server died may have been answered, and is asked again."""
    faults = ["", "429", "", "500", "", "", "reset", "", "garbage", "", "", ""]
    steady = serve(latency_s=0.01, script=["", *faults * 30])
    dying = FakeServer(Behaviour(latency_s=0.01, script=["", *faults * 5])).__enter__()
    settings = config(steady, dying, questions=("consistency", "presence"), attempts=8, outage_s=30)
    ledger = Storage(str(tmp_path / "ledger"))
    stage = settings.build(Ledger(ledger))
    halves = [[make_sample(number) for number in range(k, k + 100)] for k in (0, 100)]
    callers = [Caller(stage, half) for half in halves]
    while len(dying.asked) < 40:
        callers[0].join(0.01)
    dying.__exit__()
    back = FakeServer(Behaviour(latency_s=0.01, start_s=0.3), port=int(dying.url.rpartition(":")[2]))
    with back:
        for caller in callers:
            caller.join()
        counts = stage.take_counts()
        stage.close()
    rows = [row for c in callers for o in c.outcomes for found in o.rows.values() for row in found]
    assert [row["status"] for row in rows] == ["ok"] * 600
    assert len(Ledger(ledger)) == 600 + 1
    servers = (steady, dying, back)
    answered = [asked.id for server in servers for asked in server.asked if not asked.fault]
    paid = [request for request in answered if not request.startswith("probe")]
    assert len(set(paid)) == 600
    assert len(paid) <= 600 + settings.engine.in_flight
    assert counts["requests"] == 600 + counts["retries"]
    assert back.asked, "the server that came back was not asked again"
