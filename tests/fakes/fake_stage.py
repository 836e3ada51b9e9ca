"""A stage with behaviour: tiny real samples from (seed, key), and every way in which a stage can go wrong."""

import hashlib
import io
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from shards.plan import Refused
from shards.sample import Candidate, EncodedImage, Provenance, Sample
from shards.settings import RUN
from shards.stage import Planned, Reject, Scores, Stage, content_key, keyed_random
from shards.worker_step import WorkerStep

ALWAYS = 1 << 30


class FakeConfig(WorkerStep):
    """Settings of the fake stage; what goes wrong, and how slowly it runs, is a `run` setting.

    Attributes:
        count: samples that its plan names; with an input it plans one for each row.
        makes: samples, or scores of its input.
        log: a file; each key that is made is appended to it, with the process and the time.
        deaths: how often a key kills its worker; `ALWAYS` is without end.
        deaths_in_build: how often building the stage kills the worker.
        counters: a folder that counts deaths.
        silent: keys about which a scorer has nothing to ask.
        unanswered: keys that no server answers; what is asked is counted only where this is set.
        tolerate: how many of those the step tolerates.
    """

    VERSION: ClassVar[int] = 1

    seed: int = 0
    count: int = 12
    side_px: int = 16
    makes: Literal["samples", "scores"] = "samples"
    refuse: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    batch: int = Field(default=1, **RUN)
    sleep_s: float = Field(default=0, **RUN)
    work_s: float = Field(default=0, **RUN)
    log: str = Field(default="", **RUN)
    counters: str = Field(default="", **RUN)
    deaths: dict[str, int] = Field(default_factory=dict, **RUN)
    deaths_in_build: int = Field(default=0, **RUN)
    exits: bool = Field(default=False, **RUN)
    raise_on: tuple[str, ...] = Field(default=(), **RUN)
    lose: tuple[str, ...] = Field(default=(), **RUN)
    rename: tuple[str, ...] = Field(default=(), **RUN)
    damage: tuple[str, ...] = Field(default=(), **RUN)
    silent: tuple[str, ...] = Field(default=(), **RUN)
    unanswered: tuple[str, ...] | None = Field(default=None, **RUN)
    tolerate: int = Field(default=0, **RUN)

    @property
    def batch_size(self):
        return self.batch

    @property
    def keys(self):
        return [fake_key(number) for number in range(self.count)]

    def plan(self, rows: Iterable) -> Iterator:
        rows = list(rows)
        for origin in self.refuse:
            yield Refused(origin=origin, reason="unreadable", detail="the test says so")
        if rows:
            yield from (Planned(key=row.key, parents=(row,)) for row in rows)
        else:
            yield from (Planned(key=key, spec={"number": n}) for n, key in enumerate(self.keys))

    def check_counts(self, counts, planned):
        if self.asks_again(counts, planned):
            raise RuntimeError(f"{counts['unanswered']} of {planned} unanswered; run again")

    def asks_again(self, counts, planned):
        return counts.get("unanswered", 0) > self.tolerate

    def build(self, ledger):
        if self.deaths_in_build and count_up(self.counters, "build") <= self.deaths_in_build:
            end_process(self.exits)
        return FakeStage(self)


class FakeStage(Stage):
    def __init__(self, config):
        self._config = config
        self._counts = Counter()

    def __call__(self, batch):
        return [self._outcome(work) for work in batch if work.key not in self._config.lose]

    def take_counts(self):
        counts, self._counts = dict(self._counts), Counter()
        return counts

    def _outcome(self, work):
        config, key = self._config, work.key
        if key in config.deaths and count_up(config.counters, key) <= config.deaths[key]:
            end_process(config.exits)
        if key in config.raise_on:
            raise RuntimeError(f"{key}: the program is wrong")
        time.sleep(config.sleep_s)
        burn(config.work_s)
        log_made(config.log, key)
        if config.unanswered is not None:
            self._counts["asked"] += 1
            if key in config.unanswered:
                self._counts["unanswered"] += 1
                return Reject(reason="timeout", detail="the test says so")
        if key in config.reject:
            return Reject(reason="not_wanted", detail="the test says so")
        if config.makes == "scores" and key in config.silent:
            return Scores(rows={"each": []})
        if config.makes == "scores":
            return fake_scores(config.seed, work)
        sample = fake_sample(config.seed, key, config.side_px)
        if key in config.rename:
            return fake_sample(config.seed, "another", config.side_px)
        if key in config.damage:
            broken = EncodedImage(b"no picture", "png")
            return Sample(**(vars(sample) | {"target": broken}))
        return sample


def fake_key(number):
    return content_key("fake", number)


def fake_image(seed, key, name, side_px):
    """A small real picture: PNG where its hash is even, otherwise JPEG."""
    draw = np.random.default_rng(keyed_random(seed, key, name).randrange(1 << 62))
    pixels = draw.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    is_png = hashlib.sha256(f"{key}{name}".encode()).digest()[0] % 2 == 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG" if is_png else "JPEG")
    return EncodedImage(file.getvalue(), "png" if is_png else "jpg")


def fake_sample(seed=0, key="fake", side_px=16, references=None):
    """A complete sample; one to three references."""
    number = references or keyed_random(seed, key).randrange(1, 4)
    return Sample(
        key=key,
        instruction=f"Put the fox of {key} on the table, at the café.",
        references=tuple(fake_image(seed, key, f"ref{n}", side_px) for n in range(number)),
        target=fake_image(seed, key, "target", side_px),
        subjects=tuple((Candidate(name=f"fox {n}", box=(0, 0, 8, 8)),) for n in range(number)),
        provenance=Provenance(
            source="fake",
            licence="CC0-1.0",
            task="composition_multi",
            case="object",
            origin={"seed": seed},
            truth={"fault": None},
        ),
    )


def fake_scores(seed, work):
    sample = work.parents[0]
    whole = keyed_random(seed, work.key, "whole").random()
    row = {"status": "ok", "mode": 1.0, "label_mass": 1.0}
    return Scores(
        rows={
            "whole": [
                {"reference": -1, "candidate": -1, "probabilities": [whole, 1 - whole], "expected": whole}
                | row
            ],
            "each": [
                {"reference": n, "candidate": 0, "probabilities": [1.0], "expected": 1.0} | row
                for n in range(len(sample.references))
            ],
        }
    )


def end_process(exits):
    """Die as a crash does (nothing is cleaned up) or as the kernel kills."""
    if exits:
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def count_up(folder, name):
    """Count in a file, so that a count outlives its process."""
    with (Path(folder) / f"count-{name}").open("ab") as file:
        file.write(b".")
        return file.tell()


def log_made(log, key):
    if log:
        with Path(log).open("a") as file:
            file.write(f"{key} {os.getpid()} {time.time()}\n")


def read_log(log):
    """(key, process, time) of each sample made, in order."""
    if not Path(log).exists():
        return []
    lines = Path(log).read_text().splitlines()
    return [(key, int(pid), float(at)) for key, pid, at in (line.split() for line in lines)]


def burn(seconds):
    """Keep a core busy for so much of its time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        hashlib.sha256(b"x" * 4096).digest()
