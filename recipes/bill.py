"""What judging a whole set will cost, told from a few of its samples, which are paid for once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from filters.controls import KINDS, draw_rows
from filters.judge_step import JudgeConfig
from recipes.identity import directories
from recipes.inputs import samples_of
from recipes.run import LEDGER
from recipes.schema import Recipe, Step
from recipes.servers import expect_endpoints
from recipes.steps import JUDGES
from shards.index import Directory
from shards.ledger import Ledger
from shards.manifest import read_manifest
from shards.stage import Work
from shards.storage import Storage

COSTS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What some samples of a judged step cost.

    Attributes:
        step: its name.
        drawn: samples that were looked at.
        asked: those of them that something was left to ask about.
        total: samples that the step reads.
        controls: samples that it asks about beside them, spoilt.
        seconds: it took.
        counts: requests, tokens.
        missing: the input that has to be made first; "" if none.
    """

    step: str
    drawn: int = 0
    asked: int = 0
    total: int = 0
    controls: int = 0
    seconds: float = 0.0
    counts: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""

    def expected(self, name: str) -> float:
        """Of a count or of the seconds, what the whole set and its controls are expected to cost."""
        found = self.seconds if name == "seconds" else self.counts.get(name, 0)
        return found * (self.total + self.controls) / max(self.asked, 1)


def bills(recipe: Recipe, out: Storage, samples: int) -> Iterator[Bill]:
    """A bill for each judged step that is not finished."""
    names = directories(recipe)
    for name, step in recipe.steps.items():
        if step.type in JUDGES and read_manifest(out.child(names[name])) is None:
            (read,) = step.inputs["input"]
            if read_manifest(out.child(names[read])) is None:
                yield Bill(step=name, missing=read)
            else:
                yield _bill(step, out, names[read], samples)


def _bill(step: Step, out: Storage, directory: str, samples: int) -> Bill:
    expect_endpoints(step)
    found = samples_of(out, directory)
    rows, ledger = list(found.rows(0)), Ledger(out.child(LEDGER))
    drawn = draw_rows(rows, samples)
    assert isinstance(step.settings, JudgeConfig)
    settings = step.settings.reading([found.storage])
    opened = Directory(found.storage)
    batch = [Work(key=row.key, parents=(opened.sample(row.shard, row.row),)) for row in drawn]
    stage = settings.build(ledger)
    try:
        unpaid = stage.unpaid(batch)
        began = time.perf_counter()
        stage(unpaid)
        seconds = time.perf_counter() - began
        counts = stage.take_counts()
    finally:
        stage.close()
    return Bill(
        step=step.name,
        drawn=len(drawn),
        asked=len(unpaid),
        total=len(rows),
        controls=len(KINDS) * min(settings.controls, len(rows)),
        seconds=seconds,
        counts=counts,
    )


def describe(bill: Bill) -> Iterator[str]:
    """A bill in words.

    >>> bill = Bill(step="judged", drawn=3, asked=2, total=10, seconds=1.0, counts={"requests": 4})
    >>> list(describe(bill))[:2]
    ['judged: 2 of 10 samples asked in 1.0 s, 1 more drawn was paid for before', '  requests: 4, expected 20']
    """
    if bill.missing:
        yield f"{bill.step}: cannot be told before {bill.missing} is made; run --until {bill.missing} first"
        return
    if not bill.asked:
        more = "; a larger --sample draws others, too" if bill.drawn < bill.total else ""
        yield f"{bill.step}: {bill.drawn} of {bill.total} samples drawn: no request, all was paid{more}"
        return
    paid = bill.drawn - bill.asked
    before = f", {paid} more drawn {'was' if paid == 1 else 'were'} paid for before" if paid else ""
    yield f"{bill.step}: {bill.asked} of {bill.total} samples asked in {bill.seconds:.1f} s{before}"
    if bill.controls:
        yield f"  expected of the whole: {bill.total} samples and {bill.controls} controls"
    yield from (
        f"  {name}: {bill.counts[name]:.0f}, expected {bill.expected(name):.0f}"
        for name in COSTS
        if name in bill.counts
    )
    yield f"  seconds: {bill.seconds:.1f}, expected {bill.expected('seconds'):.0f} by one worker"
    yield from (f"  replies that were none: {n:.0f} {why}" for why, n in bill.counts.items() if ":" in why)
