"""Batches of a plan's steps, read and resized by threads ahead of their turn, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from train.batch import Batch
from train.parallel import World
from train.plan import Pack, Plan, Step

AHEAD = 2  # packs waiting for each thread

Make = Callable[[Step, int, Pack], Batch]


def load_steps(
    plan: Plan, first: int, last: int, world: World, make: Make, threads: int
) -> Iterator[tuple[Step, list[Batch]]]:
    """Steps `first` to `last` (not included), each with the batches of this rank.

    Args:
        plan: of the run.
        first: steps done before.
        last: steps of the run.
        world: this rank takes every `size`-th pack of a step.
        make: (step, number of the pack in it, pack) -> batch; called on threads.
        threads: that read.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="loader") as pool:
        waiting: deque[tuple[Step, list[Future[Batch]]]] = deque()
        for step in plan.steps(first):
            if step.number < last:
                mine = list(enumerate(step.packs))[world.rank :: world.size]
                waiting.append((step, [pool.submit(make, step, number, pack) for number, pack in mine]))
            while waiting and (step.number >= last or len(waiting) * len(waiting[0][1]) > AHEAD * threads):
                ready, futures = waiting.popleft()
                yield ready, [future.result() for future in futures]
            if step.number >= last:
                return
