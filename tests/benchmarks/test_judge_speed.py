"""The served judge's client against a bare load generator, both with 50 ms a request."""

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time

import aiohttp
import pytest

from filters.chat import question_body
from filters.fake_answers import tokenize
from filters.fake_server import MODEL
from filters.judge_step import JudgeConfig
from shards.chat import PATH, image_part
from shards.ledger import Ledger
from shards.stage import Work
from shards.storage import Storage
from tiny_samples import make_sample

LATENCY_S = 0.05
LEAST = 0.95  # of the bare rate, while that is under 200 requests/s; above, the CPU is what bounds both
QUESTIONS = ("consistency", "instruction_following", "image_quality", "copy_paste")


@pytest.fixture(scope="module")
def server():
    """The fake in a process of its own."""
    command = [sys.executable, "-m", "filters.fake_server", "--port", "0", "--latency-s", str(LATENCY_S)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield json.loads(process.stdout.readline())["url"]
    process.kill()
    process.wait()
    process.stdout.close()


def bodies(samples):
    """What a bare generator sends: as many requests, as large."""
    tokens = [tokenize(label)[0] for label in "01234"]
    for sample in samples:
        images = [image_part(image, {}) for image in sample.images.values()]
        for name in QUESTIONS:
            text = f"{name} " * 120
            yield question_body(MODEL, images, text, tokens, request_id="bare", processor={})


async def bare(url, asked, in_flight):
    todo = iter(asked)

    async def consume(http):
        for body in todo:
            async with http.post(url + PATH, data=body) as answer:
                await answer.read()

    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as http:
        await asyncio.gather(*(consume(http) for _ in range(in_flight)))


def judged_s(url, samples, in_flight, ledger):
    engine = {"kind": "served", "model": MODEL, "revision": "r", "endpoints": [url], "in_flight": in_flight}
    stage = JudgeConfig(questions=QUESTIONS, engine=engine).build(Ledger(ledger))
    warm, *rest = [Work(key=sample.key, parents=(sample,)) for sample in samples]
    stage([warm])  # admission, once a run
    began = time.perf_counter()
    stage(rest)
    spent = time.perf_counter() - began
    stage.close()
    return spent / len(rest)


def bare_s(url, samples, in_flight):
    asked = list(bodies(samples[1:]))
    began = time.perf_counter()
    asyncio.run(bare(url, asked, in_flight))
    return (time.perf_counter() - began) / (len(samples) - 1)


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("in_flight", [8, 64])
def test_client_against_a_bare_generator(server, tmp_path, in_flight, capsys):
    rounds, count = 5, 15 * in_flight + 1  # long enough that the last ones in work weigh little
    samples = [make_sample(number) for number in range(count)]
    ratios, rates, cpu = [], [], []
    for number in range(rounds):
        first_s = bare_s(server, samples, in_flight)
        before = cpu_s()
        ours = judged_s(server, samples, in_flight, Storage(str(tmp_path / f"ledger{number}")))
        cpu.append((cpu_s() - before) / (count * len(QUESTIONS)) * 1e3)
        # Before and after: what else the machine does changes from second to second.
        theirs = (first_s + bare_s(server, samples, in_flight)) / 2
        ratios.append(theirs / ours)
        rates.append(len(QUESTIONS) / ours)
    with capsys.disabled():
        print(
            f"\nserved judge, {in_flight} in flight at 50 ms: {statistics.median(ratios):.3f} of a bare "
            f"generator's rate, {statistics.median(rates):.0f} requests/s, {statistics.median(cpu):.2f} ms "
            "CPU a request, commits to the ledger included"
        )
    assert statistics.median(rates) > 200 or statistics.median(ratios) >= LEAST
