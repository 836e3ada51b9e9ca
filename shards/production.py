"""The driver of a step: hands out slices, hears of deaths, has shards assembled, resumes what broke off."""

from __future__ import annotations

import json
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from shards import assemble, slices
from shards.assemble import AssembleShard, ShardRecord, shard_record
from shards.executor import MOST_AT_ONCE, EngineError, Executor, Finished
from shards.index import shard_name
from shards.listing import READERS
from shards.sample import canonical_json
from shards.slices import DEATHS_TO_REJECT, MakeSlice, committed_receipt
from shards.worker import Job, Receipt

DEATHS = "work/deaths"
COUNTS = "work/counts"
BLANK_DEATHS = 3  # of one task with no sample in hand: its stage cannot be built, or memory is short
WAIT_S = 0.5

Span = tuple[int, int]


@dataclass
class Progress:
    """How far a step is; the runner shows it.

    Attributes:
        planned: samples in the plan.
        made, failed: samples in committed slices.
        copied: of those made, the ones copied from an earlier directory.
        resumed: samples that were there when this run began.
        deaths: of workers.
        worker_s: seconds that workers spent.
        pids: processes that did work.
        counts: what the stage counted, in runs that broke off too, e.g. requests and tokens.
    """

    planned: int
    made: int = 0
    failed: int = 0
    copied: int = 0
    resumed: int = 0
    deaths: int = 0
    worker_s: float = 0.0
    pids: set[int] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """Samples that need no more work."""
        return self.resumed + self.made + self.failed


@dataclass
class _Open:
    """A shard that is being made: its slices in order, by span, with the committed object's name."""

    committed: dict[Span, str] = field(default_factory=dict)
    missing: set[Span] = field(default_factory=set)


class Production:
    """Makes one step's shards.

    Args:
        job: the step; its plan lies in its directory.
        sizes: planned samples of each shard.
        executor: that runs the work.
        slice_size: planned samples a worker takes at once; no result depends on it.
        observe: called about twice a second.
    """

    def __init__(
        self,
        job: Job,
        sizes: Sequence[int],
        executor: Executor,
        *,
        slice_size: int,
        observe: Callable[[Progress], None],
    ) -> None:
        self._job = job
        self._sizes = sizes
        self._executor = executor
        self._slice_size = -(-slice_size // job.config.batch_size) * job.config.batch_size
        self._observe = observe
        self._open: dict[int, _Open] = {}
        self._urgent: deque[MakeSlice | AssembleShard] = deque()
        self._running = 0
        self._blank_deaths: Counter[str] = Counter()
        self.records: dict[int, ShardRecord] = {}
        self.progress = Progress(planned=sum(sizes))

    def run(self) -> list[ShardRecord]:
        """Make what is missing; return the record of every shard, in order.

        Raises:
            EngineError: the engine failed, or a worker dies before it has a sample in hand.
            Exception: whatever a stage raises; what was committed is kept.
        """
        self._load_deaths()
        self._load_counts()
        self._forget_marks()
        if self._job.config.asks_again(self.progress.counts, self.progress.planned):
            self._forget_work()
        source = self._tasks()
        while self._submit(source) or self._running:
            for finished in self._executor.wait(WAIT_S):
                self._running -= 1
                self._take(finished)
            self._observe(self.progress)
        return [self.records[shard] for shard in range(len(self._sizes))]

    def _submit(self, source: Iterator[MakeSlice | AssembleShard]) -> bool:
        """Fill the free workers; say whether there was anything to hand out or to wait for."""
        while self._executor.has_room(self._at_once):
            task = self._urgent.popleft() if self._urgent else next(source, None)
            if task is None:
                return False
            self._executor.submit(task)
            self._running += 1
        return True

    @property
    def _at_once(self) -> int:
        """Slices that a worker has in hand. After a death one: who is suspected must die alone."""
        return 1 if self._deaths else min(self._job.config.at_once, MOST_AT_ONCE)

    # What there is to do

    def _tasks(self) -> Iterator[MakeSlice | AssembleShard]:
        committed = self._committed()
        done = set(self._job.storage.names(assemble.FOLDER))
        for shard, size in enumerate(self._sizes):
            if f"{shard_name(shard)}.json" in done:
                self._take_done(shard)
                continue
            found = cover(committed.get(shard, {}))
            spans = gaps(sorted(found), size, self._slice_size)
            self._open[shard] = _Open(committed=found, missing=set(spans))
            self.progress.resumed += sum(stop - start for start, stop in found)
            if not spans:
                yield self._assembly(shard)
            for start, stop in spans:
                yield self._slice(shard, start, stop)

    def _take_done(self, shard: int) -> None:
        value = json.loads(self._job.storage.read(f"{assemble.FOLDER}/{shard_name(shard)}.json"))
        self.records[shard] = shard_record(shard, value)
        self.progress.resumed += self._sizes[shard]

    def _committed(self) -> dict[int, dict[Span, str]]:
        """Committed slices of each shard; of two attempts at one span the first by name counts."""
        found: dict[int, dict[Span, str]] = {}
        for name in self._job.storage.names(slices.FOLDER):
            stem = name.removesuffix(".arrow")
            if not slices.is_whole(self._job.storage, stem):
                self._job.storage.delete(f"{slices.FOLDER}/{name}")
                continue
            shard, start, stop, _ = stem.split("-")
            found.setdefault(int(shard), {}).setdefault((int(start), int(stop)), stem)
        return found

    def _slice(self, shard: int, start: int, stop: int) -> MakeSlice:
        return MakeSlice(
            job=self._job,
            shard=shard,
            start=start,
            stop=stop,
            suspects=frozenset(key for key, count in self._deaths.items() if count < DEATHS_TO_REJECT),
            condemned=frozenset(key for key, count in self._deaths.items() if count >= DEATHS_TO_REJECT),
        )

    def _assembly(self, shard: int) -> AssembleShard:
        committed = self._open[shard].committed
        return AssembleShard(
            job=self._job, shard=shard, slices=tuple(committed[span] for span in sorted(committed))
        )

    # What came back

    def _take(self, finished: Finished) -> None:
        task, result = finished.task, finished.result
        if finished.is_dead:
            self._bury(task)
        elif isinstance(task, MakeSlice):
            self._take_slice(task, result)
        elif isinstance(task, AssembleShard):
            self.records[task.shard] = result
            del self._open[task.shard]
            for name in task.slices:
                self._job.storage.delete(f"{slices.FOLDER}/{name}.arrow")

    def _take_slice(self, task: MakeSlice, receipt: Receipt) -> None:
        shard = self._open[task.shard]
        shard.missing.discard((task.start, task.stop))
        shard.committed[task.start, task.stop] = task.name
        self.progress.made += receipt.made
        self.progress.failed += receipt.failed
        self.progress.copied += receipt.copied
        self.progress.worker_s += receipt.seconds
        self.progress.pids.add(receipt.pid)
        self._count(task, receipt)
        if not shard.missing:
            self._urgent.append(self._assembly(task.shard))

    # Counts

    def _count(self, task: MakeSlice, receipt: Receipt) -> None:
        """Add up what a slice cost, durably, and let the step stop if it cannot end well."""
        if not receipt.counts:
            return
        counts = dict(receipt.counts)
        self._job.storage.write(f"{COUNTS}/{task.name}.json", canonical_json(counts))
        self.progress.counts.update(counts)
        self._check_counts()

    def _load_counts(self) -> None:
        names = [f"{COUNTS}/{name}" for name in self._job.storage.names(COUNTS)]
        with ThreadPoolExecutor(READERS) as pool:  # one a slice: thousands
            for counts in pool.map(self._job.storage.read, names):
                self.progress.counts.update(json.loads(counts))

    def _forget_work(self) -> None:
        """All that earlier runs made: of a slice that nobody counted it is not known what it lacks.

        Counts go last: they say that this is to be done.
        """
        for folder in (assemble.FOLDER, slices.FOLDER, COUNTS):
            self._job.storage.delete(folder)
        self.progress.counts.clear()

    def _check_counts(self) -> None:
        self._job.config.check_counts(self.progress.counts, self.progress.planned)

    # Deaths

    def _load_deaths(self) -> None:
        self._deaths: Counter[str] = Counter()
        for name in self._job.storage.names(DEATHS):
            self._deaths.update(json.loads(self._job.storage.read(f"{DEATHS}/{name}")))

    def _forget_marks(self) -> None:
        """Marks of an earlier run: its workers ended with their driver, no sample is to blame."""
        self._job.storage.delete(slices.INFLIGHT)

    def _bury(self, task: object) -> None:
        """A worker died: blame what it had in hand, and have the rest tried again."""
        assert isinstance(task, MakeSlice | AssembleShard)
        self.progress.deaths += 1
        if isinstance(task, MakeSlice) and (receipt := committed_receipt(self._job.storage, task.name)):
            self._job.storage.delete(task.mark)
            self._take_slice(task, receipt)  # it died after its work was done, before it could say so
            return
        keys = self._in_hand(task)
        if keys:
            self._deaths.update(keys)
            self._job.storage.write(f"{DEATHS}/{uuid.uuid4().hex}.json", canonical_json(keys))
        else:
            self._count_blank(task)
        if isinstance(task, MakeSlice):
            self._urgent.append(self._slice(task.shard, task.start, task.stop))
        else:
            self._urgent.append(replace(task))

    def _in_hand(self, task: MakeSlice | AssembleShard) -> list[str]:
        if not task.mark or not self._job.storage.exists(task.mark):
            return []
        keys: list[str] = json.loads(self._job.storage.read(task.mark))
        self._job.storage.delete(task.mark)
        return keys

    def _count_blank(self, task: MakeSlice | AssembleShard) -> None:
        what = (
            f"shard {task.shard}" if isinstance(task, AssembleShard) else f"slice {task.shard}-{task.start}"
        )
        self._blank_deaths[what] += 1
        if self._blank_deaths[what] >= BLANK_DEATHS:
            raise EngineError(
                f"step {self._job.name}, {what}: {BLANK_DEATHS} workers died with no sample in hand; "
                "the stage cannot be built here, or memory is short: see `bakery doctor`"
            )


def cover(committed: Mapping[Span, str]) -> dict[Span, str]:
    """Of committed slices, some that do not overlap, from the left; an earlier run may have cut otherwise.

    >>> sorted(cover({(0, 4): "a", (0, 8): "b", (8, 12): "c", (6, 8): "d"}))
    [(0, 8), (8, 12)]
    """
    chosen: dict[Span, str] = {}
    end = 0
    for span in sorted(committed, key=lambda span: (span[0], -span[1])):
        if span[0] >= end:
            chosen[span] = committed[span]
            end = span[1]
    return chosen


def gaps(spans: Sequence[Span], size: int, slice_size: int) -> list[Span]:
    """What the spans leave of 0..size, cut at multiples of the slice size.

    >>> gaps([(2, 4)], 10, 4)
    [(0, 2), (4, 8), (8, 10)]
    """
    missing = []
    at = 0
    for start, stop in [*spans, (size, size)]:
        while at < start:
            end = min(start, (at // slice_size + 1) * slice_size)
            missing.append((at, end))
            at = end
        at = stop
    return missing
